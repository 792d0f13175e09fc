# `make test` runs everything and gets what it needs; caches lie outside the checkout.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export ZENVOY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/zenvoy
export CARGO_TARGET_DIR ?= $(ZENVOY_CACHE)/target
# Tests make network namespaces: as another user, inside a user namespace where that user is root.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),unshare --user --map-root-user)
DENY_VERSION := 0.20.2
DENY := $(ZENVOY_CACHE)/tools/bin/cargo-deny

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

.PHONY: test
test: protoc network parts ## Build and test everything, on real parts
	$(AS_ROOT) cargo test --workspace

.PHONY: chaos
chaos: protoc network ## Break parts of an installation at random (SEED=…, MINUTES=…)
	cargo build -p zenvoy
	SEED=$(or $(SEED),$(shell echo $$RANDOM)) MINUTES=$(or $(MINUTES),5) RUST_BACKTRACE=0 $(AS_ROOT) \
		cargo test -p zenvoy-e2e -p zenvoy --test chaos random:: -- --ignored --nocapture

.PHONY: storm
storm: protoc network ## Ask for a thousand services that sleep, all at once
	cargo build -p zenvoy
	RUST_BACKTRACE=0 $(AS_ROOT) cargo test -p zenvoy-e2e -p zenvoy --test chaos thousand:: -- --ignored --nocapture

.PHONY: demo
demo: ## Show services that sleep and wake, behind a real Envoy; ends by itself
	scripts/demo

.PHONY: bench
bench: protoc network parts ## Measure against a baseline in the same run (NAME=wake or xds: one of them)
	$(AS_ROOT) bench/run $(NAME)

.PHONY: lint
lint: format clippy deny docs ## All checks that run before the tests

.PHONY: format
format: ## Check the format
	cargo fmt --all --check

.PHONY: clippy
clippy: protoc ## Run clippy, warnings denied
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: docs
docs: protoc ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

.PHONY: deny
deny: $(DENY) ## Check licences and sources of dependencies
	$(DENY) --workspace check licenses bans sources

$(DENY):
	CARGO_TARGET_DIR=$(ZENVOY_CACHE)/tools-target cargo install cargo-deny --version $(DENY_VERSION) --locked --root $(ZENVOY_CACHE)/tools

.PHONY: protoc
protoc:
	@scripts/need protoc protobuf-compiler
	@scripts/need /usr/include/google/protobuf/descriptor.proto libprotobuf-dev

# Before the tests, which run in network namespaces without a way out.
.PHONY: parts
parts:
	@scripts/parts tests

.PHONY: network
network:
	@scripts/need nft nftables
	@scripts/need iptables iptables
	@scripts/need ip iproute2
	@scripts/need "$(firstword $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1) /usr/lib/faketime)" libfaketime
