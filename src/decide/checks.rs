//! The checks: why a certificate is due, and why it is refused. Each is one function and one row of its table.

use super::desired::Certificate;
use super::directory::{Directory, Trust};
use super::inspection::{CertificateFacts, Inspection, KeyMatch, Marker};
use super::name::{DnsName, DnsNameProblem};
use super::observed::{IngressClass, Observed, Read, RenewalWindow, Secret, Unread};
use super::policy::{Policy, TLS_ACME};
use super::route::controller;
use super::validity::{is_suggested, least_validity, moment, short};

/// The most names that a certificate can have with the authorities that sign many (Let's Encrypt's classic profile).
pub const MOST_HOSTS: usize = 100;
/// By this annotation cert-manager knows a Secret that it writes; `--adopt` removes it at the store.
pub const CERT_MANAGER: &str = "cert-manager.io/certificate-name";
/// Another program's claims on a Secret, which a store that takes it over removes.
pub fn claims_to_remove() -> Vec<String> {
    vec![CERT_MANAGER.to_owned()]
}

/// Endings that no public authority can sign: reserved or local (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`).
const LOCAL_ENDINGS: &[&str] = &[
    "local",
    "internal",
    "localhost",
    "lan",
    "home.arpa",
    "svc.cluster.local",
];

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Why a certificate is issued, kept or refused: a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order in which they are looked for.
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
    /// Over [`MOST_HOSTS`].
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
    /// The operator wants it.
    Forced,
    /// Nothing is due.
    Valid,
}

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
    fn no(sentence: &str) -> Self {
        Self::No(sentence.into())
    }
}

/// What the checks look at.
pub(super) struct Subject<'a> {
    pub(super) observed: &'a Observed,
    pub(super) policy: &'a Policy,
    pub(super) certificate: &'a Certificate,
    pub(super) secret: &'a Read<Secret>,
}

impl<'a> Subject<'a> {
    pub(super) fn found(&self) -> Option<&'a Secret> {
        self.secret.found()
    }

    pub(super) fn facts(&self) -> Option<&'a CertificateFacts> {
        self.found()?.facts()
    }

    pub(super) fn marker(&self) -> Option<Marker> {
        self.found()?.marker()
    }

    pub(super) fn window(&self) -> Option<&'a RenewalWindow> {
        self.observed.renewal_windows.get(&self.certificate.secret)
    }
}

/// The IngressClasses, as far as they are known.
pub(super) fn classes(observed: &Observed) -> &[IngressClass] {
    observed.classes.found().map(Vec::as_slice).unwrap_or_default()
}

/// A check: the reason that it gives, and how it is asked.
pub(super) struct Check {
    pub(super) reason: Reason,
    pub(super) ask: fn(&Subject<'_>) -> Answer,
    pub(super) asked: Asked,
}

/// Whether a refusal holds for a certificate that nothing is due for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Always,
    WhenDue,
}

