//! The checks: why a certificate is due, and why it is refused. Each is one function and one row of its table.

use jiff::{SignedDuration, Timestamp};

use super::desired::Certificate;
use super::directory::Trust;
use super::inspection::{CertificateFacts, CertificateId, Inspection, KeyMatch, Marker};
use super::name::{DnsName, DnsNameProblem};
use super::observed::{Observed, Read, RenewalWindow, Secret};
use super::plan::{Policy, Reason, SharedHosts, TLS_ACME, classes, days};
use super::route::controller;

/// The most names that a certificate can have with the authorities that sign many (Let's Encrypt's classic profile).
pub const MOST_HOSTS: usize = 100;
/// By this annotation cert-manager knows a Secret that it writes; `--adopt` removes it at the store.
pub const CERT_MANAGER: &str = "cert-manager.io/certificate-name";
/// Endings that no public authority can sign: reserved or local (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`).
const LOCAL_ENDINGS: &[&str] = &[
    "local",
    "internal",
    "localhost",
    "lan",
    "home.arpa",
    "svc.cluster.local",
];

/// What the checks look at.
pub(super) struct Subject<'a> {
    pub(super) observed: &'a Observed,
    pub(super) policy: &'a Policy,
    pub(super) certificate: &'a Certificate,
    pub(super) secret: &'a Read<Secret>,
}

impl<'a> Subject<'a> {
    pub(super) fn found(&self) -> Option<&'a Secret> {
        match self.secret {
            Read::Found(secret) => Some(secret),
            Read::Absent | Read::Unknown(_) => None,
        }
    }

    fn facts(&self) -> Option<&'a CertificateFacts> {
        match &self.found()?.inspection {
            Inspection::Certificate(facts) => Some(facts),
            Inspection::Empty | Inspection::Unreadable(_) => None,
        }
    }

    fn marker(&self) -> Option<Marker> {
        serde_json::from_str(self.found()?.version.marker.as_deref()?).ok()
    }

    fn window(&self) -> Option<&'a RenewalWindow> {
        self.observed.renewal_windows.get(&self.certificate.secret)
    }
}

