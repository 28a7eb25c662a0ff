# Everything here is one line; what is longer lives in scripts/.
#
#   make test                 all that CI runs
#   make up ARGS='--quiet'    arguments for the program go into ARGS

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build up test short lint fmt fuzz bench release clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/penny
	go build -trimpath -o bin/penny ./cmd/penny

up: build ## build, then run a whole fleet on this machine; ARGS goes to `penny up`
	bin/penny up $(ARGS)

test: ## everything CI runs: format, vet, lint, build for every platform, test, fuzz
	scripts/test

short: ## the quick tests only
	go test -short ./...

lint: ## the checks of `make test` that only read the code
	scripts/test format vet fix staticcheck lint shell

fmt: ## format every Go file
	go tool gofumpt -w .
	go tool goimports -w -local pennyfarthing .

fuzz: ## fuzz every target for FUZZTIME each, 30s unless told
	FUZZTIME=$(or $(FUZZTIME),30s) scripts/test fuzz

bench: ## measure the edge beside its peers; ARGS goes to bench/edge
	go run ./bench/edge $(ARGS)

release: ## prove that the build is reproducible, then build dist/ for every platform
	scripts/release --check
	scripts/release

clean: ## remove what was built
	rm -rf bin dist .tools
