//! The decision: what is to be done about each wanted certificate, and about what dead runs left (I1).

mod decision;
mod routes;
mod wanted;

use std::cell::LazyCell;

use jiff::Timestamp;
use thin_vec::ThinVec;

use super::backoff::Attempts;
use super::ca_limits::CaLimits;
use super::ceiling;
use super::checks::{Answer, Asked, Check, DUE, REFUSALS, Reason, Subject, WAITS, classes};
use super::desired::{Certificate, Desired, Rejected, desired};
use super::inspection::{CertificateId, KeyMatch, Refusal};
use super::kube_lego;
use super::ledger::{EntryKey, EntryKind, Ledger, Pending};
use super::name::{ClassName, DnsName, SecretRef, SourceRef};
use super::observed::{Ingress, IngressClass, Leftover, Observed, Read, Unread, Unseen};
use super::policy::Policy;
use super::route::{RuleHost, Serving};
use super::selection::{ObjectName, Selection};
use super::validity::renew_at;

pub use decision::{Decision, Message, Verdict};
pub use wanted::{renewal_information_wanted, secrets_wanted};

/// What is to be done: the value that a dry run prints and that a run applies.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When the observation was made.
    pub at: Timestamp,
    /// Certificates to obtain.
    pub issue: Vec<Decision>,
    /// Certificates that are fine.
    pub keep: Vec<Decision>,
    /// Certificates that must not be obtained, or not now.
    pub refuse: Vec<Decision>,
    /// Ingresses without a Secret to key them by.
    pub rejected: Vec<Rejected>,
    /// Objects that dead runs left.
    pub sweep: Vec<Leftover>,
    /// The holder of the Lease, where objects of its run are there: it may be dead, which only the Lease tells.
    pub awaited: Option<String>,
    /// The cluster's IngressClasses, where they could be read: challenge Ingresses are shaped by them.
    pub classes: Vec<IngressClass>,
    /// Entries in the ledger that are of no use any more; there may be keys in them.
    pub forget: Vec<EntryKey>,
    /// Why the ledger is not known: a new order's entry might overwrite the key of an earlier one.
    pub ledger_unread: Option<Unread>,
    /// Selected names that nothing answers to.
    pub unmatched: Vec<ObjectName>,
    /// What the observation could not know, and what looks like a mistake.
    pub notes: Vec<String>,
}

/// One check's answer on one certificate, for those who ask why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What the check would decide.
    pub verdict: Verdict,
    /// Its reason.
    pub reason: Reason,
    /// What it found; nothing where it is asked only when something is due, and nothing is.
    pub answer: Option<Answer>,
}

/// Decides. The same observation and policy give the same plan, in whatever order the objects came.
pub fn plan(observed: &Observed, policy: &Policy) -> Plan {
    let Desired {
        mut certificates,
        mut rejected,
        near_misses,
    } = desired(&observed.ingresses, &observed.gateways, &policy.annotation);
    rejected.extend(observed.retired.iter().map(Rejected::from));
    let unmatched = policy
        .selection
        .unmatched(certificates.iter().map(|certificate| &**certificate), &rejected)
        .into_iter()
        .cloned()
        .collect();
    let classes = classes(observed);
    let ledger = observed.ledger.found();
    let forget = ledger
        .map(|ledger| forgettable(ledger, observed, &certificates))
        .unwrap_or_default();
    certificates.retain(|certificate| policy.selection.selects(certificate, classes));
    rejected.retain(|rejected| policy.selection.selects_rejected(rejected, classes));
    rejected.sort();
    let mut plan = Plan {
        at: observed.now,
        issue: Vec::new(),
        keep: Vec::new(),
        refuse: Vec::new(),
        rejected,
        sweep: Vec::new(),
        awaited: None,
        classes: classes.to_vec(),
        forget,
        ledger_unread: match &observed.ledger {
            Read::Unknown(unread) => Some((**unread).clone()),
            Read::Found(_) | Read::Absent => None,
        },
        unmatched,
        notes: observed.notes.clone(),
    };
    // Most runs have nothing due. A vector that grows is twice as large as what is in it.
    plan.keep.reserve_exact(certificates.len());
    let limits = CaLimits::of(observed, policy);
    let serving = LazyCell::new(|| Serving::of(&observed.ingresses, classes));
    let rule = |class: &ClassName, host: &DnsName| serving.rule(class, host);
    for certificate in certificates {
        match decide(observed, policy, &limits, &rule, certificate) {
            (Verdict::Issue, mut decision) => {
                routes::add(&mut decision, &serving, observed);
                plan.issue.push(decision);
            }
            (Verdict::Keep, decision) => plan.keep.push(decision),
            (Verdict::Refuse, decision) => plan.refuse.push(decision),
        }
    }
    plan.keep.extend(ceiling::defer(&mut plan.issue, observed, policy));
    let holder = observed.lease_holder.as_deref();
    let (held, dead): (Vec<_>, Vec<_>) = observed
        .leftovers
        .iter()
        .cloned()
        .partition(|leftover| leftover.is_of(holder));
    plan.sweep = dead;
    plan.sweep.sort();
    plan.awaited = held.first().map(|leftover| leftover.run.clone());
    add_notes(&mut plan, &near_misses, observed, policy);
    plan
}

