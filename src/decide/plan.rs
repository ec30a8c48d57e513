//! The decision: what is to be done about each wanted certificate, and about what dead runs left (I1).

use std::cell::LazyCell;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::checks::{Answer, Asked, Check, DUE, REFUSALS, Reason, Subject, classes};
use super::desired::{Certificate, Desired, Rejected, desired};
use super::inspection::{CertificateFacts, CertificateId, KeyMatch, Refusal};
use super::kube_lego;
use super::ledger::{Ledger, Pending};
use super::name::{DnsName, IngressRef, SecretRef};
use super::observed::{IngressClass, Leftover, Observed, Read, Secret, Unread};
use super::policy::Policy;
use super::route::{Route, RuleHost, Serving};
use super::selection::Selection;
use super::validity::{renew_at, short};

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
    /// Certificates whose entries in the ledger are of no use any more; there are keys in them.
    pub forget: Vec<SecretRef>,
    /// Why the ledger is not known: a new order's entry might overwrite the key of an earlier one.
    pub ledger_unread: Option<Unread>,
    /// Selected names that nothing answers to.
    pub unmatched: Vec<String>,
    /// What the observation could not know, and what looks like a mistake.
    pub notes: Vec<String>,
}

/// The decision on one certificate.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The certificate.
    pub certificate: Certificate,
    /// The first check that matched.
    pub reason: Reason,
    /// Its sentence.
    pub message: String,
    /// The Secret as it was inspected: a store is conditional on it.
    pub secret: Option<Secret>,
    /// When it falls due, where that is known.
    pub renew_at: Option<Timestamp>,
    /// The certificate that a new one replaces (RFC 9773 section 5).
    pub replaces: Option<CertificateId>,
    /// The order of a run that could not store its certificate: it is taken up before another is made (I7).
    pub pending: Option<Pending>,
    /// What must be answered for, so that the CA can validate each host; nothing unless it is obtained.
    pub routes: Vec<Route>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
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
    } = desired(&observed.ingresses, &policy.annotation);
    rejected.extend(observed.retired.iter().map(Rejected::from));
    let unmatched = policy
        .selection
        .unmatched(&certificates, &rejected)
        .into_iter()
        .map(ToString::to_string)
        .collect();
    let classes = classes(observed);
    certificates.retain(|certificate| policy.selection.selects(certificate, classes));
    rejected.retain(|rejected| policy.selection.selects_rejected(rejected, classes));
    rejected.sort();
    let ledger = observed.ledger.found();
    let mut plan = Plan {
        at: observed.now,
        issue: Vec::new(),
        keep: Vec::new(),
        refuse: Vec::new(),
        rejected,
        sweep: Vec::new(),
        awaited: None,
        classes: classes.to_vec(),
        forget: ledger.map(|ledger| forgettable(ledger, observed)).unwrap_or_default(),
        ledger_unread: match &observed.ledger {
            Read::Unknown(unread) => Some(unread.clone()),
            Read::Found(_) | Read::Absent => None,
        },
        unmatched,
        notes: observed.notes.clone(),
    };
    // Most runs have nothing due.
    let serving = LazyCell::new(|| Serving::of(&observed.ingresses, classes));
    for certificate in certificates {
        match decide(observed, policy, certificate) {
            (Verdict::Issue, mut decision) => {
                add_routes(&mut decision, &serving, observed.namespaces_unseen);
                plan.issue.push(decision);
            }
            (Verdict::Keep, decision) => plan.keep.push(decision),
            (Verdict::Refuse, decision) => plan.refuse.push(decision),
        }
    }
    let holder = observed.lease_holder.as_deref();
    let (held, dead): (Vec<_>, Vec<_>) = observed
        .leftovers
        .iter()
        .cloned()
        .partition(|leftover| leftover.is_of(holder));
    plan.sweep = dead;
    plan.sweep.sort();
    plan.awaited = held.first().map(|leftover| leftover.run.clone());
    plan.notes.extend(
        near_misses
            .iter()
            .filter(|(ingress, _)| policy.selection.selects_namespace(&ingress.namespace))
            .map(|(ingress, value)| near_miss_note(ingress, value, policy)),
    );
    plan.notes
        .extend(kube_lego::notes(&observed.ingresses, &policy.selection));
    plan.notes.extend(ledger.into_iter().flat_map(ledger_notes));
    if policy.selection != Selection::default() && plan.decisions().is_empty() && plan.rejected.is_empty() {
        plan.notes.push(
            "nothing is selected: no annotated Ingress answers to the namespaces, labels and classes that were named"
                .into(),
        );
    }
    if policy.directory.is_none() {
        plan.notes
            .push("without a directory, what depends on the authority was not checked".into());
    }
    plan
}