const fn always(reason: Reason, ask: fn(&Subject<'_>) -> Answer) -> Check {
    Check {
        reason,
        ask,
        asked: Asked::Always,
    }
}

const fn when_due(reason: Reason, ask: fn(&Subject<'_>) -> Answer) -> Check {
    Check {
        reason,
        ask,
        asked: Asked::WhenDue,
    }
}

/// When a certificate is due: the first match wins.
pub(super) const DUE: &[Check] = &[
    always(Reason::Missing, missing),
    always(Reason::Unreadable, unreadable),
    always(Reason::KeyMismatch, key_mismatch),
    always(Reason::HostNotCovered, host_not_covered),
    always(Reason::WrongIssuer, wrong_issuer),
    always(Reason::Expired, expired),
    always(Reason::Expiring, expiring),
    always(Reason::Suggested, suggested),
    always(Reason::Forced, forced),
];

/// When a certificate is refused: the first match wins; hosts, then claims, then the Secret.
pub(super) const REFUSALS: &[Check] = &[
    always(Reason::InvalidHost, invalid_host),
    when_due(Reason::WildcardHost, wildcard_host),
    always(Reason::TooManyHosts, too_many_hosts),
    always(Reason::HostClaimed, host_claimed),
    when_due(Reason::UnsupportedController, unsupported_controller),
    always(Reason::InvalidSecretName, invalid_secret_name),
    always(Reason::Unknown, unknown),
    always(Reason::Terminating, terminating),
    always(Reason::WrongSecretType, wrong_secret_type),
    always(Reason::ManagedElsewhere, managed_elsewhere),
    when_due(Reason::ImmutableSecret, immutable_secret),
    when_due(Reason::ForeignSecret, foreign_secret),
    when_due(Reason::WouldDropHosts, would_drop_hosts),
    when_due(Reason::WouldDowngrade, would_downgrade),
];

const NO_SECRET: Answer = Answer::NotAsked("there is no Secret to look at");
const NO_CERTIFICATE: Answer = Answer::NotAsked("there is no certificate to look at");
const NO_DIRECTORY: Answer = Answer::NotAsked("no directory is given");

// When a certificate is due.

fn missing(subject: &Subject<'_>) -> Answer {
    match subject.secret {
        Read::Absent => Answer::Yes("there is no such Secret yet".into()),
        Read::Found(_) => Answer::no("the Secret is there"),
        Read::Unknown(_) => NO_SECRET,
    }
}

fn unreadable(subject: &Subject<'_>) -> Answer {
    match subject.found().map(|secret| &secret.inspection) {
        Some(Inspection::Empty) => Answer::Yes("both `tls.crt` and `tls.key` are empty".into()),
        Some(Inspection::Unreadable(why)) => Answer::Yes(why.clone()),
        Some(Inspection::Certificate(facts)) => Answer::No(format!("there is a certificate by `{}`", facts.issuer)),
        None => NO_SECRET,
    }
}

fn key_mismatch(subject: &Subject<'_>) -> Answer {
    match subject.facts().map(|facts| &facts.key) {
        Some(KeyMatch::Differs) => Answer::Yes("`tls.key` is not the key of the certificate in `tls.crt`".into()),
        Some(KeyMatch::Matches) => Answer::no("`tls.key` is the certificate's key"),
        Some(KeyMatch::Unchecked(what)) => Answer::No(format!("`tls.key` was not compared: it is {what}")),
        None => NO_CERTIFICATE,
    }
}

fn host_not_covered(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let names = &facts.names;
    let covered = |host: &&DnsName| names.iter().any(|name| host.is_covered_by(name));
    let lacking: Vec<_> = subject
        .certificate
        .hosts
        .iter()
        .filter(|host| !covered(host))
        .map(|host| format!("`{host}`"))
        .collect();
    if lacking.is_empty() {
        return Answer::No(format!("the certificate's names are `{}`", names.join("`, `")));
    }
    Answer::Yes(format!("the certificate does not cover {}", lacking.join(", ")))
}

fn wrong_issuer(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let Some(directory) = &subject.policy.directory else {
        return NO_DIRECTORY;
    };
    match subject.marker() {
        Some(marker) if marker.directory != directory.url() => Answer::Yes(format!(
            "the certificate is from `{}`, not from `{directory}`",
            marker.directory
        )),
        // A private authority names its issuers as it likes: ordering again would bring the same name, on every run.
        Some(_) if directory.trust() == Trust::Private => Answer::No(format!("the certificate is from `{directory}`")),
        _ if is_staging(facts) && directory.trust() != Trust::Staging => Answer::Yes(format!(
            "the certificate is from a staging authority: `{}`",
            facts.issuer
        )),
        Some(_) => Answer::No(format!("the certificate is from `{directory}`")),
        None => Answer::no("nothing says which directory the certificate is from"),
    }
}

/// Let's Encrypt writes it into its staging issuers' organization and names.
fn is_staging(facts: &CertificateFacts) -> bool {
    facts.issuer.contains("(STAGING)")
}

fn expired(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    if facts.not_after <= subject.observed.now {
        return Answer::Yes(format!("the certificate ended at {}", facts.not_after));
    }
    Answer::No(format!("the certificate ends at {}", facts.not_after))
}

fn expiring(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let least = least_validity(facts, subject.policy);
    let left = facts.not_after.duration_since(subject.observed.now);
    if left < least {
        return Answer::Yes(format!("{} left, less than {}", short(left), short(least)));
    }
    Answer::No(format!("{} left, {} are enough", short(left), short(least)))
}

fn suggested(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let (Some(window), Some(id)) = (subject.window(), &facts.id) else {
        return Answer::NotAsked("the authority gave no renewal window");
    };
    let moment = moment(window, id);
    let sentence = format!(
        "the authority suggests a renewal between {} and {}, which makes it {moment} here",
        window.start, window.end
    );
    if is_suggested(window, moment, facts, subject.observed.now, subject.policy) {
        return Answer::Yes(sentence);
    }
    Answer::No(sentence)
}

fn forced(subject: &Subject<'_>) -> Answer {
    if subject.policy.force {
        return Answer::Yes("`--force` asks for it".into());
    }
    Answer::no("`--force` does not ask for it")
}

// When a certificate is refused.

fn invalid_host(subject: &Subject<'_>) -> Answer {
    let certificate = subject.certificate;
    if let Some((host, problem)) = certificate.invalid_hosts.iter().next() {
        return Answer::Yes(format!("host `{host}` {problem}: correct it in the Ingress"));
    }
    let public = subject
        .policy
        .directory
        .as_ref()
        .is_some_and(|directory| directory.trust() != Trust::Private);
    let single = |host: &&DnsName| host.label_count() < 2;
    if let Some(host) = certificate
        .hosts
        .iter()
        .find(single)
        .filter(|_| public || !subject.policy.single_label_hosts)
    {
        return Answer::Yes(format!(
            "host `{host}` has one label only, which public authorities do not sign: write the full name, or, for a private authority, allow it with `--allow-single-label-hosts`"
        ));
    }
    let local = |host: &&DnsName| {
        LOCAL_ENDINGS.iter().any(|ending| {
            host.as_str()
                .strip_suffix(ending)
                .is_some_and(|rest| rest.ends_with('.'))
        })
    };
    match certificate.hosts.iter().find(local).filter(|_| public) {
        Some(host) => Answer::Yes(format!(
            "host `{host}` has an ending that no public authority signs: use a private authority, or a public name"
        )),
        None => Answer::no("all hosts are names that the authority can sign"),
    }
}

fn wildcard_host(subject: &Subject<'_>) -> Answer {
    match subject.certificate.hosts.iter().find(|host| host.is_wildcard()) {
        Some(host) => Answer::Yes(format!(
            "host `{host}` is a wildcard, which HTTP-01 cannot prove: list the names, or use a client that speaks DNS-01"
        )),
        None => Answer::no("no host is a wildcard"),
    }
}

fn too_many_hosts(subject: &Subject<'_>) -> Answer {
    let count = subject.certificate.hosts.len();
    if count > MOST_HOSTS {
        return Answer::Yes(format!(
            "{count} hosts are more than the {MOST_HOSTS} that a certificate can have: use several Secrets"
        ));
    }
    Answer::No(format!("{count} of at most {MOST_HOSTS} hosts"))
}

fn host_claimed(subject: &Subject<'_>) -> Answer {
    let claimed = &subject.certificate.claimed;
    match claimed
        .iter()
        .find(|(host, _)| !subject.policy.shared_hosts.contain(host.as_str()))
    {
        Some((host, owner)) => Answer::Yes(format!(
            "host `{host}` belongs to namespace `{}` by its older Ingress `{}`: remove it there or here, or allow it with `--allow-shared-hosts={host}`",
            owner.namespace, owner.name
        )),
        None if claimed.is_empty() => Answer::no("no older Ingress of another namespace has any of the hosts"),
        None => Answer::no("`--allow-shared-hosts` allows the hosts that other namespaces have too"),
    }
}

fn unsupported_controller(subject: &Subject<'_>) -> Answer {
    let refusal = subject.certificate.contributions.iter().find_map(|contribution| {
        let refusal = controller(&contribution.class, classes(subject.observed)).refusal?;
        Some(format!(
            "ingress `{}` has class `{}`: {refusal}; use another client for it",
            contribution.ingress, contribution.class
        ))
    });
    refusal.map_or_else(
        || Answer::no("the classes' controllers can serve a challenge"),
        Answer::Yes,
    )
}

/// The name of an object is a DNS-1123 subdomain: like a host, but a single label will do, may be long, and may look like an address.
fn invalid_secret_name(subject: &Subject<'_>) -> Answer {
    let name = &subject.certificate.secret.name;
    let ends = |label: &str| label.is_empty() || label.starts_with('-') || label.ends_with('-');
    let valid = match name.parse::<DnsName>() {
        Ok(parsed) => !parsed.is_wildcard(),
        Err(DnsNameProblem::Address) => !name.contains(':'),
        Err(DnsNameProblem::Label) => !name.split('.').any(ends),
        Err(_) => false,
    };
    if valid {
        return Answer::No(format!("`{name}` is a name that a Secret can have"));
    }
    Answer::Yes(format!(
        "`{name}` is no name for a Secret: use lower-case letters, digits, `-` and `.`"
    ))
}

fn unknown(subject: &Subject<'_>) -> Answer {
    match subject.secret {
        Read::Unknown(Unread { why, hint: None }) => Answer::Yes(format!("the Secret could not be read: {why}")),
        Read::Unknown(Unread { why, hint: Some(hint) }) => {
            Answer::Yes(format!("the Secret could not be read: {why}; hint: {hint}"))
        }
        Read::Found(_) | Read::Absent => Answer::no("the API server answered"),
    }
}

fn terminating(subject: &Subject<'_>) -> Answer {
    let namespace = &subject.certificate.secret.namespace;
    if subject.observed.terminating_namespaces.contains(namespace) {
        return Answer::Yes(format!("namespace `{namespace}` is being deleted"));
    }
    if subject.found().is_some_and(|secret| secret.deleting) {
        return Answer::Yes("the Secret is being deleted: a later run makes it anew".into());
    }
    Answer::no("neither the Secret nor its namespace is being deleted")
}

fn wrong_secret_type(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    let type_ = &secret.version.type_;
    if type_ == "kubernetes.io/tls" {
        return Answer::no("the Secret has type `kubernetes.io/tls`");
    }
    Answer::Yes(format!(
        "the Secret has type `{type_}`, which cannot be changed to `kubernetes.io/tls`: delete it, or name another in the Ingress"
    ))
}

fn managed_elsewhere(subject: &Subject<'_>) -> Answer {
    if let Some((ingress, annotation)) = &subject.certificate.cert_manager {
        return Answer::Yes(format!(
            "cert-manager looks after it: ingress `{ingress}` has the annotation `{annotation}`; remove that or `{}`",
            subject.policy.annotation
        ));
    }
    match subject.found().and_then(|secret| secret.annotations.get(CERT_MANAGER)) {
        Some(certificate) if !subject.policy.adopt => Answer::Yes(format!(
            "cert-manager's Certificate `{certificate}` writes it: remove one of the two, then take it over with `--adopt`"
        )),
        Some(_) => Answer::no("`--adopt` takes it over from cert-manager"),
        None => Answer::no("nothing says that cert-manager looks after it"),
    }
}

fn immutable_secret(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    if secret.immutable {
        return Answer::Yes("the Secret is immutable: delete it, and the next run makes it anew".into());
    }
    Answer::no("the Secret can change")
}

fn foreign_secret(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    let opted_in = |annotation: &&str| {
        secret
            .annotations
            .get(*annotation)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    if secret.version.marker.is_some() {
        return Answer::no("the Secret carries our marker");
    }
    if let Some(annotation) = [TLS_ACME, subject.policy.annotation.as_str()]
        .iter()
        .find(|annotation| opted_in(annotation))
    {
        return Answer::No(format!("the Secret is annotated with `{annotation}`"));
    }
    if secret.inspection == Inspection::Empty {
        return Answer::no("the Secret holds nothing");
    }
    if subject.policy.adopt {
        return Answer::no("`--adopt` takes it over");
    }
    Answer::Yes(format!(
        "the Secret holds what somebody else put there: annotate it with `{TLS_ACME}: \"true\"`, or run with `--adopt`, to have it replaced"
    ))
}

fn would_drop_hosts(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let wanted: Vec<String> = subject.certificate.hosts.iter().map(ToString::to_string).collect();
    let covered = |host: &DnsName, by: &[String]| by.iter().any(|name| host.is_covered_by(name));
    let dropped = subject.certificate.bystanders.iter().find_map(|(ingress, hosts)| {
        let dropped = hosts.iter().find(|host| covered(host, &facts.names) && !covered(host, &wanted))?;
        Some(format!(
            "a new certificate would lose `{dropped}`, which ingress `{ingress}` serves from this Secret: annotate it too, or give it a Secret of its own"
        ))
    });
    dropped.map_or_else(
        || Answer::no("no Ingress without the annotation would lose a host"),
        Answer::Yes,
    )
}

fn would_downgrade(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let Some(directory) = &subject.policy.directory else {
        return NO_DIRECTORY;
    };
    if directory.trust() != Trust::Staging {
        return Answer::No(format!("`{directory}` is no staging directory"));
    }
    let from_staging = is_staging(facts)
        || subject
            .marker()
            .and_then(|marker| marker.directory.parse::<Directory>().ok())
            .is_some_and(|from| from.trust() == Trust::Staging);
    if facts.not_after <= subject.observed.now || from_staging {
        return Answer::no("what is there is no better");
    }
    Answer::Yes(format!(
        "a certificate by `{}` is still valid, and `{directory}` is a staging directory, which nobody trusts: wait until it ends, or use another Secret",
        facts.issuer
    ))
}
