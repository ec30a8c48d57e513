//! What an error says on one line, and what a person can do about it.

use crate::adapters::acme::AcmeError;
use crate::adapters::cluster::{ClusterError, ConnectError, LeaseError, PresentError, SolverError};
use crate::adapters::manifests::ManifestError;
use crate::adapters::responder::ResponderError;
use crate::decide::observed::Unread;

/// Something about the settings or the names given: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    /// What is wrong.
    pub what: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

impl Wrong {
    /// Puts the two together.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }
}

/// An error and its causes on one line.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Errors that render their own cause would say it twice.
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

/// What a person can do about an error.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let wrong = cause.downcast_ref::<Wrong>().and_then(|wrong| wrong.hint.clone());
        let unread = cause.downcast_ref::<Unread>().and_then(|unread| unread.hint.clone());
        wrong
            .or(unread)
            .or_else(|| cause.downcast_ref::<ConnectError>().and_then(ConnectError::hint))
            .or_else(|| cause.downcast_ref::<ClusterError>().and_then(ClusterError::hint))
            .or_else(|| cause.downcast_ref::<LeaseError>().and_then(LeaseError::hint))
            .or_else(|| cause.downcast_ref::<PresentError>().and_then(PresentError::hint))
            .or_else(|| cause.downcast_ref::<SolverError>().and_then(SolverError::hint))
            .or_else(|| cause.downcast_ref::<ResponderError>().and_then(ResponderError::hint))
            .or_else(|| cause.downcast_ref::<AcmeError>().and_then(AcmeError::hint))
            .or_else(|| cause.downcast_ref::<ManifestError>().and_then(ManifestError::hint))
    })
}
