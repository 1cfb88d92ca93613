#!/usr/bin/env bash
# Copies the proto files of others out of the Go module cache into an ignored
# folder, where buf reads them. They are not committed.
set -euo pipefail
cd "$(dirname "$0")/.."

googleapis=github.com/grpc-ecosystem/grpc-gateway@v1.16.0
protovalidate=github.com/bufbuild/protovalidate@v1.2.2

folder() {
  GOWORK=off GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\s*"Dir": "\(.*\)",*$/\1/p'
}

target=.third_party/proto
api="$(folder "$googleapis")/third_party/googleapis/google/api"
validate="$(folder "$protovalidate")/proto/protovalidate/buf/validate"
mkdir -p "$target/google/api" "$target/buf/validate"
install -m 644 "$api"/{annotations,http,httpbody}.proto "$target/google/api/"
install -m 644 "$validate/validate.proto" "$target/buf/validate/"
