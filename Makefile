# Everything a developer runs. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Each can be set on the command line: make fuzz FUZZTIME=5m
PKG       ?= ./...
TESTFLAGS ?=
FUZZTIME  ?= 10s
BENCH     ?= ./...
SOAK      ?= 20
ROWS      ?= 10000000
HOOK      ?=

# Modules of their own below the root, so that neither a linter nor a peer
# enters the application's go.mod.
NESTED := $(patsubst %/go.mod,%,$(wildcard */go.mod */*/go.mod */*/*/go.mod))

# Tests run under this: real Redis and PostgreSQL, taken away afterwards.
WITHSERVERS := bin/withservers
LINT        := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: test
test: tidy-check lint vet race fips nested ## all that a change must pass: lint, vet, all tests with -race on real servers

.PHONY: lint
lint: $(LINT) ## run the linters, and check the formatting
	$(LINT) fmt --diff
	$(LINT) run
	@for module in $(NESTED); do \
		packages=$$(cd "$$module" && go list ./...) || exit 1; \
		[ -z "$$packages" ] || (cd "$$module" && "$(CURDIR)/$(LINT)" run) || exit 1; \
	done

.PHONY: fmt
fmt: $(LINT) ## format the code
	$(LINT) fmt

.PHONY: vet
vet: ## run go vet
	go vet ./...

.PHONY: tidy-check
tidy-check: ## check that go.mod and go.sum are tidy, in every module
	@for module in . $(NESTED); do \
		(cd "$$module" && go mod tidy -diff) || { echo "$$module/go.mod is not tidy: run 'go mod tidy' there"; exit 1; }; \
	done

# A process with -race sleeps for a second when it ends, and the tests start hundreds of them.
export GORACE ?= atexit_sleep_ms=0

# The race detector, but for SQLite itself: that is C translated to Go, with C's own locks, and watching its memory
# makes it eight times as slow. What our code and every other library do is watched, also around it.
RACE := -race $(patsubst %,-gcflags=modernc.org/%=-race=false,sqlite/lib libc memory)

# -count=1: what a real server answers is not for the cache.
.PHONY: race
race: $(WITHSERVERS) ## run the tests with -race (PKG=./worker/... TESTFLAGS='-run Name -v')
	$(WITHSERVERS) go test $(RACE) -count=1 -timeout 14m $(TESTFLAGS) $(PKG)

# All are tested, whatever becomes of one; a browser is wanted where one is driven.
.PHONY: nested
nested: $(WITHSERVERS) ## vet and test the nested modules
	@failed=; for module in $(NESTED); do \
		packages=$$(cd "$$module" && go list ./...) || { failed+=" $$module"; continue; }; \
		[ -n "$$packages" ] || continue; \
		browser=; ! grep -q chromedp/chromedp "$$module/go.mod" || browser=--browser; \
		(cd "$$module" && go vet ./... && \
			SEALQ_TEST_BUILD="$(RACE)" "$(CURDIR)/$(WITHSERVERS)" $$browser go test $(RACE) -count=1 -timeout 5m ./...) || failed+=" $$module"; \
	done; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

.PHONY: fips
fips: ## test the signing with Go's FIPS 140-3 module
	GOFIPS140=latest go test -count=1 ./signing/...

.PHONY: fuzz
fuzz: $(WITHSERVERS) ## run each fuzz target for FUZZTIME (10s)
	@for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u); do \
		for target in $$(go test -list '^Fuzz' "$$dir" | grep '^Fuzz'); do \
			echo "$$dir $$target"; \
			$(WITHSERVERS) go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$dir" || exit 1; \
		done; \
	done

# One table after the other: nothing else may run beside a measurement. -count=1: a measurement is not for the cache.
.PHONY: bench
bench: $(WITHSERVERS) ## print the tables of docs/benchmarks.md (BENCH=./enqueue SEALQ_BENCH_ROUNDS=9)
	@cd bench && ../$(WITHSERVERS) go test -p 1 -count=1 -run '^$$' -bench 'Table$$' -benchtime 1x -timeout 30m $(BENCH)

# It needs some 10 GB of disk for a while, and half an hour at most.
.PHONY: bench-sweep
bench-sweep: $(WITHSERVERS) ## measure logins and activations beside sweeps of ROWS (10000000) rows (LAYOUT=scattered: those that are due lie far apart)
	@cd bench && SEALQ_BENCH_ROWS=$(ROWS) SEALQ_BENCH_LAYOUT="$(LAYOUT)" ../$(WITHSERVERS) go test -count=1 -run '^$$' -bench 'Sweep$$' -benchtime 1x -timeout 60m ./sweep

.PHONY: asynq-suite
asynq-suite: $(WITHSERVERS) ## run asynq's own tests over our go-redis hook, in some four minutes (HOOK=plain: without it, to compare)
	$(WITHSERVERS) tools/asynq-suite $(HOOK) $(TESTFLAGS)

.PHONY: microbench
microbench: $(WITHSERVERS) ## run the benchmarks of single functions (PKG=./signing)
	$(WITHSERVERS) go test -run '^$$' -bench . -benchmem $(PKG)

# SEALQ_SURVIVAL_FULL gives the survival tests, and the times of answers (PKG=./store/..., where -rapid.checks=N in TESTFLAGS sets the
# number of histories of accounts), their full length; SEALQ_SURVIVAL_JOBS and SEALQ_SURVIVAL_SEED make them larger, or
# repeat one.
.PHONY: soak
soak: $(WITHSERVERS) ## run all tests SOAK (20) times in changing order with -race (PKG=./internal/survival SEALQ_SURVIVAL_JOBS=50000)
	SEALQ_SURVIVAL_FULL=1 $(WITHSERVERS) go test $(RACE) -shuffle=on -count=$(SOAK) -timeout 24h $(TESTFLAGS) $(PKG)

.PHONY: e2e
e2e: $(WITHSERVERS) ## test the binary and the examples from end to end
	$(WITHSERVERS) go test $(RACE) -count=1 -timeout 5m $(TESTFLAGS) ./cmd/... ./examples/...
	cd examples/signup/browser && SEALQ_TEST_BUILD="$(RACE)" ../../../$(WITHSERVERS) --browser go test $(RACE) -count=1 -timeout 5m $(TESTFLAGS) ./...

# The walk to every page, which the tests do too, with a picture of each; dark ones of the first page alone. Those in docs are what the window shows.
.PHONY: screenshots
screenshots: $(WITHSERVERS) ## take pictures of every page, 1280 and 390 px wide, to bin/screenshots, and those that docs show
	@mkdir -p bin/screenshots docs/screenshots
	cd dashboard/browser && SEALQ_TEST_PICTURES="$(CURDIR)/bin/screenshots" ../../$(WITHSERVERS) --browser go test -count=1 -timeout 5m -run 'TestOnADayOfLife/every_page' .
	@cd bin/screenshots && for page in now-1280-light now-1280-dark account-story-1280-light now-390-light; do \
		cp "window-$$page.png" "$(CURDIR)/docs/screenshots/$$page.png"; done

.PHONY: demo
demo: ## tell the whole story on the embedded stack; needs Go alone
	go run ./cmd/sealq demo

.PHONY: dev
dev: $(WITHSERVERS) ## run the tests of PKG quickly, without -race
	$(WITHSERVERS) go test $(TESTFLAGS) $(PKG)

.PHONY: build
build: ## build the static binary, bin/sealq
	CGO_ENABLED=0 go build -trimpath -o bin/sealq ./cmd/sealq

.PHONY: clean
clean: ## remove what make built
	rm -rf bin

# Tools are built without version stamps: that would need git to trust the folder.
.PHONY: $(WITHSERVERS)
$(WITHSERVERS): # go build knows best whether anything changed
	@go build -buildvcs=false -o $@ ./internal/testservers/withservers

$(LINT): tools/go.mod tools/go.sum
	cd tools && go build -buildvcs=false -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
