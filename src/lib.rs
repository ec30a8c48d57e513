//! TLS certificates for Kubernetes Ingresses, by a program that does its work and exits.
pub mod adapters;
pub mod decide;
