# `make help` lists what there is. Everything here can be run by hand too.

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
BINARY := target/$(TARGET)/release/kube-lego-once
CLUSTER := tests/cluster/cluster
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE := kube-lego-once:$(VERSION)
ARCHIVE := target/image/kube-lego-once.tar
# `make image ARM64=` leaves it out.
ARM64 := target/arm64/aarch64-unknown-linux-gnu/release/kube-lego-once
# Pods need root. `make test NODES=` does without, for a root that may not do all that root may.
NODES := $(if $(filter 0,$(shell id -u)),--nodes)

CACHE := $(if $(KUBE_LEGO_ONCE_CACHE),$(KUBE_LEGO_ONCE_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/kube-lego-once)
# Programs of cargo's, each in a folder that says its version.
DENY := $(CACHE)/bin/cargo-deny-0.20.2/bin/cargo-deny
CYCLONEDX := $(CACHE)/bin/cargo-cyclonedx-0.5.9/bin/cargo-cyclonedx

.PHONY: help build build-arm64 image release test test-gateways gateway-tests test-all demo demo-down cluster-binaries test-binaries cluster-tests page-tests test-controllers deny picture faults bench

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

# With a target named, `crt-static` holds for the program and not for the build's own proc-macros.
build: ## a static release binary; the last line is its path
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target $(TARGET)
	@echo $(BINARY)

build-arm64: ## the same for arm64, with Debian's cross compiler
	.ci/arm64

image: build $(if $(ARM64),build-arm64) ## the image as an archive, without a builder, for amd64 and arm64; the last line is its path and digest
	@mkdir -p $(dir $(ARCHIVE))
	@tests/cluster/image.py $(ARCHIVE) $(BINARY) $(ARM64) --reference $(IMAGE) \
	  --label org.opencontainers.image.title=kube-lego-once \
	  --label org.opencontainers.image.version=$(VERSION) \
	  --label org.opencontainers.image.description='$(shell sed -n 's/^description = "\(.*\)"/\1/p' Cargo.toml)' \
	  --label org.opencontainers.image.licenses=Apache-2.0 \
	  --label org.opencontainers.image.source=https://github.com/kube-lego-once/kube-lego-once

release: $(CYCLONEDX) ## tags the version of Cargo.toml and makes its files in target/release-VERSION: built twice, and the same twice
	.ci/release $(CYCLONEDX)

test: ## formatting, lints, tables, and the end-to-end tests on a real cluster
	cargo fmt --check
	$(MAKE) --no-print-directory -j2 cluster-binaries test-binaries
	$(if $(NODES),$(MAKE) --no-print-directory -j2 image,@echo '$(WITHOUT_NODES)' >&2)
	cargo test --locked
	$(MAKE) --no-print-directory page-tests deny
	$(CLUSTER) run $(NODES) -- $(MAKE) --no-print-directory cluster-tests
	$(MAKE) --no-print-directory TABLES= test-controllers
	$(MAKE) --no-print-directory TABLES= test-gateways
	$(CLUSTER) run --ip-family dual -- cargo test --locked --test it ipv6:: -- --ignored --nocapture
	$(if $(NODES),,@echo '$(WITHOUT_NODES)' >&2)

WITHOUT_NODES := NOT TESTED: all that happens in Pods, and the image, since that needs root

# Most of a test's time is waiting, for a Lease or a Pod, so more of them run than there are cores. What serves every host there
# is runs by itself, and the last one reads what all the others did.
cluster-tests:
	cargo test --locked -- --ignored --skip every_right_is_used --skip served:: --skip controllers:: --skip gateways:: --skip page:: --test-threads 6
	cargo test --locked --test it served:: -- --ignored --nocapture
	cargo test --locked --test it every_right_is_used -- --ignored

page-tests:
	.ci/browser
	cargo test --locked --test it page:: -- --ignored --nocapture

cluster-binaries:
	$(CLUSTER) build $(NODES)

test-binaries:
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --no-run

$(DENY) $(CYCLONEDX):
	cargo install $(@F) --version $(patsubst $(CACHE)/bin/$(@F)-%/bin/$(@F),%,$@) --locked --quiet --root $(patsubst %/bin/$(@F),%,$@)

deny: $(DENY) ## licences, sources and bans of the dependencies (deny.toml); advisories, if their database can be fetched
	$(DENY) --log-level error --locked check licenses bans sources
	@if $(DENY) --log-level off fetch db; then $(DENY) --log-level error --locked check advisories; \
	  else echo 'NOT CHECKED: advisories, since their database cannot be fetched' >&2; fi

demo: ## the announcement's story, on a cluster that stays up; CONTROLLER=nginx, traefik, traefik-nginx or haproxy chooses who serves it
	$(MAKE) --no-print-directory -j2 NODES= cluster-binaries build
	tests/cluster/demo.sh $(BINARY)

picture: ## draws docs/run.svg anew, from a real run
	$(MAKE) --no-print-directory NODES= cluster-binaries
	PICTURE=1 $(CLUSTER) run -- cargo test --locked --test it picture -- --ignored

# Two clusters, since Traefik in ingress-nginx's place serves the class of ingress-nginx. What both measured becomes one table.
TABLES := 1
test-controllers: ## each ingress controller with each way to use it; the table in docs/reference.md
	rm -f target/controllers.json
	$(CLUSTER) build --controllers nginx,traefik,haproxy
	TABLES=$(TABLES) $(CLUSTER) run --controllers nginx,traefik,haproxy -- cargo test --locked --test it controllers:: -- --ignored --nocapture
	TABLES=$(TABLES) CONTROLLER=traefik-nginx $(CLUSTER) run --controllers traefik-nginx -- cargo test --locked --test it controllers:: -- --ignored --nocapture

# A cluster of its own: it has the kinds of the Gateway API, which the others show that a run does without.
test-gateways: ## the annotation on Gateways, with those of Traefik, Contour and Istio; the table in docs/reference.md
	$(CLUSTER) build --controllers traefik-gateway,contour-gateway,istio-gateway
	$(CLUSTER) run --controllers traefik-gateway,contour-gateway,istio-gateway -- $(MAKE) --no-print-directory TABLES=$(TABLES) gateway-tests

# The last one changes the kinds for the whole cluster, and reads what the others did.
gateway-tests:
	TABLES=$(TABLES) cargo test --locked --test it gateways:: -- --ignored --nocapture --skip gateways::kinds
	cargo test --locked --test it gateways::kinds -- --ignored --nocapture

test-all: ## `make test` with every cut point and a hundred runs, not a sample of them
	CUTS=all KILLS=36 RUNS=100 $(MAKE) --no-print-directory test

faults: ## the tables of faults in docs/security.md, measured anew
	$(MAKE) --no-print-directory NODES= cluster-binaries
	TABLES=1 $(CLUSTER) run -- cargo test --locked --test it faults::each -- --ignored

bench: build ## how long the shipped program takes, beside its floors; ONLY=idle|issue|dead and SIZES=100,1000 choose
	$(MAKE) --no-print-directory NODES= cluster-binaries
	cargo bench --locked --no-run
	KUBE_LEGO_ONCE_PROGRAM=$(BINARY) $(CLUSTER) run -- cargo bench --locked --bench bench

demo-down: ## ends the demo's cluster
	$(CLUSTER) down
