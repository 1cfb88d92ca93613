# carekeep. The two commands: `make up` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN      := $(CURDIR)/.bin
MODULES  := gen libs services/auth services/records services/audit services/backup services/gateway services/ctl deploy/local tests
PACKAGES := $(addprefix ./,$(addsuffix /...,$(MODULES)))
PRODUCT  := auth records audit backup gateway
PROGRAMS := $(addprefix $(BIN)/,$(PRODUCT) carekeep carekeep-local carekeep-transit)
GOBUILD  := go build -trimpath -ldflags '-s -w'
GENERATED := gen services/records/internal/fhir/definitions
export PATH := $(BIN):$(PATH)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: up
up: install build ## build and start the whole suite on this machine
	@$(BIN)/carekeep-local up

.PHONY: test
test: install build ## run every test against throwaway servers on free ports
	cd deploy/local/transit && GOWORK=off go test ./...
	go test -timeout 20m $(PACKAGES)

.PHONY: demo
demo: install build ## play the story against the running suite, or a throwaway one
	@$(BIN)/carekeep-local demo

.PHONY: bench
bench: install build ## measure each figure beside its baseline and print the ratios
	go run ./tests/bench
	@echo; echo '(e) and the parts, each with its ratio:'
	go test -run '^$$' -bench 'Append|Access|FieldOpen|Rewrap|Admit|SignIn|SessionMemory|Backup' $(addprefix ./,$(addsuffix /...,libs/pg libs/transit services/audit services/auth services/backup)) | grep -E '^(Benchmark|ok|FAIL|---)'

.PHONY: race
race: install build ## run every test with the race detector
	cd deploy/local/transit && GOWORK=off go test -race ./...
	go test -race -timeout 40m $(PACKAGES)

.PHONY: build
build: ## build every binary into .bin
	@mkdir -p $(BIN)
	@for service in $(PRODUCT); do \
	  echo "build $$service"; $(GOBUILD) -o $(BIN)/$$service ./services/$$service || exit 1; done
	@echo "build carekeep"; $(GOBUILD) -o $(BIN)/carekeep ./services/ctl
	@echo "build carekeep-local"; $(GOBUILD) -o $(BIN)/carekeep-local ./deploy/local
	@# HashiCorp's transit engine has its own module: BUSL-1.1, local and tests only.
	@echo "build carekeep-transit (HashiCorp's transit engine; a minute or two the first time)"
	@cd deploy/local/transit && GOWORK=off $(GOBUILD) -o $(BIN)/carekeep-transit .

.PHONY: install
install: ## install what is missing: PostgreSQL, and Chromium for tests
	@deploy/local/install.sh

.PHONY: generate
generate: third-party tools-gen definitions ## make gen/ from proto/, and the FHIR definitions
	find gen -name '*.pb.go' -delete -o -name '*.pb.gw.go' -delete -o -name '*.openapi.json' -delete
	buf generate

.PHONY: definitions
definitions: ## fetch (npm) and reduce the official FHIR R4 definitions
	@tools/definitions.sh

.PHONY: check-generated
check-generated: generate ## fail when gen/ or the FHIR definitions are stale
	@test -z "$$(git status --porcelain -- $(GENERATED))" \
	  || { echo 'stale: run `make generate` and commit the result' >&2; git status --porcelain -- $(GENERATED) >&2; exit 1; }

.PHONY: lint
lint: third-party tools-gen tools-lint ## check proto, Go and shell style
	buf lint proto
	buf format --diff --exit-code proto
	golangci-lint run --allow-parallel-runners --timeout 15m $(PACKAGES)
	cd deploy/local/transit && GOWORK=off golangci-lint run --allow-parallel-runners --timeout 15m -c $(CURDIR)/.golangci.yml ./...
	cd tests/witness && GOWORK=off golangci-lint run --allow-parallel-runners --timeout 15m -c $(CURDIR)/.golangci.yml ./...

.PHONY: tidy
tidy: ## tidy every module
	for module in $(MODULES) tools/buf tools/gen tools/lint deploy/local/transit tests/witness tests/versitygw; do \
	  (cd $$module && GOWORK=off go mod tidy) || exit 1; done

.PHONY: third-party
third-party: ## copy the third-party proto files out of the module cache
	@tools/third-party.sh

.PHONY: tools-gen tools-lint
tools-gen: $(BIN)/buf $(BIN)/protoc-gen-go
tools-lint: $(BIN)/golangci-lint

$(BIN)/buf: tools/buf/go.sum
	cd tools/buf && GOWORK=off go build -o $(BIN)/ tool && touch $@

$(BIN)/protoc-gen-go: tools/gen/go.sum
	cd tools/gen && GOWORK=off go build -o $(BIN)/ tool && touch $@

$(BIN)/golangci-lint: tools/lint/go.sum
	cd tools/lint && GOWORK=off go build -o $(BIN)/ tool && touch $@

.PHONY: clean
clean: ## remove what was built; the data of `make up` stays
	rm -rf $(BIN) .third_party
