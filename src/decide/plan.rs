//! The decision: a chain of small named checks over what was observed (I1).

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::checks::{Asked, Check, DUE, REFUSALS, Subject, notes, renew_at, replaces, valid};
use super::desired::{Certificate, Desired, Rejected, desired};
use super::directory::Directory;
use super::inspection::{CertificateFacts, CertificateId, Inspection};
use super::name::{IngressRef, SecretRef};
use super::observed::{IngressClass, Leftover, Observed, Read, Secret};
use super::route::Route;

/// The opt-in annotation, unless a setting says another.
pub const TLS_ACME: &str = "kubernetes.io/tls-acme";

/// What the operator decided beforehand.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The authority; without one the checks that need it are skipped.
    pub directory: Option<Directory>,
    /// The annotation that opts an Ingress in.
    pub annotation: String,
    /// Renew with less left than this, instead of a share of the lifetime.
    pub minimum_validity: Option<SignedDuration>,
    /// Hosts that may be issued to several namespaces.
    pub shared_hosts: SharedHosts,
    /// Whether Secrets that carry no sign of ours may be overwritten.
    pub adopt: bool,
    /// Whether a host of one label may be ordered: private authorities sign such.
    pub single_label_hosts: bool,
    /// The time until the next run, for the authority's renewal windows.
    pub interval: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            directory: None,
            annotation: TLS_ACME.into(),
            minimum_validity: None,
            shared_hosts: SharedHosts::default(),
            adopt: false,
            single_label_hosts: false,
            interval: SignedDuration::from_hours(24),
        }
    }
}

/// Which hosts may be issued to a namespace that does not own them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SharedHosts {
    /// None: a host belongs to the namespace of its oldest Ingress.
    #[default]
    None,
    /// These.
    Listed(BTreeSet<String>),
    /// All.
    All,
}

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
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a certificate is issued, kept or refused: a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word as it is printed.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// A host is not a name that an authority can sign.
    InvalidHost,
    /// HTTP-01 cannot prove a wildcard.
    WildcardHost,
    /// Over [`super::checks::MOST_HOSTS`].
    TooManyHosts,
    /// An older Ingress of another namespace has the host.
    HostClaimed,
    /// The class's controller cannot serve a challenge beside the user's Ingress.
    UnsupportedController,
    /// The API server would not take the name.
    InvalidSecretName,
    /// A read failed.
    Unknown,
    /// The Secret or its namespace is being deleted.
    Terminating,
    /// Not `kubernetes.io/tls`.
    WrongSecretType,
    /// cert-manager looks after it.
    ManagedElsewhere,
    /// The Secret cannot change.
    ImmutableSecret,
    /// The Secret holds data that is not ours.
    ForeignSecret,
    /// An Ingress without the annotation would lose a host.
    WouldDropHosts,
    /// Staging would replace something better.
    WouldDowngrade,
    /// There is no Secret.
    Missing,
    /// Nothing that a server could serve.
    Unreadable,
    /// The key is another certificate's.
    KeyMismatch,
    /// A host is not among the names.
    HostNotCovered,
    /// From another directory.
    WrongIssuer,
    /// Over.
    Expired,
    /// Soon over.
    Expiring,
    /// The authority suggests it (RFC 9773).
    Suggested,
    /// Nothing is due.
    Valid,
}

/// Decides. The same observation and policy give the same plan, in whatever order the objects came.
pub fn plan(observed: &Observed, policy: &Policy) -> Plan {
    let Desired {
        certificates,
        rejected,
        near_misses,
    } = desired(&observed.ingresses, &policy.annotation);
    let mut plan = Plan {
        at: observed.now,
        issue: Vec::new(),
        keep: Vec::new(),
        refuse: Vec::new(),
        rejected,
        sweep: Vec::new(),
        awaited: None,
        classes: classes(observed).to_vec(),
        notes: observed.notes.clone(),
    };
    for certificate in certificates {
        match decide(observed, policy, certificate) {
            (Verdict::Issue, decision) => plan.issue.push(decision),
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
            .map(|(ingress, value)| near_miss_note(ingress, value, policy)),
    );
    plan.notes.extend(ledger_notes(observed));
    if policy.directory.is_none() {
        plan.notes
            .push("without a directory, what depends on the authority was not checked".into());
    }
    plan
}

/// The IngressClasses, as far as they are known.
pub(super) fn classes(observed: &Observed) -> &[IngressClass] {
    match &observed.classes {
        Read::Found(classes) => classes,
        Read::Absent | Read::Unknown(_) => &[],
    }
}

fn near_miss_note(ingress: &IngressRef, value: &str, policy: &Policy) -> String {
    format!(
        "ingress `{ingress}` is left alone: its annotation `{}` is `{value}`; only `true` opts in",
        policy.annotation
    )
}

fn ledger_notes(observed: &Observed) -> impl Iterator<Item = String> + '_ {
    observed
        .ledger
        .unreadable
        .iter()
        .map(|(key, why)| format!("the ledger's data key `{key}` is left alone: {why}"))
}

