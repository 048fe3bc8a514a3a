# Targets for developers. CI runs .ci/run, which calls these.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
LINT     = $(GO) tool -modfile=.ci/tools/go.mod golangci-lint
FUZZTIME ?= 30s
CORPUS  ?=

.PHONY: build check lint vet tidy test race fuzz torture bench bench-dns soak-dns bench-store bench-export score dist clean

build: ## the program, in dist/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/backscatter ./cmd/backscatter

check: lint vet tidy race ## all that must hold before a change is handed in

lint:
	$(LINT) run ./...
	$(LINT) fmt --diff ./...

vet:
	$(GO) vet ./...

tidy:
	$(GO) mod tidy -diff

test:
	$(GO) test ./...

race:
	$(GO) test -race -shuffle=on -timeout 20m ./...

fuzz: ## each fuzz target for FUZZTIME
	GO='$(GO)' .ci/fuzz $(FUZZTIME)

TORTURE = TestPowerLoss|TestInjectedFaults|TestFlipped|TestPages|TestNewestMetaPage|TestStoreOlder|TestStoreAgainstModel|TestFaultsAtEveryStage|TestCrashesAtEveryStage|TestSerialWraps|TestClock|TestOpenRefuses|TestCrashes$$|TestFullDisk|TestCareOnFullDisk|TestReadOnlyState|TestStoreSpoilt|TestBadStores|TestDaemonsAtOnce|TestSecondaries|TestFetchAnyTime
torture: ## the tests that hurt, ten times as long and at every position: about an hour on two quiet cores; the counts are told at the end
	mkdir -p dist
	BACKSCATTER_TORTURE=10 BACKSCATTER_PEERS=require $(GO) test -count=1 -timeout=4h -v -run '$(TORTURE)' ./listing ./integration > dist/torture.log 2>&1; \
	  status=$$?; sed -n 's/^.*_test\.go:[0-9]*: torture: //p; /^ *--- FAIL/p; /^--- PASS/p; /^ok/p; /^FAIL/p' dist/torture.log; exit $$status

bench: ## every benchmark, ten times, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem -count=10 ./... | tee bench.out
	$(GO) tool -modfile=.ci/tools/go.mod benchstat bench.out

bench-dns: build ## speed and memory of the DNS server beside rbldnsd, NSD and Knot; needs them and dnsperf of Debian; 10 minutes
	$(GO) build -o dist/benchdns ./integration/benchdns
	$(GO) build -o dist/soakdns ./integration/soakdns
	$(GO) build -o dist/bench-store ./listing/bench
	dist/benchdns -program dist/backscatter
	dist/benchdns -program dist/backscatter -rate 20000 -rounds 3
	dist/benchdns -program dist/backscatter -entries 5000000 -rounds 3 -length 2s -peers rbldnsd
	dist/bench-store -only answer -listings 1000000 -larger 0
	dist/bench-store -only answer -listings 5000000 -larger 0
	dist/soakdns -program dist/backscatter -only stalls

soak-dns: build ## more load, garbage, reloads and restarts than the DNS server is made for, and stalls; 15 minutes
	$(GO) build -o dist/soakdns ./integration/soakdns
	dist/soakdns -program dist/backscatter

score: build ## how well mail of a labelled corpus is judged: make score CORPUS=DIR
ifeq ($(wildcard $(CORPUS)/labels.jsonl),)
	@echo 'score: skipped: CORPUS is not a folder with a labels.jsonl'
else
	$(GO) run ./integration/score -program dist/backscatter '$(CORPUS)'
endif

LISTINGS     ?= 1000000
LARGER       ?= 5000000
OBSERVATIONS ?= 10000000
bench-store: ## the store beside one commit each and rbldnsd; a quarter of an hour; LISTINGS=100000 LARGER=0 OBSERVATIONS=100000 is quick
	$(GO) build -o dist/bench-store ./listing/bench
	dist/bench-store -listings $(LISTINGS) -larger $(LARGER) -observations $(OBSERVATIONS)

bench-export: build ## exports beside cp, changes by rsync and IXFR beside BIND's, a mirror's start beside rbldnsd's; some minutes
	$(GO) build -o dist/bench-export ./zonefile/bench
	dist/bench-export -program dist/backscatter -entries $(LARGER)

dist: ## static programs for the usual platforms, with checksums
	for target in linux/amd64 linux/arm64 freebsd/amd64; do \
	  CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
	    -o dist/backscatter-$(VERSION)-$${target%/*}-$${target#*/} ./cmd/backscatter || exit 1; done
	cd dist && sha256sum backscatter-* > SHA256SUMS

clean:
	rm -rf dist bench.out
