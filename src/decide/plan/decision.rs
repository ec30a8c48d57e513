//! The decision on one certificate, and its sentence.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use thin_vec::ThinVec;

use crate::decide::backoff::Attempts;
use crate::decide::checks::Reason;
use crate::decide::desired::Certificate;
use crate::decide::inspection::{CertificateFacts, CertificateId};
use crate::decide::ledger::Pending;
use crate::decide::name::DnsName;
use crate::decide::observed::Secret;
use crate::decide::route::Route;
use crate::decide::validity::{is_last_tenth, short};

/// The decision on one certificate.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The certificate.
    pub certificate: Box<Certificate>,
    /// The first check that matched.
    pub reason: Reason,
    /// Its sentence; nothing where [`Decision::message`] can make it of the rest, as for nearly all of most clusters.
    pub(crate) said: Option<Box<str>>,
    /// The Secret as it was inspected: a store is conditional on it.
    pub secret: Option<Arc<Secret>>,
    /// When it falls due, where that is known; of what waits, when it is tried again.
    pub renew_at: Option<Timestamp>,
    /// The certificate that a new one replaces (RFC 9773 section 5); nothing unless one is obtained.
    pub replaces: Option<Box<CertificateId>>,
    /// The order of a run that could not store its certificate: it is taken up before another is made (I7).
    pub pending: Option<Box<Pending>>,
    /// What the CA refused of it lately; nothing unless it is due.
    pub attempts: Option<Box<Attempts>>,
    /// Hosts that this run leaves out, since they do not answer and the certificate ends soon ([`Decision::without`]).
    pub dropped: ThinVec<DnsName>,
    /// What must be answered for, so that the CA can validate each host; nothing unless it is obtained.
    pub routes: ThinVec<Route>,
    /// What else is worth knowing.
    pub notes: ThinVec<String>,
}

/// What happens to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is obtained.
    Issue,
    /// It is left as it is.
    Keep,
    /// It is left as it is, and somebody has to do something.
    Refuse,
}

impl Verdict {
    /// The word as it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Keep => "keep",
            Self::Refuse => "refuse",
        }
    }
}

impl Decision {
    /// Whether it is due, and not tried yet.
    pub fn waits(&self) -> bool {
        self.reason.waits()
    }

    /// The same for the hosts that answer, where that is better than to wait for these: less than a tenth of the lifetime is left,
    /// and some answer. They return when all do, since the new certificate has a whole lifetime.
    pub fn without(&self, dead: &[DnsName], now: Timestamp) -> Option<Self> {
        let ends = self.facts().is_some_and(|facts| is_last_tenth(facts, now));
        let some_answer = self.certificate.hosts.iter().any(|host| !dead.contains(host));
        if dead.is_empty() || !ends || !some_answer {
            return None;
        }
        let mut narrowed = self.clone();
        narrowed.certificate.hosts.retain(|host| !dead.contains(host));
        narrowed.dropped = dead.into();
        // It is for all hosts, one of which the CA cannot validate.
        narrowed.pending = None;
        Some(narrowed)
    }

    /// Its sentence. `now` is [`Plan::at`].
    pub fn message(&self, now: Timestamp) -> Message<'_> {
        Message { decision: self, now }
    }

    /// What is known of the certificate that is there.
    pub fn facts(&self) -> Option<&CertificateFacts> {
        self.secret.as_ref()?.facts()
    }
}

/// A decision's sentence, made where it is read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    decision: &'a Decision,
    now: Timestamp,
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.decision.said, self.decision.facts()) {
            (Some(said), _) => f.write_str(said),
            (None, Some(facts)) => {
                let left = short(facts.not_after.duration_since(self.now));
                write!(f, "valid until {}, {left} left", facts.not_after)
            }
            (None, None) => f.write_str("nothing is due"),
        }
    }
}
