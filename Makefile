# odoo_mirror. `make` alone prints the targets.

PG_CONFIG ?= pg_config
# Cargo's feature for that server: pg15 … pg18.
PG_FEATURE = pg$(shell $(PG_CONFIG) --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')

.DEFAULT_GOAL := help
.PHONY: help demo demo-stop integrations test test-fast chaos fuzz mutants lint bench install package clean

help: ## Print the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-12s %s\n' "$$target" "$$text"; done

demo: ## Start an Odoo-shaped source and a mirror of it, and watch it follow
	@demo/demo.sh

demo-stop: ## Stop what `make demo` left running
	@demo/demo.sh stop

integrations: ## Try the Superset dashboard, the n8n workflow and supabase-js against a mirror (4 GB of packages)
	@integrations/run.sh

test: ## Everything: lint, pure, SQL-level and two-cluster tests, on PostgreSQL 15 to 18
	@scripts/test.sh

test-fast: ## The pure floors alone: no server, no pgrx, seconds
	cargo test --no-default-features

chaos: ## Random histories under random faults, for CHAOS_MINUTES=10; a seed repeats what it finds
	@scripts/chaos.sh

fuzz: ## Each fuzz target for FUZZ_MINUTES=20, on bytes that a source or a user may have written; needs nightly
	@scripts/fuzz.sh

mutants: ## Small mistakes in the pure floors, one at a time: which does no test notice? Hours
	@scripts/mutants.sh

lint: ## Format, clippy on both feature sets, licenses and bans
	@scripts/lint.sh

bench: ## Compare with PostgreSQL's own subscription and with decoding alone
	@bench/bench.sh

install: ## Build, and install into the PostgreSQL of PG_CONFIG
	PGRX_PG_CONFIG_PATH="$$(command -v $(PG_CONFIG))" cargo pgrx install --sudo --release --no-default-features --features $(PG_FEATURE) --pg-config "$$(command -v $(PG_CONFIG))"

package: ## Build for the PostgreSQL of PG_CONFIG, into target/release/odoo_mirror-pgNN
	PGRX_PG_CONFIG_PATH="$$(command -v $(PG_CONFIG))" cargo pgrx package --no-default-features --features $(PG_FEATURE) --pg-config "$$(command -v $(PG_CONFIG))"

clean: ## Remove what was built, and the test servers
	@scripts/clean.sh