/// What looks like a mistake, and what could not be checked.
fn add_notes(plan: &mut Plan, near_misses: &[(SourceRef, String)], observed: &Observed, policy: &Policy) {
    plan.notes.extend(
        near_misses
            .iter()
            .filter(|(source, _)| policy.selection.selects_namespace(&source.namespace))
            .map(|(source, value)| near_miss_note(source, value, policy)),
    );
    plan.notes
        .extend(kube_lego::notes(&observed.ingresses, &policy.selection));
    plan.notes
        .extend(observed.ledger.found().into_iter().flat_map(ledger_notes));
    if policy.selection != Selection::default() && plan.decisions().is_empty() && plan.rejected.is_empty() {
        plan.notes.push(
            "nothing is selected: no annotated Ingress answers to the namespaces, labels and classes that were named"
                .into(),
        );
    }
    if policy.directory.is_none() {
        plan.notes
            .push("without a directory, what depends on the CA was not checked".into());
    }
}

fn near_miss_note(source: &SourceRef, value: &str, policy: &Policy) -> String {
    // Anybody's text of any length: no line breaks, no terminal escapes, and no more of it than a person needs.
    let value: String = value.chars().take(40).flat_map(char::escape_debug).collect();
    format!(
        "{} `{source}` is left alone: its annotation `{}` is `{value}`; only `true` opts in",
        source.kind.word(),
        policy.annotation
    )
}

fn ledger_notes(ledger: &Ledger) -> impl Iterator<Item = String> + '_ {
    ledger
        .unreadable
        .iter()
        .map(|(key, why)| format!("the ledger's Secret has an entry `{key}` that cannot be read ({why}): this run ignores it and leaves it unchanged. If no newer version of this program wrote it, remove the entry `{key}` from the Secret's `data`"))
}

impl Plan {
    /// Whether applying it would change nothing (I4).
    pub fn is_idle(&self) -> bool {
        self.issue.is_empty() && self.sweep.is_empty() && self.forget.is_empty() && self.awaited.is_none()
    }

    /// The plan of `clean`: nothing but the sweep.
    pub fn only_sweep(self) -> Self {
        Self {
            issue: Vec::new(),
            keep: Vec::new(),
            refuse: Vec::new(),
            rejected: Vec::new(),
            notes: Vec::new(),
            ..self
        }
    }

    /// Every decision, sorted by Secret.
    pub fn decisions(&self) -> Vec<(Verdict, &Decision)> {
        let of = |verdict| move |decision| (verdict, decision);
        let mut all: Vec<_> = self.issue.iter().map(of(Verdict::Issue)).collect();
        all.extend(self.keep.iter().map(of(Verdict::Keep)));
        all.extend(self.refuse.iter().map(of(Verdict::Refuse)));
        all.sort_by(|(_, a), (_, b)| a.certificate.secret.cmp(&b.certificate.secret));
        all
    }
}