/// A check: the reason that it gives, and the sentence when it matches.
pub(super) type Check = (Reason, fn(&Subject<'_>) -> Option<String>);

/// When a certificate is due: the first match wins.
pub(super) const DUE: &[Check] = &[
    (Reason::Missing, missing),
    (Reason::Unreadable, unreadable),
    (Reason::KeyMismatch, key_mismatch),
    (Reason::HostNotCovered, host_not_covered),
    (Reason::WrongIssuer, wrong_issuer),
    (Reason::Expired, expired),
    (Reason::Expiring, expiring),
    (Reason::Suggested, suggested),
];

/// Whether a refusal holds for a certificate that nothing is due for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Always,
    WhenDue,
}

/// When a certificate is refused: the first match wins; hosts, then claims, then the Secret.
pub(super) const REFUSALS: &[(Asked, Check)] = &[
    (Asked::Always, (Reason::InvalidHost, invalid_host)),
    (Asked::WhenDue, (Reason::WildcardHost, wildcard_host)),
    (Asked::Always, (Reason::TooManyHosts, too_many_hosts)),
    (Asked::Always, (Reason::HostClaimed, host_claimed)),
    (Asked::WhenDue, (Reason::UnsupportedController, unsupported_controller)),
    (Asked::Always, (Reason::InvalidSecretName, invalid_secret_name)),
    (Asked::Always, (Reason::Unknown, unknown)),
    (Asked::Always, (Reason::Terminating, terminating)),
    (Asked::Always, (Reason::WrongSecretType, wrong_secret_type)),
    (Asked::Always, (Reason::ManagedElsewhere, managed_elsewhere)),
    (Asked::WhenDue, (Reason::ImmutableSecret, immutable_secret)),
    (Asked::WhenDue, (Reason::ForeignSecret, foreign_secret)),
    (Asked::WhenDue, (Reason::WouldDropHosts, would_drop_hosts)),
    (Asked::WhenDue, (Reason::WouldDowngrade, would_downgrade)),
];

// When a certificate is due.

fn missing(subject: &Subject<'_>) -> Option<String> {
    matches!(subject.secret, Read::Absent).then(|| "there is no such Secret yet".into())
}

fn unreadable(subject: &Subject<'_>) -> Option<String> {
    match &subject.found()?.inspection {
        Inspection::Empty => Some("both `tls.crt` and `tls.key` are empty".into()),
        Inspection::Unreadable(why) => Some(why.clone()),
        Inspection::Certificate(_) => None,
    }
}

fn key_mismatch(subject: &Subject<'_>) -> Option<String> {
    (subject.facts()?.key == KeyMatch::Differs)
        .then(|| "`tls.key` is not the key of the certificate in `tls.crt`".into())
}

fn host_not_covered(subject: &Subject<'_>) -> Option<String> {
    let names = &subject.facts()?.names;
    let lacking: Vec<_> = subject
        .certificate
        .hosts
        .iter()
        .filter(|host| !names.iter().any(|name| host.is_covered_by(name)))
        .map(|host| format!("`{host}`"))
        .collect();
    (!lacking.is_empty()).then(|| format!("the certificate does not cover {}", lacking.join(", ")))
}

fn wrong_issuer(subject: &Subject<'_>) -> Option<String> {
    let directory = subject.policy.directory.as_ref()?;
    let facts = subject.facts()?;
    if let Some(marker) = subject.marker().filter(|marker| marker.directory != directory.url()) {
        return Some(format!(
            "the certificate is from `{}`, not from `{directory}`",
            marker.directory
        ));
    }
    (is_staging(facts) && directory.trust() != Trust::Staging)
        .then(|| format!("the certificate is from a staging authority: `{}`", facts.issuer))
}

/// Let's Encrypt writes it into its staging issuers' organization and names.
fn is_staging(facts: &CertificateFacts) -> bool {
    facts.issuer.contains("(STAGING)")
}

fn expired(subject: &Subject<'_>) -> Option<String> {
    let facts = subject.facts()?;
    (facts.not_after <= subject.observed.now).then(|| format!("the certificate ended at {}", facts.not_after))
}

fn expiring(subject: &Subject<'_>) -> Option<String> {
    let facts = subject.facts()?;
    let least = least_validity(facts, subject.policy);
    let left = facts.not_after.duration_since(subject.observed.now);
    (left < least).then(|| format!("{} left, less than {}", days(left), days(least)))
}

fn suggested(subject: &Subject<'_>) -> Option<String> {
    let window = subject.window()?;
    let facts = subject.facts()?;
    let moment = moment(window, facts.id.as_ref()?);
    let now = subject.observed.now;
    let lifetime = facts.not_after.duration_since(facts.not_before);
    let young = now.duration_since(facts.not_before) < lifetime / 3;
    let before_next_run = moment <= now.saturating_add(subject.policy.interval).unwrap_or(Timestamp::MAX);
    (before_next_run && !(young && window.start > now)).then(|| {
        format!(
            "the authority suggests to renew it between {} and {}",
            window.start, window.end
        )
    })
}

/// The moment inside of a window at which a certificate is renewed: from its identifier alone, so that every run finds the same one.
fn moment(window: &RenewalWindow, id: &CertificateId) -> Timestamp {
    let digest = ring::digest::digest(&ring::digest::SHA256, id.to_string().as_bytes());
    let head = digest
        .as_ref()
        .first_chunk::<4>()
        .copied()
        .map_or(0, u32::from_be_bytes);
    let seconds = i128::from(window.end.duration_since(window.start).as_secs());
    let offset = seconds * i128::from(head) / (i128::from(u32::MAX) + 1);
    let offset = SignedDuration::from_secs(i64::try_from(offset).unwrap_or(0));
    window.start.saturating_add(offset).unwrap_or(window.end)
}

/// How much validity a certificate must have left: a third of its lifetime, half where that is under ten days.
/// A setting overrides, up to two thirds: more would renew it on every run.
fn least_validity(facts: &CertificateFacts, policy: &Policy) -> SignedDuration {
    let lifetime = facts.not_after.duration_since(facts.not_before);
    let share = if lifetime < SignedDuration::from_hours(240) {
        lifetime / 2
    } else {
        lifetime / 3
    };
    policy
        .minimum_validity
        .map_or(share, |minimum| minimum.min(lifetime / 3 * 2))
}

pub(super) fn renew_at(subject: &Subject<'_>) -> Option<Timestamp> {
    let facts = subject.facts()?;
    let by_lifetime = facts
        .not_after
        .saturating_sub(least_validity(facts, subject.policy))
        .ok()?;
    let by_window = subject
        .window()
        .and_then(|window| Some(moment(window, facts.id.as_ref()?)));
    Some(by_window.map_or(by_lifetime, |moment| moment.min(by_lifetime)))
}

/// Only a certificate of the same directory can be named as replaced; the account is compared where the account is known.
pub(super) fn replaces(subject: &Subject<'_>) -> Option<CertificateId> {
    let marker = subject.marker()?;
    let directory = subject.policy.directory.as_ref()?;
    (marker.directory == directory.url())
        .then(|| subject.facts()?.id.clone())
        .flatten()
}

pub(super) fn valid(subject: &Subject<'_>) -> String {
    subject.facts().map_or_else(
        || "nothing is due".into(),
        |facts| {
            format!(
                "valid until {}, {} left",
                facts.not_after,
                days(facts.not_after.duration_since(subject.observed.now))
            )
        },
    )
}

// When a certificate is refused.

fn invalid_host(subject: &Subject<'_>) -> Option<String> {
    if let Some((host, problem)) = subject.certificate.invalid_hosts.iter().next() {
        return Some(format!("host `{host}` {problem}: correct it in the Ingress"));
    }
    let single = |host: &&DnsName| host.label_count() < 2;
    if !subject.policy.single_label_hosts
        && let Some(host) = subject.certificate.hosts.iter().find(single)
    {
        return Some(format!(
            "host `{host}` has one label only, which public authorities do not sign: write the full name"
        ));
    }
    let public = subject
        .policy
        .directory
        .as_ref()
        .is_some_and(|directory| directory.trust() != Trust::Private);
    let local = |host: &str| {
        LOCAL_ENDINGS
            .iter()
            .any(|ending| host.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.')))
    };
    let host = subject
        .certificate
        .hosts
        .iter()
        .find(|host| public && local(host.as_str()))?;
    Some(format!(
        "host `{host}` has an ending that no public authority signs: use a private authority, or a public name"
    ))
}

fn wildcard_host(subject: &Subject<'_>) -> Option<String> {
    let host = subject.certificate.hosts.iter().find(|host| host.is_wildcard())?;
    Some(format!(
        "host `{host}` is a wildcard, which HTTP-01 cannot prove: list the names, or use a client that speaks DNS-01"
    ))
}

fn too_many_hosts(subject: &Subject<'_>) -> Option<String> {
    let count = subject.certificate.hosts.len();
    (count > MOST_HOSTS).then(|| {
        format!("{count} hosts are more than the {MOST_HOSTS} that a certificate can have: use several Secrets")
    })
}

fn host_claimed(subject: &Subject<'_>) -> Option<String> {
    let shared = |host: &str| match &subject.policy.shared_hosts {
        SharedHosts::None => false,
        SharedHosts::Listed(hosts) => hosts.contains(host),
        SharedHosts::All => true,
    };
    let (host, owner) = subject
        .certificate
        .claimed
        .iter()
        .find(|(host, _)| !shared(host.as_str()))?;
    Some(format!(
        "host `{host}` belongs to namespace `{}` by its older Ingress `{}`: remove it there or here, or allow it with `--allow-shared-hosts={host}`",
        owner.namespace, owner.name
    ))
}

fn unsupported_controller(subject: &Subject<'_>) -> Option<String> {
    subject.certificate.contributions.iter().find_map(|contribution| {
        let refusal = controller(&contribution.class, classes(subject.observed)).refusal?;
        Some(format!(
            "ingress `{}` has class `{}`: {refusal}; use another client for it",
            contribution.ingress, contribution.class
        ))
    })
}

/// The name of an object is a DNS-1123 subdomain, like a host, and may be a single label or look like an address.
fn invalid_secret_name(subject: &Subject<'_>) -> Option<String> {
    let name = &subject.certificate.secret.name;
    let valid = match name.parse::<DnsName>() {
        Ok(parsed) => !parsed.is_wildcard(),
        Err(DnsNameProblem::Address) => !name.contains(':'),
        // Objects' names have no bound on a label, only on the whole.
        Err(DnsNameProblem::Label) => name
            .split('.')
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')),
        Err(_) => false,
    };
    (!valid).then(|| format!("`{name}` is no name for a Secret: use lower-case letters, digits, `-` and `.`"))
}

fn unknown(subject: &Subject<'_>) -> Option<String> {
    match subject.secret {
        Read::Unknown(why) => Some(format!("the Secret could not be read: {why}")),
        Read::Found(_) | Read::Absent => None,
    }
}

fn terminating(subject: &Subject<'_>) -> Option<String> {
    let namespace = &subject.certificate.secret.namespace;
    if subject.observed.terminating_namespaces.contains(namespace) {
        return Some(format!("namespace `{namespace}` is being deleted"));
    }
    subject
        .found()?
        .deleting
        .then(|| "the Secret is being deleted: a later run makes it anew".into())
}

fn wrong_secret_type(subject: &Subject<'_>) -> Option<String> {
    let type_ = &subject.found()?.version.type_;
    (type_ != "kubernetes.io/tls").then(|| {
        format!("the Secret has type `{type_}`, which cannot be changed to `kubernetes.io/tls`: delete it, or name another in the Ingress")
    })
}

fn managed_elsewhere(subject: &Subject<'_>) -> Option<String> {
    if let Some((ingress, annotation)) = &subject.certificate.cert_manager {
        return Some(format!(
            "cert-manager looks after it: ingress `{ingress}` has the annotation `{annotation}`; remove that or `{}`",
            subject.policy.annotation
        ));
    }
    let certificate = subject.found()?.annotations.get(CERT_MANAGER)?;
    (!subject.policy.adopt).then(|| {
        format!("cert-manager's Certificate `{certificate}` writes it: remove one of the two, then take it over with `--adopt`")
    })
}

fn immutable_secret(subject: &Subject<'_>) -> Option<String> {
    subject
        .found()?
        .immutable
        .then(|| "the Secret is immutable: delete it, and the next run makes it anew".into())
}

fn foreign_secret(subject: &Subject<'_>) -> Option<String> {
    let secret = subject.found()?;
    let ours = secret.version.marker.is_some()
        || [TLS_ACME, subject.policy.annotation.as_str()].iter().any(|annotation| {
            secret
                .annotations
                .get(*annotation)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        });
    let allowed = ours || subject.policy.adopt || secret.inspection == Inspection::Empty;
    (!allowed).then(|| {
        format!("the Secret holds what somebody else put there: annotate it with `{TLS_ACME}: \"true\"`, or run with `--adopt`, to have it replaced")
    })
}

fn would_drop_hosts(subject: &Subject<'_>) -> Option<String> {
    let names = &subject.facts()?.names;
    let wanted: Vec<String> = subject.certificate.hosts.iter().map(ToString::to_string).collect();
    let covered = |host: &DnsName, by: &[String]| by.iter().any(|name| host.is_covered_by(name));
    subject.certificate.bystanders.iter().find_map(|(ingress, hosts)| {
        let dropped = hosts.iter().find(|host| covered(host, names) && !covered(host, &wanted))?;
        Some(format!(
            "a new certificate would lose `{dropped}`, which ingress `{ingress}` serves from this Secret: annotate it too, or give it a Secret of its own"
        ))
    })
}

fn would_downgrade(subject: &Subject<'_>) -> Option<String> {
    let directory = subject
        .policy
        .directory
        .as_ref()
        .filter(|directory| directory.trust() == Trust::Staging)?;
    let facts = subject.facts()?;
    let from_staging = is_staging(facts)
        || subject
            .marker()
            .is_some_and(|marker| marker.directory == directory.url());
    (facts.not_after > subject.observed.now && !from_staging).then(|| {
        format!(
            "a certificate by `{}` is still valid, and `{directory}` is a staging directory, which nobody trusts",
            facts.issuer
        )
    })
}

// What else is worth knowing.

pub(super) fn notes(subject: &Subject<'_>) -> Vec<String> {
    let mut notes = Vec::new();
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
        if let Some(end) = facts.chain_not_after.filter(|end| *end <= now && facts.not_after > now) {
            notes.push(format!("an issuer's certificate in the chain ended at {end}"));
        }
    }
    notes
}
