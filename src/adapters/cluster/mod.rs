//! The only user of `kube::Client`: a file per kind of object, and no policy in any of them.
//!
//! The seam for tests is the client itself, which is a tower service.

mod call;
mod connect;
mod error;
mod ingresses;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use connect::{ConnectError, ConnectSettings, in_cluster_namespace};
pub use error::ClusterError;
pub use ingresses::Scope;

/// A cluster, by its API server. A clone is the same cluster.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    server: Arc<str>,
}

impl Cluster {
    /// A cluster by a client of any make: a test's mock service, for one.
    pub fn new(client: kube::Client) -> Self {
        Self::of(client, "the API server")
    }

    fn of(client: kube::Client, server: &str) -> Self {
        Self {
            client,
            server: server.into(),
        }
    }

    /// The API server's URL, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
