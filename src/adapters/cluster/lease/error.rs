//! Why this run does not hold the Lease.

use super::super::ClusterError;
use super::object::LEASE_NAME;

/// Why this run does not hold the Lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run held it for all the time that this run may wait.
    #[error("another run, `{holder}`, holds the Lease `{namespace}/{LEASE_NAME}`")]
    Held {
        /// The other run.
        holder: String,
        /// The home namespace.
        namespace: String,
    },
    /// This run held it and does not hold it any more.
    #[error("the Lease `{namespace}/{LEASE_NAME}` was lost: {why}")]
    Lost {
        /// The home namespace.
        namespace: String,
        /// How it was lost.
        why: String,
    },
    /// This run was told to stop before it had the Lease.
    #[error("stopped while waiting for the Lease `{namespace}/{LEASE_NAME}`")]
    Stopped {
        /// The home namespace.
        namespace: String,
    },
    /// A call to the API server failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl LeaseError {
    /// What the user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held { namespace, .. } => Some(format!(
                "if that run is dead, wait a minute, or `kubectl delete lease -n {namespace} {LEASE_NAME}`"
            )),
            Self::Cluster(error) => error.hint(),
            Self::Lost { .. } => {
                Some("the next run does what is left, once the run that holds the Lease now has ended".into())
            }
            Self::Stopped { .. } => None,
        }
    }
}
