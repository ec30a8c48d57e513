//! How each certificate of a run ended.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::name::SecretRef;

/// How the obtaining of a certificate ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Issued {
        /// End of validity.
        not_after: Timestamp,
        /// The issuer's name.
        issuer: String,
    },
    /// It is not, and the Secret is as it was.
    Failed(Failure),
    /// The run was stopped before its turn came.
    Stopped,
    /// The run was stopped while it was being obtained.
    Interrupted,
}

/// What was seen when a certificate could not be obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One sentence: operation, object, cause.
    pub message: String,
    /// What a person can do.
    pub hint: Option<String>,
}

/// Outcomes by Secret. A certificate that was to be issued and has none was never reached.
pub type Outcomes = BTreeMap<SecretRef, Outcome>;