fn near_miss_note(ingress: &IngressRef, value: &str, policy: &Policy) -> String {
    // Anybody's text of any length: no line breaks, no terminal escapes, and no more of it than a person needs.
    let value: String = value.chars().take(40).flat_map(char::escape_debug).collect();
    format!(
        "ingress `{ingress}` is left alone: its annotation `{}` is `{value}`; only `true` opts in",
        policy.annotation
    )
}

fn ledger_notes(ledger: &Ledger) -> impl Iterator<Item = String> + '_ {
    ledger
        .unreadable
        .iter()
        .map(|(key, why)| format!("the ledger's data key `{key}` is left alone: {why}"))
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

impl Decision {
    /// What is known of the certificate that is there.
    pub fn facts(&self) -> Option<&CertificateFacts> {
        self.secret.as_ref()?.facts()
    }
}

/// Where no Ingress in sight serves a host, the exact host is right, unless one that is out of sight does.
fn add_routes(decision: &mut Decision, serving: &Serving<'_>, namespaces_unseen: bool) {
    let mut unserved: BTreeSet<&DnsName> = BTreeSet::new();
    for contribution in &decision.certificate.contributions {
        for host in &contribution.hosts {
            let rule = serving.rule(&contribution.class, host).unwrap_or_else(|| {
                unserved.insert(host);
                RuleHost::Named(host.clone())
            });
            decision.routes.push(Route {
                class: contribution.class.clone(),
                host: host.clone(),
                rule,
                secret: decision.certificate.secret.clone(),
            });
        }
    }
    if namespaces_unseen && !unserved.is_empty() {
        let hosts: Vec<_> = unserved.iter().map(|host| format!("`{host}`")).collect();
        decision.notes.push(format!(
            "if an Ingress of another namespace serves {} by a wildcard rule or a default backend, the site answers 404 as long as the challenge lasts",
            hosts.join(", ")
        ));
    }
}

