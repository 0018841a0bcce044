#!/usr/bin/env bash
# Installs what a fresh Debian 12 with Rust lacks for building and testing odoo_mirror. Says nothing twice: a second run
# finds everything there and takes no time. As root, or as a user who may sudo.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

packages=(postgresql-15 postgresql-server-dev-15 clang-14 libclang-14-dev build-essential pkg-config libssl-dev sudo unzip
  prometheus prometheus-postgres-exporter prometheus-sql-exporter)
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done

# Debian's package makes and starts a cluster on 5432 as it is installed. Nobody asked for one: this keeps it from doing so
# while we install, and touches no cluster that is there already.
without_a_cluster() {
  local directory=/etc/postgresql-common/createcluster.d
  local snippet=$directory/odoo_mirror-while-installing.conf
  as_root mkdir -p "$directory"
  printf 'create_main_cluster = false\n' | as_root tee "$snippet" >/dev/null
  # Nor does Prometheus, which the tests run themselves, start as a service.
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e "$policy" ]; then
    ours=1
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local failed=0
  "$@" || failed=$?
  as_root rm -f "$snippet"
  [ -z "$ours" ] || as_root rm -f "$policy"
  return "$failed"
}

if [ ${#missing[@]} -gt 0 ]; then
  say "apt-get install ${missing[*]}"
  as_root apt-get update -qq
  without_a_cluster as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
  say "Debian packages: all there"
fi

command -v cargo >/dev/null || die "cargo isn't there: install Rust first (https://rustup.rs)"
for component in rustfmt clippy; do
  cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || { say "rustup component add $component"; rustup component add "$component"; }
done

if [ "$(cargo pgrx --version 2>/dev/null || true)" = "cargo-pgrx $CARGO_PGRX_VERSION" ]; then
  say "cargo-pgrx $CARGO_PGRX_VERSION: there"
else
  say "cargo install cargo-pgrx $CARGO_PGRX_VERSION (about 3 minutes)"
  (cd / && cargo install cargo-pgrx --version "$CARGO_PGRX_VERSION" --locked)
fi

# For a plain `cargo build`. --no-run: no initdb, which would refuse root anyway.
(
  unset PGRX_HOME
  config=$HOME/.pgrx/config.toml
  if grep -qs '^pg15 *=' "$config"; then
    say "cargo-pgrx knows a PostgreSQL 15: $(sed -n 's/^pg15 *= *//p' "$config")"
  else
    say "cargo pgrx init --pg15 /usr/bin/pg_config"
    cargo pgrx init --no-run --pg15 /usr/bin/pg_config
  fi
)
