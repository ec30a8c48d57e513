//! The only user of `kube::Client`.