fn decide(
    observed: &Observed,
    policy: &Policy,
    limits: &CaLimits,
    rule: &dyn Fn(&ClassName, &DnsName) -> Option<RuleHost>,
    certificate: Box<Certificate>,
) -> (Verdict, Decision) {
    let secret = observed.secrets.get(&certificate.secret).unwrap_or(&Read::Absent);
    let subject = Subject {
        observed,
        policy,
        certificate: &certificate,
        secret,
        limits,
        rule,
    };
    let due = first_match(DUE.iter(), &subject);
    let refusal = first_match(
        REFUSALS
            .iter()
            .filter(|check| check.asked == Asked::Always || due.is_some()),
        &subject,
    );
    let wait = due.as_ref().and_then(|_| first_match(WAITS.iter(), &subject));
    let (verdict, reason, said) = match (refusal, due, wait) {
        (Some((refusal, why)), ..) => (Verdict::Refuse, refusal, Some(why.into())),
        (None, Some((due, why)), Some((wait, until))) => {
            (Verdict::Keep, wait, Some(though_due(&until, due, &why).into()))
        }
        (None, Some((due, why)), None) => (Verdict::Issue, due, Some(why.into())),
        (None, None, _) => (Verdict::Keep, Reason::Valid, None),
    };
    // What is valid, nearly all of most clusters, is not looked for in the ledger.
    let attempts = (reason != Reason::Valid).then(|| subject.attempts()).flatten();
    let pending = pending(&subject).filter(|_| verdict == Verdict::Issue && reason != Reason::Forced);
    let decision = Decision {
        reason,
        said,
        secret: subject.secret.found().cloned(),
        renew_at: match attempts {
            Some(attempts) if reason == Reason::BackingOff => Some(attempts.next),
            None if reason == Reason::BackingOff => subject.hold().map(|hold| hold.until),
            _ => subject
                .facts()
                .and_then(|facts| renew_at(facts, subject.window(), policy)),
        },
        attempts: attempts.cloned().map(Box::new),
        replaces: replaces(&subject).filter(|_| verdict == Verdict::Issue).map(Box::new),
        notes: notes(&subject, pending),
        pending: pending.cloned().map(Box::new),
        dropped: ThinVec::new(),
        routes: ThinVec::new(),
        certificate,
    };
    (verdict, decision)
}

/// Why something waits although it is due.
pub(super) fn though_due(why: &str, due: Reason, message: &str) -> String {
    format!("{why} (it is due, `{}`: {message})", due.word())
}

fn first_match<'a>(checks: impl Iterator<Item = &'a Check>, subject: &Subject<'_>) -> Option<(Reason, String)> {
    let mut checks = checks;
    checks.find_map(|check| match (check.ask)(subject) {
        Answer::Yes(sentence) => Some((check.reason, sentence)),
        Answer::No(_) | Answer::NotAsked(_) => None,
    })
}

/// Every check's answer on a decision of this very observation, in the order in which they are asked.
pub fn explain(observed: &Observed, policy: &Policy, decision: &Decision) -> Vec<Explained> {
    let certificate = &decision.certificate;
    let secret = observed.secrets.get(&certificate.secret).unwrap_or(&Read::Absent);
    let limits = &CaLimits::of(observed, policy);
    let serving = LazyCell::new(|| Serving::of(&observed.ingresses, classes(observed)));
    let subject = Subject {
        observed,
        policy,
        certificate,
        secret,
        limits,
        rule: &|class, host| serving.rule(class, host),
    };
    let due = first_match(DUE.iter(), &subject).is_some();
    let explained = |verdict, asked: bool, check: &Check| Explained {
        verdict,
        reason: check.reason,
        answer: asked.then(|| (check.ask)(&subject)),
    };
    let refusals = REFUSALS
        .iter()
        .map(|check| explained(Verdict::Refuse, check.asked == Asked::Always || due, check));
    refusals
        .chain(DUE.iter().map(|check| explained(Verdict::Issue, true, check)))
        .chain(WAITS.iter().map(|check| explained(Verdict::Keep, due, check)))
        .collect()
}

/// Only a certificate of the same directory can be named as replaced; the account is compared where the account is known.
fn replaces(subject: &Subject<'_>) -> Option<CertificateId> {
    let marker = subject.marker()?;
    let directory = subject.policy.directory.as_ref()?;
    (marker.directory == directory.url())
        .then(|| subject.facts()?.id.clone())
        .flatten()
}

fn pending<'a>(subject: &Subject<'a>) -> Option<&'a Pending> {
    let ledger = subject.observed.ledger.found()?;
    let to_be_stored = |pending: &&Pending| !is_stored(pending, subject.observed);
    let Certificate { secret, hosts, .. } = subject.certificate;
    let directory = subject.policy.directory.as_ref()?;
    let profile = subject.policy.profile.as_deref();
    ledger
        .order_for(secret, hosts, directory, profile, subject.observed.now)
        .filter(to_be_stored)
}

