#!/usr/bin/env bash
# scripts/extension.sh MAJOR [PROFILE]: builds odoo_mirror and installs it into the server in target/servers/MAJOR.
# PROFILE is test-install (the default: optimised, quick to build) or release (as shipped).
# Does nothing when what is installed there was built from these very sources.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

major=${1:?usage: scripts/extension.sh MAJOR [PROFILE]}
profile=${2:-test-install}
config=$(pg_config_of "$major")
library=$("$config" --pkglibdir)/odoo_mirror.so
stamp=$SERVERS/$major/odoo_mirror.stamp

cd "$REPO"

sources=()
for source in Cargo.toml Cargo.lock build.rs odoo_mirror.control .cargo src sql; do
  [ ! -e "$source" ] || sources+=("$source")
done

of_sources() { find "${sources[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; }

fingerprint() {
  {
    printf '%s\n' "$profile"
    "$config" --version
    rustc --version
    of_sources
    # `cargo pgrx test` puts its own build at the same place.
    sha256sum "$library" 2>/dev/null || echo absent
  } | sha256sum
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then
  say "PostgreSQL $major: up to date ($profile)"
  exit 0
fi

sudo=()
[ -w "$(dirname "$library")" ] && [ -w "$("$config" --sharedir)/extension" ] || sudo=(--sudo)
say "PostgreSQL $major: cargo pgrx install --profile $profile"
rm -f "$stamp"
built_from=$(of_sources)
# A running server maps the old library: a new file in its place, never the same file rewritten.
[ ${#sudo[@]} -gt 0 ] || rm -f "$library"
cargo pgrx install "${sudo[@]}" --profile "$profile" --no-default-features --features "pg$major" --pg-config "$config"
# A source that was edited while it was being built may be in it or not.
[ "$(of_sources)" != "$built_from" ] || fingerprint >"$stamp"
