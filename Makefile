# The one entry to everything. A fresh Debian machine needs Rust (1.88 or newer), make and git; the rest is set up
# by what needs it. `make` alone lists the verbs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up test test-full check sim bench measure fuzz fuzz-canary

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | column -t -s $$'\t'

up: ## set up, build, and run the demo until Ctrl-C
	@tools/setup
	@exec cargo run --quiet --release -p shoal-cli --bin shoal -- up

test: ## set up and run every test
	@tools/setup --tests
	@tools/setup-clients
	@tools/test

test-full: ## the same, with the long tests, all cases of the sampled ones, and Redis's own suite
	@tools/setup --full
	@tools/setup-clients
	@tools/test --full
	@tools/redis-suite

check: ## format, lints, documentation, dependency audit, instructions per request
	@tools/setup --check
	@tools/check

sim: ## replay the property tests from a seed: make sim SEED=7 (without SEED: a new one, printed)
	@tools/sim "$(SEED)"

bench: ## measure against nutcracker, the floor and direct clients; writes a page to docs/measurements/
	@tools/setup
	@cargo build --release -p shoal-cli
	@cargo bench -p shoal-e2e --bench proxies -- --syscalls

measure: bench ## what an issue asks to see in figures: the bench, memory with 10,000 connections, writes that wait for a replica
	@cargo bench -p shoal-e2e --bench proxies -- --memory
	@cargo bench -p shoal-e2e --bench proxies -- --durability

fuzz: ## fuzz one target for T seconds, on nightly: make fuzz TARGET=request T=60
	@tools/fuzz "$(TARGET)" "$(or $(T),60)"

fuzz-canary: ## show that the fuzzing alarm works: a target that must fail, fails
	@tools/fuzz --canary "$(or $(T),120)"
