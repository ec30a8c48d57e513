# `make help` lists what there is. Everything here can be run by hand too.

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
BINARY := target/$(TARGET)/release/kube-lego-once
CLUSTER := tests/cluster/cluster

.PHONY: help build test demo demo-down cluster-binaries test-binaries cluster-tests

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

# With a target named, `crt-static` holds for the program and not for the build's own proc-macros.
build: ## a static release binary; the last line is its path
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target $(TARGET)
	@echo $(BINARY)

test: ## formatting, lints, tables, and the end-to-end tests on a real cluster
	cargo fmt --check
	$(MAKE) --no-print-directory -j2 cluster-binaries test-binaries
	cargo test --locked
	$(CLUSTER) run -- $(MAKE) --no-print-directory cluster-tests

# The last test reads what all the others did.
cluster-tests:
	cargo test --locked -- --ignored --skip every_right_is_used
	cargo test --locked --test it every_right_is_used -- --ignored

cluster-binaries:
	$(CLUSTER) build

test-binaries:
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --no-run

demo: ## the announcement's story, on a cluster that stays up
	$(MAKE) --no-print-directory -j2 cluster-binaries build
	tests/cluster/demo.sh $(BINARY)

demo-down: ## ends the demo's cluster
	$(CLUSTER) down
