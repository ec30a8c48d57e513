//! The outside, one file or folder each. None uses another.

pub mod acme;
pub mod cluster;
pub mod manifests;
pub mod probe;
pub mod pushgateway;
pub mod responder;
