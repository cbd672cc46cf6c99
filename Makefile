# Two commands are all that a newcomer needs: make demo, make test.

export CGO_ENABLED ?= 0
GO       ?= go
BIN      := bin/holdfast
LINT     := golangci-lint
LINT_VER := v2.15.0
# Real hosts are shared by all tests of a package; packages run one after another.
HOSTS    := ./runner/sandbox ./runner/host/... ./testscripts ./testscripts/acceptance
# Tests of those packages that need no hosts, and take long: "make check" has run them.
CHECKED  := ^(TestScript|TestReveal|TestHelpTouchesNothing|TestHelperLinksLittle|TestEmbeddedHelperIsFresh)$$
# A part of what "make faults" does: one of each kind, the rest on request.
FAULTS   := TestTable|TestPortsBehindAFirewall|TestConditions|TestUndoOnAFullDisk|TestMemoryPressure|TestStruckAfterConfirm|TestKilledBeforeArm|TestNoInverse|TestTwoRuns|TestLockOut|TestMistakes|TestSocketMoves|TestPortMoves|TestCrash/(controller|power|link)
# Tests of gateways that change what a gateway is made of and some more, so that both parts take as long; and those that break updates.
STATE    := TestBackup|TestUpdate$$|TestAlerts|TestDoctor|TestHealth|TestTunnel|TestVerboseLog
UPDATES  := TestUpdateIsCut|TestUpdateOnAFullDisk|TestUpdateOfAFleet

.PHONY: tailnet openclaw-state openclaw-updates openclaw-rest help build helpers demo test check lint tools unit hosts openclaw faults judges bench fuzz clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: helpers ## build bin/holdfast with the helpers embedded
	@$(GO) build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/holdfast

helpers:
	@cd runner/helperbin && $(GO) generate .

demo: build ## boot 3 throwaway hosts, run the baseline on them, take it back
	@$(BIN) sandbox demo

check: build lint unit ## everything that needs no hosts

# Tests on hosts wait more than they compute, so they share the machine.
test: check ## everything that can be tested here, real hosts included
	@$(MAKE) --no-print-directory -j3 --output-sync=target hosts openclaw

lint: tools ## vet, import rules, style
	@$(LINT) run ./...

tools:
	@command -v $(LINT) >/dev/null || { echo "installing golangci-lint $(LINT_VER), once"; \
	  GOBIN=/usr/local/bin GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VER); }
	@.ci/packages

unit: helpers ## unit tests and scripts without hosts
	@HOLDFAST_CHECK=1 $(GO) test -count=1 ./...

faults: build ## break everything on real hosts, and five minutes of random faults
	@HOLDFAST_PROPERTY=5m $(GO) test -count=1 -v -run TestProperty -timeout 20m ./testscripts/property
	@$(GO) test -count=1 -timeout 40m -tags hosts ./testscripts/faults

hosts: build ## tests on real throwaway hosts; they fail where there can be none
	@$(GO) test -count=1 -p 1 -timeout 40m -tags 'hosts judges' -skip '$(CHECKED)' $(HOSTS)
	@$(GO) test -count=1 -timeout 20m -tags hosts -run '$(FAULTS)' ./testscripts/faults

openclaw: openclaw-state openclaw-rest ## real OpenClaw gateways of the npm registry on throwaway hosts; they fail where there can be none

# Parts of one package, each with hosts of its own: what the others do not run, the last one does.
openclaw-state: build
	@HOLDFAST_TEST_SANDBOX=/var/lib/holdfast-sandbox-state $(GO) test -count=1 -timeout 40m -tags hosts -run '$(STATE)' ./testscripts/openclaw

openclaw-updates: build ## break updates of a gateway at twelve moments, on a full disk and in a fleet; a quarter of an hour, no part of make test yet
	@HOLDFAST_TEST_SANDBOX=/var/lib/holdfast-sandbox-updates $(GO) test -count=1 -timeout 40m -tags hosts -run '$(UPDATES)' ./testscripts/openclaw

tailnet: build ## take a gateway into a tailnet; Tailscale is built from its source first, some minutes, so no part of make test
	@HOLDFAST_TEST_SANDBOX=/var/lib/holdfast-sandbox-tailnet $(GO) test -count=1 -v -timeout 40m -tags 'hosts tailnet' -run TestTailnet ./testscripts/openclaw

openclaw-rest: build
	@$(GO) test -count=1 -timeout 40m -tags hosts -skip '$(STATE)|$(UPDATES)' ./testscripts/openclaw

# Debian 12 is judged by "make hosts" too.
judges: build ## let lynis, ssh-audit, Docker and others judge the baseline on Debian and Ubuntu
	@$(GO) test -count=1 -v -timeout 60m -tags 'hosts judges releases' -run TestJudges ./testscripts/acceptance

bench: ## benchmarks, as ratios side by side
	@$(GO) test -run xxx -bench . -benchtime 1s ./...

fuzz: ## each fuzz target for 60 s
	@for pkg in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for name in $$(grep -hoE '^func Fuzz[A-Za-z]+' $$pkg/*_test.go | cut -d' ' -f2); do \
	    echo "$$pkg $$name"; $(GO) test -run xxx -fuzz "^$$name\$$" -fuzztime 60s -fuzzminimizetime 1x $$pkg || exit 1; \
	  done; done

clean: ## remove what was built
	@rm -rf bin dist runner/helperbin/bin/*.gz runner/helperbin/bin/*.json
