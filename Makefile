# `make test` runs everything and gets what it needs; caches lie outside the checkout.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export ZENVOY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/zenvoy
export CARGO_TARGET_DIR ?= $(ZENVOY_CACHE)/target
DENY_VERSION := 0.20.2
DENY := $(ZENVOY_CACHE)/tools/bin/cargo-deny

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 14

.PHONY: test
test: protoc ## Build and test everything, on real parts
	cargo test --workspace

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
	@command -v protoc >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -y -q protobuf-compiler; \
	else echo "protoc is missing: install protobuf-compiler and run this again" >&2; exit 1; fi
