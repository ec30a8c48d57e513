//! The only user of `kube::Client`: a file per kind of object, and no policy in any of them.
//!
//! The seam for tests is the client itself, which is a tower service.

mod account;
mod call;
mod challenge;
mod connect;
mod cronjob;
mod error;
mod events;
mod gateways;
mod ingresses;
mod keyed_secret;
mod lease;
mod ledger;
#[cfg(test)]
mod live;
mod page;
mod quotas;
mod secrets;
mod solver;
mod target;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use tokio::sync::RwLock;

pub use challenge::{PresentError, Presented};
pub use connect::{ConnectError, ConnectSettings, in_cluster_namespace};
pub use error::ClusterError;
pub use events::Unsaid;
pub use gateways::Gateways;
pub use ingresses::Scope;
pub use lease::{Held, LeaseError, LeaseWait};
pub use quotas::SecretQuota;
pub use secrets::{StoreError, TlsContent};
pub use solver::SolverError;

/// Under this name the API server records what we write (`metadata.managedFields[].manager`).
const FIELD_MANAGER: &str = "kube-lego-once";

/// A cluster, by its API server. A clone is the same cluster.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    server: Arc<str>,
    /// Held for reading while a challenge object is being created: whoever withdraws waits for the last one.
    creating: Arc<RwLock<()>>,
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
            creating: Arc::default(),
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