/// The entries in the ledger that are of no use any more: orders that are over or stored, and attempts at what nobody asks for.
fn forgettable(ledger: &Ledger, observed: &Observed, wanted: &[Box<Certificate>]) -> Vec<EntryKey> {
    let useless = |pending: &&Pending| pending.is_over(observed.now) || is_stored(pending, observed);
    let pending = ledger.pending.iter().filter(useless).map(Pending::secret);
    let pending = pending.map(|secret| (EntryKind::Pending, secret));
    // This run may not see the Ingress that asks for it, or look for another annotation: then its attempts stay.
    let names = |ingress: &Ingress, secret: &SecretRef| {
        let mut named = ingress.tls.iter().filter_map(|tls| tls.secret_name.as_ref());
        ingress.name.namespace == secret.namespace && named.any(|name| *name == secret.name)
    };
    // The same for Gateways that this run may not list, or that no longer opt in.
    let listened = |secret: &SecretRef| {
        let listeners = observed
            .gateways
            .iter()
            .filter(|it| it.name.namespace == secret.namespace)
            .flat_map(|it| &it.listeners);
        let hidden = matches!(&observed.gateways_unseen, Some(Unseen::Forbidden(_) | Unseen::Outdated));
        hidden
            || listeners
                .flat_map(|it| &it.certificates)
                .any(|it| it.name == secret.name)
    };
    let unwanted = |attempts: &&Attempts| {
        let secret = attempts.secret();
        let gone = match wanted.binary_search_by(|certificate| certificate.secret.cmp(&secret)) {
            Ok(at) => !attempts.are_for(&wanted[at].hosts),
            Err(_) => !observed.ingresses.iter().any(|ingress| names(ingress, &secret)) && !listened(&secret),
        };
        attempts.are_over(observed.now) || gone && !observed.namespaces_unseen
    };
    let (gone, kept): (Vec<_>, Vec<_>) = ledger.attempts.iter().partition(unwanted);
    let attempts = gone.into_iter().chain(beyond_the_room(kept));
    let attempts = attempts.map(|attempts| (EntryKind::Attempts, attempts.secret()));
    pending
        .chain(attempts)
        .map(|(kind, secret)| EntryKey::new(kind, secret))
        .collect()
}

/// The refusals that are too many to be remembered: those that would be tried again first.
///
/// A Secret holds 1 MiB (<https://kubernetes.io/docs/concepts/configuration/secret/>). Where it is full, no order can be noted
/// either, so nobody would get a certificate, and one tenant can have thousands refused.
fn beyond_the_room(mut attempts: Vec<&Attempts>) -> Vec<&Attempts> {
    attempts.sort_by_key(|attempts| attempts.next);
    let mut room = ATTEMPTS_BYTES;
    let fits = |attempts: &&Attempts| {
        let size = serde_json::to_string(attempts).map_or(0, |entry| entry.len());
        let left = room.checked_sub(size);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let remembered = attempts.iter().rev().copied().take_while(fits).count();
    attempts.truncate(attempts.len() - remembered);
    attempts
}

/// Of a ledger, in bytes.
const ATTEMPTS_BYTES: usize = 700 << 10;

/// Whether the entry's certificate is stored: its run was killed before it could forget it.
fn is_stored(pending: &Pending, observed: &Observed) -> bool {
    let read = observed.secrets.get(&pending.secret()).and_then(Read::found);
    read.is_some_and(|secret| secret.facts().is_some() && secret.version.key_digest == pending.key.digest())
}

/// What is worth knowing beside the reason.
fn notes(subject: &Subject<'_>, pending: Option<&Pending>) -> ThinVec<String> {
    let mut notes = ThinVec::new();
    if let Some(pending) = pending {
        notes.push(format!(
            "this run continues the order `{}` of an earlier run",
            pending.order
        ));
    }
    for (source, _) in &subject.certificate.bystanders {
        let place = source.place();
        let kind = place.kind.word();
        notes.push(format!(
            "{kind} `{place}` names this Secret too, without the annotation"
        ));
    }
    for gateway in subject
        .certificate
        .contributions
        .iter()
        .filter_map(|it| it.source.gateway())
    {
        let trouble = gateway.trouble.iter();
        notes.extend(trouble.map(|trouble| format!("{} `{}` {trouble}", gateway.name.kind.word(), gateway.name)));
    }
    if let Some(facts) = subject.facts() {
        let now = subject.observed.now;
        if facts.not_before > now {
            notes.push(format!(
                "the certificate is valid from {}, and it is {now} here: check the clocks",
                facts.not_before
            ));
        }
        if let KeyMatch::Unchecked(what) = &facts.key {
            notes.push(format!("the key was not checked: it is {what}"));
        }
        if let Some(Refusal { library, why }) = facts.refusal.as_deref() {
            notes.push(format!(
                "{library}, cannot load this certificate ({why}); other servers can"
            ));
        }
        if let Some(end) = facts.chain_not_after.filter(|end| *end <= now && facts.not_after > now) {
            notes.push(format!("an issuer's certificate in the chain ended at {end}"));
        }
    }
    notes
}

#[cfg(test)]
mod tests;
