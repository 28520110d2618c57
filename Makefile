# The two that matter: make run, make test. `make help` lists the rest.

GO      ?= go
GOTEST  ?= $(GO) test
BIN     := bin/gatehouse
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
CACHE   ?= $(if $(GATEHOUSE_TEST_CACHE),$(GATEHOUSE_TEST_CACHE),$(HOME)/.cache/gatehouse-test)

.DEFAULT_GOAL := help
.PHONY: help run build test test-real fuzz bench bench-scale lint generate deps-check clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## gatehouse dev: everything on this machine, with a curl to paste
	./$(BIN) dev

build: ## the binary, static, in bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/gatehouse

test: ## everything in process, with the race detector
	$(GOTEST) -race -timeout 20m ./...

test-real: build ## against real components: Keycloak, oidc-provider, the SDKs, a model
	./scripts/real/fetch
	GATEHOUSE_TEST_BINARY=$(CURDIR)/$(BIN) $(GOTEST) -tags real -count=1 -timeout 45m -p 1 -run '^TestReal|^TestRig|^TestKeycloak|^TestOIDC|^TestLlama|^TestValidator|^TestSDK|^TestProxies|^TestOpenAIGo' ./internal/testkit/... ./internal/control/scim ./internal/control/sso/...

FUZZTIME ?= 300000x
fuzz: ## every fuzz target; what reads bytes of strangers FUZZTIME times
	./scripts/fuzz $(FUZZTIME)

bench: build ## the tables of bench/RESULTS.md, for this build (RESULTS=1 writes them)
	./bench/run.sh

bench-scale: build ## a million tokens beside a small configuration (RESULTS=1 writes them)
	./bench/scale.sh

lint: ## gofmt, vet, staticcheck, gofumpt
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt'ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags real ./...
	@cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck && $(GO) build -o ../bin/gofumpt mvdan.cc/gofumpt
	./bin/staticcheck ./...
	@out=$$(./bin/gofumpt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofumpt'ed: $$out"; exit 1; }

generate: ## the generated pages of docs/
	$(GO) run ./internal/manifest/refgen
	$(GO) run ./internal/app/settings/refgen

deps-check: ## every dependency can be had, and go.mod is tidy
	@dir=$$(mktemp -d) && GOMODCACHE=$$dir GOFLAGS=-modcacherw $(GO) mod download && GOMODCACHE=$$dir GOFLAGS=-modcacherw $(GO) mod tidy -diff; \
	 status=$$?; rm -rf $$dir; exit $$status

clean: ## remove what was built
	rm -rf bin
