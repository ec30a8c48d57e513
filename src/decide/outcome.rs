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

/// What [`Outcome::failure_class`] can be: the problems of RFC 8555 section 6.7 that an order can meet, and words of this program. A
/// CA that makes up others adds none.
pub const FAILURE_CLASSES: &[&str] = &[
    "badCSR",
    "caa",
    "connection",
    "dns",
    "incorrectResponse",
    "invalid",
    "invalidProfile",
    "malformed",
    "noAnswer",
    "noHttpChallenge",
    "other",
    "rateLimited",
    "rejectedIdentifier",
    "serverInternal",
    "stopped",
    "tls",
    "unauthorized",
    "unsupportedIdentifier",
    "userActionRequired",
];

impl Outcome {
    /// What kind of failure it is, in one of the [`FAILURE_CLASSES`]; nothing if the certificate is stored.
    pub fn failure_class(&self) -> Option<&'static str> {
        let failure = match self {
            Self::Issued { .. } => return None,
            Self::Stopped | Self::Interrupted => return Some("stopped"),
            Self::Failed(failure) => failure,
        };
        let class = match &failure.refused {
            Some(refused) => &*refused.class,
            None if failure.unanswered => "noAnswer",
            None if failure.slows_down => "rateLimited",
            None => "other",
        };
        let known = FAILURE_CLASSES.iter().copied().find(|known| *known == class);
        Some(known.unwrap_or("other"))
    }
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
    /// Whether it is that a host did not answer, so that nothing was ordered.
    pub unanswered: bool,
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
            unanswered: false,
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
