# The image of kube-lego-once: one static program and nothing else. The roots that it trusts are compiled into it.
#
#     docker build -t REGISTRY/kube-lego-once .
#     docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/kube-lego-once --push .
#
# Written, but never tried: where this is developed there is no builder. What the tests run is the image that
# `make image` writes without one, from a program that `make build` built as it is built here.
FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /kube-lego-once
COPY Cargo.toml Cargo.lock Makefile README.md ./
COPY src src
COPY tests tests
RUN make build && cp target/*/release/kube-lego-once /

FROM scratch
LABEL org.opencontainers.image.title="kube-lego-once" \
      org.opencontainers.image.description="TLS certificates for Kubernetes Ingresses, by a program that does its work and exits" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/kube-lego-once/kube-lego-once"
COPY --from=build /kube-lego-once /kube-lego-once
USER 65532:65532
ENTRYPOINT ["/kube-lego-once"]
