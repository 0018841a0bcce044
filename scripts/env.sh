# shellcheck shell=bash disable=SC2034
# What every script here shares; sourced, never run.
#
# The servers that we build for and test on live in $SERVERS, one directory a major version, each a private copy: a test
# never writes into a server that somebody uses, and nothing here needs root once the packages are there.
# The directory is not under target/ itself, because PostgreSQL refuses to run as root: as root the tests run it as user
# postgres, who can't look into /root. target/servers is a link to it.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SERVERS=${ODOO_MIRROR_SERVERS:-/var/tmp/odoo_mirror-$(id -u)-$(printf %s "$REPO" | cksum | cut -d' ' -f1)}
CARGO_PGRX_VERSION=0.18.1
# cargo-pgrx's list of servers: ours, not the user's own in ~/.pgrx.
export PGRX_HOME=$SERVERS/pgrx
export ODOO_MIRROR_SERVERS=$SERVERS
export PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
# build.rs gives the linker what cargo-pgrx would, without another build of all dependencies.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
# What is installed here must be readable to user postgres.
umask 022

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
die() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; exit 1; }

am_root() { [ "$(id -u)" = 0 ]; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if am_root; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "needs root for: $*"
  fi
}

# pg_config of a server that scripts/servers.sh has put in place.
pg_config_of() {
  [ -x "$SERVERS/$1/pg_config" ] || die "no PostgreSQL $1 here: run scripts/servers.sh $1"
  printf '%s\n' "$SERVERS/$1/pg_config"
}

make_servers_dir() {
  mkdir -p "$SERVERS" "$PGRX_HOME"
  [ -O "$SERVERS" ] || die "$SERVERS belongs to somebody else"
  mkdir -p "$REPO/target"
  [ "$(readlink "$REPO/target/servers" || true)" = "$SERVERS" ] || ln -sfn "$SERVERS" "$REPO/target/servers"
}
