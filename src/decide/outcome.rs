//! How each certificate of a run ended.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::backoff::Refused;
use super::name::{DnsName, SecretRef};

/// How the obtaining of a certificate ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Issued {
        /// End of validity.
        not_after: Timestamp,
        /// The issuer's name.
        issuer: String,
        /// Hosts that it does not have, since they did not answer and the old one was to end soon.
        dropped: Vec<DnsName>,
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
    /// What could not be done, of what.
    pub message: String,
    /// Why: what was seen of each host, or a CA's own words. Nothing where the message says it.
    pub causes: Vec<String>,
    /// What a person can do.
    pub hint: Option<String>,
    /// Whether the CA asked for fewer requests (`rateLimited`, or 503).
    pub slows_down: bool,
    /// The CA's refusal, where that is what it was: it is remembered, so that the next run does not ask again at once.
    pub refused: Option<Box<Refused>>,
}

impl Failure {
    /// A failure whose message says it all.
    pub fn new(message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint,
            slows_down: false,
            refused: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.causes.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.causes.join("; ")),
        }
    }
}

/// Outcomes by Secret. A certificate that was to be issued and has none was never reached.
pub type Outcomes = BTreeMap<SecretRef, Outcome>;
