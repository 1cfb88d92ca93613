#!/usr/bin/env bash
# Installs what the local stack and the tests need and the machine lacks: the
# PostgreSQL server binaries. As root or with sudo through apt; otherwise the
# Debian packages are unpacked into .tools, which needs no rights at all.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools="$PWD/.tools/postgresql"

have_postgres() {
  command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return 0
  compgen -G "$tools/usr/lib/postgresql/*/bin/postgres" >/dev/null
}

install_with_apt() {
  # The package would start a server of its own on port 5432; we only want the binaries.
  $1 mkdir -p /etc/postgresql-common
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo 'create_main_cluster = false' | $1 tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  $1 env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold postgresql >/dev/null
}

# The server, and of what it needs only the packages that the machine lacks.
missing_packages() {
  local package
  echo "postgresql-$1 postgresql-client-$1 libpq5"
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    "postgresql-$1" | grep -E '^[a-z0-9]' | sort -u | while read -r package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done | grep -vE '^(postgresql-[0-9]+|postgresql-client-[0-9]+|libpq5|postgresql-common|postgresql-client-common|ssl-cert|adduser|debconf.*|cdebconf.*|perl.*|libllvm.*)$'
}

unpack_without_rights() {
  local work version
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' RETURN
  version="$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)"
  [ -n "$version" ] || { echo "apt knows no package 'postgresql'; ask an administrator to run 'apt-get update' or 'apt-get install postgresql'" >&2; exit 1; }
  (cd "$work" && missing_packages "$version" | xargs apt-get download -qq)
  mkdir -p "$tools"
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$tools"; done
}

have_postgres && exit 0
command -v apt-get >/dev/null || {
  echo "PostgreSQL is missing and this is not a Debian machine: install PostgreSQL 15 or later, with initdb and postgres on the PATH" >&2
  exit 1
}
echo "installing PostgreSQL (once)"
if [ "$(id -u)" = 0 ]; then
  install_with_apt ""
elif sudo -n true 2>/dev/null; then
  install_with_apt sudo
else
  unpack_without_rights
fi
have_postgres || { echo "PostgreSQL was installed but its binaries were not found" >&2; exit 1; }
