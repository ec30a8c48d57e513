//! What a check is: a reason, a question about a subject, and the answer.

use std::sync::Arc;

use super::reason::Reason;
use crate::decide::backoff::Attempts;
use crate::decide::ca_limits::{CaLimits, Hold};
use crate::decide::desired::Certificate;
use crate::decide::inspection::{CertificateFacts, Marker};
use crate::decide::name::{ClassName, DnsName};
use crate::decide::observed::{IngressClass, Observed, Read, RenewalWindow, Secret};
use crate::decide::policy::Policy;
use crate::decide::route::RuleHost;

/// What a check found, with the values that it compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It matches; for a refusal the sentence says what to do.
    Yes(String),
    /// It does not.
    No(String),
    /// There is nothing to compare.
    NotAsked(&'static str),
}

impl Answer {
    pub(super) fn no(sentence: &str) -> Self {
        Self::No(sentence.into())
    }
}

/// What the checks look at.
pub(in crate::decide) struct Subject<'a> {
    pub(in crate::decide) observed: &'a Observed,
    pub(in crate::decide) policy: &'a Policy,
    pub(in crate::decide) certificate: &'a Certificate,
    pub(in crate::decide) secret: &'a Read<Arc<Secret>>,
    pub(in crate::decide) limits: &'a CaLimits,
    /// The host of the rule under which a class serves a host now.
    pub(in crate::decide) rule: &'a dyn Fn(&ClassName, &DnsName) -> Option<RuleHost>,
}

impl<'a> Subject<'a> {
    pub(in crate::decide) fn found(&self) -> Option<&'a Secret> {
        self.secret.found().map(|secret| &**secret)
    }

    pub(in crate::decide) fn facts(&self) -> Option<&'a CertificateFacts> {
        self.found()?.facts()
    }

    pub(in crate::decide) fn marker(&self) -> Option<Marker> {
        self.found()?.marker()
    }

    /// What the CA refused of this certificate lately.
    pub(in crate::decide) fn attempts(&self) -> Option<&'a Attempts> {
        let Certificate { secret, hosts, .. } = self.certificate;
        let directory = self.policy.directory.as_ref()?;
        let ledger = self.observed.ledger.found()?;
        ledger.attempts_at(secret, hosts, directory, self.observed.account.as_deref())
    }

    /// What the CA takes no order for now. What replaces a certificate is asked for all the same.
    pub(in crate::decide) fn hold(&self) -> Option<Hold> {
        let hold = self.limits.hold_of(&self.certificate.hosts)?;
        self.facts().is_none().then_some(hold)
    }

    pub(in crate::decide) fn window(&self) -> Option<&'a RenewalWindow> {
        self.observed.renewal_windows.get(&self.certificate.secret)
    }
}

/// The IngressClasses, as far as they are known.
pub(in crate::decide) fn classes(observed: &Observed) -> &[IngressClass] {
    observed.classes.found().map(Vec::as_slice).unwrap_or_default()
}

/// A check: the reason that it gives, and how it is asked.
pub(in crate::decide) struct Check {
    pub(in crate::decide) reason: Reason,
    pub(in crate::decide) ask: fn(&Subject<'_>) -> Answer,
    pub(in crate::decide) asked: Asked,
}

/// Whether a refusal holds for a certificate that nothing is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decide) enum Asked {
    Always,
    WhenDue,
}

pub(super) const fn always(reason: Reason, ask: fn(&Subject<'_>) -> Answer) -> Check {
    Check {
        reason,
        ask,
        asked: Asked::Always,
    }
}

pub(super) const fn when_due(reason: Reason, ask: fn(&Subject<'_>) -> Answer) -> Check {
    Check {
        reason,
        ask,
        asked: Asked::WhenDue,
    }
}

pub(super) const NO_SECRET: Answer = Answer::NotAsked("there is no Secret to look at");
pub(super) const NO_CERTIFICATE: Answer = Answer::NotAsked("there is no certificate to look at");
pub(super) const NO_DIRECTORY: Answer = Answer::NotAsked("no directory is given");