impl Plan {
    /// Whether applying it would change nothing (I4).
    pub fn is_idle(&self) -> bool {
        self.issue.is_empty() && self.sweep.is_empty() && self.awaited.is_none()
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
        let mut all: Vec<_> = self
            .issue
            .iter()
            .map(|decision| (Verdict::Issue, decision))
            .chain(self.keep.iter().map(|decision| (Verdict::Keep, decision)))
            .chain(self.refuse.iter().map(|decision| (Verdict::Refuse, decision)))
            .collect();
        all.sort_by(|(_, a), (_, b)| a.certificate.secret.cmp(&b.certificate.secret));
        all
    }
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

impl Decision {
    /// What must be answered for, so that the authority can validate each host.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.certificate.contributions.iter().flat_map(|contribution| {
            contribution.hosts.iter().map(|host| Route {
                class: contribution.class.clone(),
                host: host.clone(),
                secret: self.certificate.secret.clone(),
            })
        })
    }

    /// What is known of the certificate that is there.
    pub fn facts(&self) -> Option<&CertificateFacts> {
        match &self.secret.as_ref()?.inspection {
            Inspection::Certificate(facts) => Some(facts),
            Inspection::Empty | Inspection::Unreadable(_) => None,
        }
    }
}

fn decide(observed: &Observed, policy: &Policy, certificate: Certificate) -> (Verdict, Decision) {
    let absent = Read::Absent;
    let secret = observed.secrets.get(&certificate.secret).unwrap_or(&absent);
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
            .filter(|(asked, _)| *asked == Asked::Always || due.is_some())
            .map(|(_, check)| check),
        &subject,
    );
    let (verdict, (reason, message)) = match (refusal, due) {
        (Some(refusal), _) => (Verdict::Refuse, refusal),
        (None, Some(due)) => (Verdict::Issue, due),
        (None, None) => (Verdict::Keep, (Reason::Valid, valid(&subject))),
    };
    let decision = Decision {
        reason,
        message,
        secret: subject.found().cloned(),
        renew_at: renew_at(&subject),
        replaces: replaces(&subject),
        notes: notes(&subject),
        certificate,
    };
    (verdict, decision)
}

fn first_match<'a>(checks: impl Iterator<Item = &'a Check>, subject: &Subject<'_>) -> Option<(Reason, String)> {
    checks
        .into_iter()
        .find_map(|(reason, check)| check(subject).map(|message| (*reason, message)))
}

/// A duration as an operator reads it: `29d`, `7h`, `12m`.
pub fn days(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    let seconds = duration.unsigned_abs().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match (days, hours) {
        (0, 0) => format!("{sign}{minutes}m"),
        (0, hours) => format!("{sign}{hours}h"),
        (1, hours) => format!("{sign}{hours}h"),
        (days, _) => format!("{sign}{days}d"),
    }
}

/// The Secrets that a set of Ingresses asks for: what an observation must read.
pub fn secrets_wanted(observed: &Observed, annotation: &str) -> Vec<SecretRef> {
    desired(&observed.ingresses, annotation)
        .certificates
        .into_iter()
        .map(|certificate| certificate.secret)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, certificate, ingress, now, observed, secret};
    use super::super::name::IngressRef;
    use super::super::observed::{Ingress, LeftoverKind};
    use super::*;

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
            ("a staging issuer", ours(&staging), "Issue WrongIssuer"),
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
    fn only_true_opts_in_and_a_near_miss_is_named() {
        let observed = observed(vec![web().annotated(super::TLS_ACME, "yes")], Read::Absent);
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
}
