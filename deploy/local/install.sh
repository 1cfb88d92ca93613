#!/usr/bin/env bash
# Installs what the local stack and the tests need and the machine lacks: the
# PostgreSQL server binaries, and Chromium for the tests of the sign-in page. As root
# or with sudo through apt; otherwise the Debian packages are unpacked into .tools,
# which needs no rights at all.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools="$PWD/.tools"

have_postgres() {
  command -v initdb >/dev/null && command -v postgres >/dev/null && return 0
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return 0
  compgen -G "$tools/postgresql/usr/lib/postgresql/*/bin/postgres" >/dev/null
}

have_chromium() {
  local name
  for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null && return 0; done
  [ -x "$tools/chromium/usr/lib/chromium/chromium" ]
}

install_with_apt() {
  # PostgreSQL's package would start a server of its own on port 5432; we only want the binaries.
  $1 mkdir -p /etc/postgresql-common
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    echo 'create_main_cluster = false' | $1 tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  $1 env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--force-confold "$2" >/dev/null
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

# unpack FOLDER: the packages that standard input names.
unpack() {
  local into="$1" work
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' RETURN
  (cd "$work" && xargs apt-get download -qq)
  mkdir -p "$into"
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$into"; done
}

unpack_postgres() {
  local version
  version="$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)"
  [ -n "$version" ] || { echo "apt knows no package 'postgresql'; ask an administrator to run 'apt-get update' or 'apt-get install postgresql'" >&2; exit 1; }
  missing_packages "$version" | unpack "$tools/postgresql"
}

unpack_chromium() {
  { echo fonts-dejavu-core; apt-get -s install --no-install-recommends chromium | sed -n 's/^Inst \([^ ]*\).*/\1/p'; } |
    sort -u | unpack "$tools/chromium"
  # Chromium draws no page without a font, and fontconfig's own file looks in /usr/share only.
  cat >"$tools/chromium/fonts.conf" <<XML
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>$tools/chromium/usr/share/fonts</dir><cachedir>$tools/chromium/fonts.cache</cachedir></fontconfig>
XML
}

# provide FUNCTION NAME ADVICE PACKAGE
provide() {
  "have_$1" && return 0
  command -v apt-get >/dev/null || { echo "$2 is missing and this is not a Debian machine: $3" >&2; exit 1; }
  echo "installing $2 (once)"
  if [ "$(id -u)" = 0 ]; then
    install_with_apt "" "$4"
  elif sudo -n true 2>/dev/null; then
    install_with_apt sudo "$4"
  else
    "unpack_$1"
  fi
  "have_$1" || { echo "$2 was installed but its binaries were not found" >&2; exit 1; }
}

provide postgres PostgreSQL "install PostgreSQL 15 or later, with initdb and postgres on the PATH" postgresql
provide chromium Chromium "install Chromium or Chrome, as chromium or google-chrome on the PATH" chromium