fn decide(observed: &Observed, policy: &Policy, certificate: Certificate) -> (Verdict, Decision) {
    let secret = observed.secrets.get(&certificate.secret).unwrap_or(&Read::Absent);
    let subject = Subject {
        observed,
        policy,
        certificate: &certificate,
        secret,
    };
    let due = first_match(DUE.iter(), &subject);
    let refusal = first_match(
        REFUSALS
            .iter()
            .filter(|check| check.asked == Asked::Always || due.is_some()),
        &subject,
    );
    let (verdict, (reason, message)) = match (refusal, due) {
        (Some(refusal), _) => (Verdict::Refuse, refusal),
        (None, Some(due)) => (Verdict::Issue, due),
        (None, None) => (Verdict::Keep, (Reason::Valid, valid(&subject))),
    };
    let pending = pending(&subject).filter(|_| verdict == Verdict::Issue && reason != Reason::Forced);
    let decision = Decision {
        reason,
        message,
        secret: subject.found().cloned(),
        renew_at: subject
            .facts()
            .and_then(|facts| renew_at(facts, subject.window(), policy)),
        replaces: replaces(&subject),
        notes: notes(&subject, pending),
        pending: pending.cloned(),
        routes: Vec::new(),
        certificate,
    };
    (verdict, decision)
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
    let subject = Subject {
        observed,
        policy,
        certificate,
        secret,
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

/// The certificates whose entries in the ledger are of no use any more.
fn forgettable(ledger: &Ledger, observed: &Observed) -> Vec<SecretRef> {
    let useless = |pending: &&Pending| pending.is_over(observed.now) || is_stored(pending, observed);
    ledger.pending.iter().filter(useless).map(Pending::secret).collect()
}

/// Whether the entry's certificate is stored: its run was killed before it could forget it.
fn is_stored(pending: &Pending, observed: &Observed) -> bool {
    let read = observed.secrets.get(&pending.secret()).and_then(Read::found);
    read.is_some_and(|secret| secret.facts().is_some() && secret.version.key_digest == pending.key.digest())
}

fn valid(subject: &Subject<'_>) -> String {
    subject.facts().map_or_else(
        || "nothing is due".into(),
        |facts| {
            let left = facts.not_after.duration_since(subject.observed.now);
            format!("valid until {}, {} left", facts.not_after, short(left))
        },
    )
}

/// What is worth knowing beside the reason.
fn notes(subject: &Subject<'_>, pending: Option<&Pending>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(pending) = pending {
        notes.push(format!("the order `{}` of an earlier run is taken up", pending.order));
    }
    for (ingress, _) in &subject.certificate.bystanders {
        notes.push(format!(
            "ingress `{ingress}` names this Secret too, without the annotation"
        ));
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
        if let Some(Refusal { library, why }) = &facts.refusal {
            notes.push(format!("{library}, cannot load it, though others can: {why}"));
        }
        if let Some(end) = facts.chain_not_after.filter(|end| *end <= now && facts.not_after > now) {
            notes.push(format!("an issuer's certificate in the chain ended at {end}"));
        }
    }
    notes
}

/// The Secrets that Ingresses and the ledger ask for: what an observation must read.
pub fn secrets_wanted(observed: &Observed, policy: &Policy) -> Vec<SecretRef> {
    let wanted = desired(&observed.ingresses, &policy.annotation).certificates;
    let wanted = wanted
        .into_iter()
        .filter(|certificate| policy.selection.selects(certificate, classes(observed)))
        .map(|certificate| certificate.secret);
    // Of an entry in the ledger it must be known whether its certificate is stored, whoever wants it today.
    let pending = observed.ledger.found().into_iter().flat_map(|ledger| &ledger.pending);
    wanted.chain(pending.map(Pending::secret)).collect()
}

/// The certificates whose authority may have a suggestion (RFC 9773): ours, of this directory.
pub fn renewal_information_wanted(observed: &Observed, policy: &Policy) -> Vec<(SecretRef, CertificateId)> {
    let Some(directory) = &policy.directory else {
        return Vec::new();
    };
    let id = |read: &Read<Secret>| {
        let Read::Found(secret) = read else { return None };
        let facts = secret.facts()?;
        let ours = secret
            .marker()
            .is_some_and(|marker| marker.directory == directory.url());
        facts.id.clone().filter(|_| ours && facts.not_after > observed.now)
    };
    observed
        .secrets
        .iter()
        .filter_map(|(secret, read)| Some((secret.clone(), id(read)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, certificate, ingress, now, observed, secret};
    use super::super::ledger::PrivateKeyPem;
    use super::super::name::IngressRef;
    use super::super::observed::{Ingress, LeftoverKind, RenewalWindow};
    use super::super::policy::TLS_ACME;
    use super::*;
    use jiff::SignedDuration;

    const DIRECTORY: &str = "https://ca.example/dir";

    fn policy() -> Policy {
        Policy {
            directory: Some(DIRECTORY.parse().expect("a directory")),
            ..Policy::default()
        }
    }

    /// The one decision of a plan, as `action Reason`.
    fn verdict(observed: &Observed, policy: &Policy) -> String {
        let plan = plan(observed, policy);
        let decisions = plan.decisions();
        let [(verdict, decision)] = decisions.as_slice() else {
            panic!("{plan:?}")
        };
        assert!(!decision.message.is_empty());
        format!("{verdict:?} {}", decision.reason.word())
    }

    fn web() -> Ingress {
        ingress("web", "a").tls("a-tls", &["a.example", "b.example"])
    }

    /// A 90 days' certificate for both hosts with so many days left.
    fn with_days_left(days: i64) -> (String, String) {
        let until = now() + fixtures::days(days);
        certificate(
            &["a.example", "b.example"],
            "Test CA",
            until - fixtures::days(90),
            until,
        )
    }

    #[test]
    fn a_certificate_is_due_for_the_first_reason_that_holds() {
        let good = with_days_left(60);
        let other_key = with_days_left(60).1;
        let narrow = certificate(&["a.example"], "Test CA", now(), now() + fixtures::days(90));
        let wildcard = certificate(&["*.example"], "Test CA", now(), now() + fixtures::days(90));
        let staging = certificate(
            &["a.example", "b.example"],
            "(STAGING) Wannabe",
            now(),
            now() + fixtures::days(90),
        );
        let ours = |pair: &(String, String)| Read::Found(secret(pair, Some(DIRECTORY)));
        for (name, read, expected) in [
            ("no Secret", Read::Absent, "Issue Missing"),
            (
                "a read that failed",
                Read::Unknown("timed out".into()),
                "Refuse Unknown",
            ),
            (
                "nothing in it",
                ours(&(String::new(), String::new())),
                "Issue Unreadable",
            ),
            (
                "words in it",
                ours(&("hello".into(), "world".into())),
                "Issue Unreadable",
            ),
            ("another key", ours(&(good.0.clone(), other_key)), "Issue KeyMismatch"),
            ("a host is not covered", ours(&narrow), "Issue HostNotCovered"),
            ("a wildcard covers", ours(&wildcard), "Keep Valid"),
            (
                "another directory",
                Read::Found(secret(&good, Some("https://other.example/dir"))),
                "Issue WrongIssuer",
            ),
            ("whatever its own authority is called", ours(&staging), "Keep Valid"),
            (
                "a staging issuer, and nothing says whose",
                Read::Found(secret(&staging, None)),
                "Refuse ForeignSecret",
            ),
            ("over", ours(&with_days_left(-1)), "Issue Expired"),
            ("less than a third left", ours(&with_days_left(29)), "Issue Expiring"),
            ("exactly a third left", ours(&with_days_left(30)), "Keep Valid"),
            ("good", ours(&good), "Keep Valid"),
            ("good and not ours", Read::Found(secret(&good, None)), "Keep Valid"),
            (
                "over and not ours",
                Read::Found(secret(&with_days_left(-1), None)),
                "Refuse ForeignSecret",
            ),
        ] {
            assert_eq!(verdict(&observed(vec![web()], read), &policy()), expected, "{name}");
        }
    }

    #[test]
    fn a_minimum_validity_is_capped_at_two_thirds_of_the_lifetime() {
        for (days_left, minimum_days, expected) in [
            (61, 3650, "Keep Valid"),
            (59, 3650, "Issue Expiring"),
            (44, 45, "Issue Expiring"),
            (29, 10, "Keep Valid"),
        ] {
            let minimum_validity = Some(fixtures::days(minimum_days));
            let policy = Policy {
                minimum_validity,
                ..policy()
            };
            let read = Read::Found(secret(&with_days_left(days_left), Some(DIRECTORY)));
            assert_eq!(
                verdict(&observed(vec![web()], read), &policy),
                expected,
                "{days_left} left, {minimum_days} asked"
            );
        }
    }

    #[test]
    fn a_short_lived_certificate_is_renewed_at_half_its_life() {
        for (hours_left, expected) in [(73, "Keep Valid"), (71, "Issue Expiring")] {
            let until = now() + SignedDuration::from_hours(hours_left);
            let pair = certificate(&["a.example", "b.example"], "Test CA", until - fixtures::days(6), until);
            let read = Read::Found(secret(&pair, Some(DIRECTORY)));
            assert_eq!(
                verdict(&observed(vec![web()], read), &policy()),
                expected,
                "{hours_left} h"
            );
        }
    }

    /// An observation of a certificate with so many days of 90 left, and a window so many hours from now.
    fn with_window(days_left: i64, from: i64, until: i64) -> Observed {
        let read = Read::Found(secret(&with_days_left(days_left), Some(DIRECTORY)));
        let mut observed = observed(vec![web()], read);
        let window = RenewalWindow {
            start: now() + SignedDuration::from_hours(from),
            end: now() + SignedDuration::from_hours(until),
        };
        observed.renewal_windows.insert(SecretRef::new("web", "a-tls"), window);
        observed
    }

    #[test]
    fn a_suggestion_is_due_when_it_falls_before_the_next_run() {
        let suggested = "Issue Suggested";
        for (name, days_left, (from, until), interval, expected) in [
            ("in the past", 50, (-100, -50), 24, suggested),
            ("in the past, and shorter than a second", 50, (-50, -50), 24, suggested),
            ("closes before the next run", 50, (1, 23), 24, suggested),
            ("closes as the next run begins", 50, (24, 24), 24, suggested),
            ("opens after the next run", 50, (25, 50), 24, "Keep Valid"),
            ("opens after a run that comes sooner", 50, (2, 23), 1, "Keep Valid"),
            ("closes before a run that comes later", 50, (25, 50), 72, suggested),
            ("young, and not open yet", 80, (1, 23), 24, "Keep Valid"),
            ("young, and open", 80, (-2, -1), 24, suggested),
            ("as old as a third of its life", 60, (1, 23), 24, suggested),
            ("expiring in any case", 20, (100, 200), 24, "Issue Expiring"),
            ("over in any case", -1, (-100, -50), 24, "Issue Expired"),
        ] {
            let policy = Policy {
                interval: SignedDuration::from_hours(interval),
                ..policy()
            };
            assert_eq!(
                verdict(&with_window(days_left, from, until), &policy),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn within_a_window_the_certificates_own_moment_decides_the_same_on_each_run() {
        let (mut due, mut kept) = (0, 0);
        for _ in 0..24 {
            // The next run falls into the middle of it.
            let mut observed = with_window(50, -24, 72);
            let first = verdict(&observed, &policy());
            assert_eq!(verdict(&observed, &policy()), first);
            let renew_at = plan(&observed, &policy()).decisions()[0].1.renew_at.expect("a time");
            assert_eq!(
                first == "Issue Suggested",
                renew_at <= now() + policy().interval,
                "{first}"
            );
            // Once it has come it stays.
            observed.now = renew_at;
            assert_eq!(verdict(&observed, &policy()), "Issue Suggested");
            if first == "Issue Suggested" {
                due += 1
            } else {
                kept += 1
            }
        }
        assert!(
            due > 0 && kept > 0,
            "{due} due, {kept} kept: no moment differs from another"
        );
    }

    #[test]
    fn a_refusal_names_the_first_obstacle() {
        let over = with_days_left(-1);
        let changed = |change: fn(&mut Secret)| {
            let mut secret = secret(&over, Some(DIRECTORY));
            change(&mut secret);
            Read::Found(secret)
        };
        let one = |ingress: Ingress| vec![ingress];
        for (name, ingresses, read, expected) in [
            (
                "upper case",
                one(ingress("web", "a").tls("a-tls", &["A.example"])),
                Read::Absent,
                "Refuse InvalidHost",
            ),
            (
                "an address",
                one(ingress("web", "a").tls("a-tls", &["10.0.0.1"])),
                Read::Absent,
                "Refuse InvalidHost",
            ),
            (
                "one label",
                one(ingress("web", "a").tls("a-tls", &["intranet"])),
                Read::Absent,
                "Refuse InvalidHost",
            ),
            (
                "a wildcard",
                one(ingress("web", "a").tls("a-tls", &["*.a.example"])),
                Read::Absent,
                "Refuse WildcardHost",
            ),
            (
                "an older Ingress elsewhere",
                vec![
                    web(),
                    ingress("shop", "old").without_annotation().rule("a.example").created(9),
                ],
                Read::Absent,
                "Refuse HostClaimed",
            ),
            (
                "cert-manager by annotation",
                one(web().annotated("cert-manager.io/cluster-issuer", "le")),
                Read::Absent,
                "Refuse ManagedElsewhere",
            ),
            (
                "being deleted",
                one(web()),
                changed(|secret| secret.deleting = true),
                "Refuse Terminating",
            ),
            (
                "a wrong type",
                one(web()),
                changed(|secret| secret.version.type_ = "Opaque".into()),
                "Refuse WrongSecretType",
            ),
            (
                "immutable",
                one(web()),
                changed(|secret| secret.immutable = true),
                "Refuse ImmutableSecret",
            ),
            (
                "a host of another Ingress would go",
                vec![
                    ingress("web", "a").tls("a-tls", &["a.example"]),
                    ingress("web", "b").without_annotation().tls("a-tls", &["b.example"]),
                ],
                changed(|_| {}),
                "Refuse WouldDropHosts",
            ),
        ] {
            assert_eq!(verdict(&observed(ingresses, read), &policy()), expected, "{name}");
        }
    }

    #[test]
    fn refusals_about_a_store_are_not_asked_while_nothing_is_due() {
        let mut good = secret(&with_days_left(60), None);
        good.immutable = true;
        assert_eq!(
            verdict(&observed(vec![web()], Read::Found(good)), &policy()),
            "Keep Valid"
        );
    }

    #[test]
    fn a_claim_on_a_host_ends_with_its_ingress_and_does_not_reach_into_a_wildcard() {
        let deleting = Ingress {
            deleting: true,
            ..ingress("shop", "old").rule("a.example").created(9)
        };
        let wildcard = ingress("shop", "old").rule("*.example").created(9).without_annotation();
        let younger = ingress("shop", "new").rule("a.example").created(0).without_annotation();
        for other in [deleting, wildcard, younger] {
            assert_eq!(
                verdict(&observed(vec![web(), other], Read::Absent), &policy()),
                "Issue Missing"
            );
        }
    }

    #[test]
    fn what_a_dead_run_left_is_swept_and_what_the_holder_has_is_waited_for() {
        let leftover = |run: &str| Leftover {
            kind: LeftoverKind::Ingress,
            namespace: "kube-lego".into(),
            name: "kube-lego-once-contour".into(),
            uid: "1".into(),
            run: run.into(),
        };
        let mut observed = Observed::at(now());
        assert!(plan(&observed, &policy()).is_idle());
        observed.leftovers = vec![leftover("dead"), leftover("alive")];
        observed.lease_holder = Some("alive".into());
        let plan = plan(&observed, &policy());
        assert_eq!(plan.sweep, [leftover("dead")]);
        assert_eq!(plan.awaited.as_deref(), Some("alive"));
        assert!(!plan.is_idle());
    }

    #[test]
    fn a_key_that_nobody_needs_any_more_is_something_to_do() {
        let entry = |hours| {
            let at = now() - SignedDuration::from_hours(hours);
            serde_json::json!({
                "namespace": "web", "secret": "gone-tls", "directory": DIRECTORY, "account": "a", "order": "o",
                "hosts": ["a.example"], "key": "k", "at": at.to_string(),
            })
            .to_string()
        };
        for (hours, forgotten) in [(47, vec![]), (48, vec![SecretRef::new("web", "gone-tls")])] {
            let mut observed = Observed::at(now());
            let ledger = Ledger::from_data([("pending.web.gone-tls", entry(hours).as_bytes())]);
            observed.ledger = Read::Found(ledger);
            let plan = plan(&observed, &policy());
            assert_eq!(plan.is_idle(), forgotten.is_empty());
            assert_eq!(plan.forget, forgotten);
        }
    }

    #[test]
    fn a_selection_of_nothing_is_said() {
        let said = |namespace: &str| {
            let mut policy = policy();
            policy.selection.namespaces.insert(namespace.to_owned());
            let plan = plan(&observed(vec![web()], Read::Absent), &policy);
            plan.notes.iter().any(|note| note.starts_with("nothing is selected"))
        };
        assert_eq!((said("web"), said("wbe")), (false, true));
    }

    #[test]
    fn only_true_opts_in_and_a_near_miss_is_named() {
        let observed = observed(vec![web().annotated(TLS_ACME, "yes")], Read::Absent);
        let plan = plan(&observed, &policy());
        assert!(plan.decisions().is_empty());
        assert!(
            plan.notes
                .iter()
                .any(|note| note.contains("web/a") && note.contains("`yes`")),
            "{:?}",
            plan.notes
        );
    }

    #[test]
    fn a_host_is_united_over_ingresses_and_contributions_are_kept_apart() {
        let ingresses = vec![
            ingress("web", "b").tls("a-tls", &["b.example", "a.example"]),
            ingress("web", "a").tls("a-tls", &["a.example"]),
        ];
        let plan = plan(&observed(ingresses, Read::Absent), &policy());
        let certificate = &plan.issue[0].certificate;
        let hosts: Vec<_> = certificate.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        let names: Vec<_> = certificate
            .contributions
            .iter()
            .map(|contribution| &contribution.ingress)
            .collect();
        assert_eq!(names, [&IngressRef::new("web", "a"), &IngressRef::new("web", "b")]);
    }

    #[test]
    fn who_serves_a_host_out_of_sight_is_a_note_only_where_nobody_in_sight_does() {
        let wanted = || ingress("web", "a").tls("a-tls", &["a.x.example", "b.example"]);
        let wildcard = || ingress("web", "w").rule("*.x.example").without_annotation();
        for (what, ingresses, unseen, expected) in [
            ("all are in sight", vec![wanted()], false, None),
            (
                "nobody in sight serves them",
                vec![wanted()],
                true,
                Some("`a.x.example`, `b.example`"),
            ),
            (
                "one is served in sight",
                vec![wanted(), wildcard()],
                true,
                Some("`b.example`"),
            ),
            ("both are", vec![wanted().rule("b.example"), wildcard()], true, None),
        ] {
            let mut observed = observed(ingresses, Read::Absent);
            observed.namespaces_unseen = unseen;
            let plan = plan(&observed, &policy());
            let [decision] = plan.issue.as_slice() else {
                panic!("{plan:?}")
            };
            let notes = decision.notes.join("\n");
            let note =
                expected.map(|hosts| format!("if an Ingress of another namespace serves {hosts} by a wildcard rule"));
            assert_eq!(
                note.as_deref().is_some_and(|note| notes.contains(note)),
                unseen && expected.is_some(),
                "{what}: {notes}"
            );
            assert_eq!(
                notes.contains("of another namespace"),
                expected.is_some(),
                "{what}: {notes}"
            );
        }
    }

    #[test]
    fn an_entry_of_the_ledger_goes_once_its_certificate_is_stored() {
        let (stored, other) = (with_days_left(60), with_days_left(60));
        let entry = |key: &str, hours_ago: i64| Pending {
            namespace: "web".into(),
            secret: "a-tls".into(),
            directory: DIRECTORY.into(),
            account: "https://ca.example/acct/1".into(),
            order: "https://ca.example/order/1".into(),
            hosts: vec!["a.example".into(), "b.example".into()],
            profile: None,
            key: PrivateKeyPem(key.to_owned()),
            certificate: None,
            at: now() - SignedDuration::from_hours(hours_ago),
        };
        let found = |pair: &(String, String)| Read::Found(secret(pair, Some(DIRECTORY)));
        let broken = (String::new(), stored.1.clone());
        for (what, read, hours_ago, wanted, expected) in [
            ("its certificate is stored", found(&stored), 1, true, true),
            (
                "stored, and no Ingress wants it any more",
                found(&stored),
                1,
                false,
                true,
            ),
            ("the Secret has another", found(&other), 1, true, false),
            (
                "the Secret has its key and no certificate",
                found(&broken),
                1,
                true,
                false,
            ),
            ("no Secret", Read::Absent, 1, true, false),
            ("a read that failed", Read::Unknown("timed out".into()), 1, true, false),
            ("too old", Read::Absent, 48, true, true),
        ] {
            let mut observed = observed(if wanted { vec![web()] } else { vec![] }, read);
            let pending = vec![entry(&stored.1, hours_ago)];
            observed.ledger = Read::Found(Ledger {
                pending,
                ..Ledger::default()
            });
            assert!(
                secrets_wanted(&observed, &policy()).contains(&SecretRef::new("web", "a-tls")),
                "{what}"
            );
            let plan = plan(&observed, &policy());
            assert_eq!(plan.forget.len(), usize::from(expected), "{what}");
            assert_eq!(plan.is_idle(), plan.issue.is_empty() && !expected, "{what}");
            let taken_up = plan.issue.iter().any(|decision| decision.pending.is_some());
            assert!(!(taken_up && expected), "{what}: what is forgotten is not taken up");
        }
    }
}
