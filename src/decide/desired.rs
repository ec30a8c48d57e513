//! Ingresses -> the certificates that are wanted. Merges, claims and rejections are data, not errors.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::name::{ClassName, DnsName, DnsNameProblem, IngressRef, SecretRef};
use super::observed::{Ingress, RetiredIngress};

/// Everything that a set of Ingresses asks for.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// One certificate a Secret, sorted.
    pub certificates: Vec<Certificate>,
    /// Annotated Ingresses, or parts of them, that have no Secret to key them by.
    pub rejected: Vec<Rejected>,
    /// Ingresses whose annotation looks like an opt-in and is none: the Ingress and the annotation's value.
    pub near_misses: Vec<(IngressRef, String)>,
}

/// A certificate that somebody wants: the union of what all annotated Ingresses of its namespace ask of its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it goes.
    pub secret: SecretRef,
    /// The names, sorted, each once.
    pub hosts: BTreeSet<DnsName>,
    /// Hosts that are no names, as written: one of them refuses the whole certificate.
    pub invalid_hosts: BTreeMap<String, DnsNameProblem>,
    /// Which Ingress wants which hosts.
    pub contributions: Vec<Contribution>,
    /// Ingresses without the annotation that name the same Secret, and the hosts of their entry.
    pub bystanders: Vec<(IngressRef, BTreeSet<DnsName>)>,
    /// Hosts that belong to another namespace, and the Ingress that owns them there (I6).
    pub claimed: BTreeMap<DnsName, IngressRef>,
    /// The Ingress by which cert-manager manages the same Secret, and the annotation that says so.
    pub cert_manager: Option<(IngressRef, &'static str)>,
}

/// What one annotated Ingress asks of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The Ingress.
    pub ingress: IngressRef,
    /// Its UID, where it has one.
    pub uid: String,
    /// Whose controller serves it.
    pub class: ClassName,
    /// The hosts.
    pub hosts: BTreeSet<DnsName>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What a controller wrote into its status.
    pub addresses: Vec<String>,
}

/// An annotated Ingress that cannot get what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// The Ingress.
    pub ingress: IngressRef,
    /// Why.
    pub reason: Rejection,
    /// Its class.
    pub class: ClassName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl From<&RetiredIngress> for Rejected {
    fn from(retired: &RetiredIngress) -> Self {
        Self {
            ingress: retired.name.clone(),
            reason: Rejection::RetiredVersion {
                version: retired.version.clone(),
            },
            class: retired.class.clone(),
            labels: retired.labels.clone(),
        }
    }
}

/// Why an Ingress cannot get a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// A version of the API that no cluster serves any more.
    RetiredVersion {
        /// The `apiVersion`.
        version: String,
    },
    /// No `spec.tls`.
    NoTls,
    /// An entry of `spec.tls` has hosts and no `secretName`.
    NoSecretName {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// An entry of `spec.tls` has a `secretName` and no hosts.
    NoHosts {
        /// The Secret.
        secret: String,
    },
}

impl Rejection {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RetiredVersion { .. } => "RetiredVersion",
            Self::NoTls => "NoTls",
            Self::NoSecretName { .. } => "NoSecretName",
            Self::NoHosts { .. } => "NoHosts",
        }
    }

    /// One sentence that says what to do.
    pub fn message(&self) -> String {
        match self {
            Self::RetiredVersion { version } => {
                format!("is of `{version}`, which no cluster serves any more: write it as `networking.k8s.io/v1`")
            }
            Self::NoTls => {
                "has no `spec.tls`: add an entry with `hosts` and `secretName`, or remove the annotation".into()
            }
            Self::NoSecretName { hosts } if hosts.is_empty() => {
                "has an entry in `spec.tls` with neither `hosts` nor `secretName`: add both".into()
            }
            Self::NoSecretName { hosts } => {
                format!(
                    "has an entry in `spec.tls` for `{}` without `secretName`: name the Secret",
                    hosts.join("`, `")
                )
            }
            Self::NoHosts { secret } => format!(
                "has an entry in `spec.tls` for Secret `{secret}` without `hosts`: list the names that the certificate must cover"
            ),
        }
    }
}

/// Computes the wanted certificates. `annotation` opts an Ingress in when its value is `true` in any letter case.
pub fn desired(ingresses: &[Ingress], annotation: &str) -> Desired {
    let mut desired = Desired::default();
    let mut by_secret: BTreeMap<SecretRef, Certificate> = BTreeMap::new();
    let mut sorted: Vec<&Ingress> = ingresses.iter().filter(|ingress| !ingress.deleting).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    for ingress in &sorted {
        match opt_in(ingress, annotation) {
            OptIn::Yes => contribute(ingress, &mut by_secret, &mut desired.rejected),
            OptIn::NearMiss(value) => desired.near_misses.push((ingress.name.clone(), value)),
            OptIn::No => {}
        }
    }
    for ingress in &sorted {
        if opt_in(ingress, annotation) != OptIn::Yes {
            stand_by(ingress, &mut by_secret);
        }
    }
    let owners = owners(&sorted);
    desired.certificates = by_secret
        .into_values()
        .map(|certificate| with_claims(certificate, &owners))
        .collect();
    desired.rejected.sort();
    desired.rejected.dedup();
    desired
}

#[derive(PartialEq)]
enum OptIn {
    Yes,
    NearMiss(String),
    No,
}

fn opt_in(ingress: &Ingress, annotation: &str) -> OptIn {
    let Some(value) = ingress.annotations.get(annotation) else {
        return OptIn::No;
    };
    match value.to_ascii_lowercase().as_str() {
        "true" => OptIn::Yes,
        "false" | "0" | "no" | "off" | "" => OptIn::No,
        _ => OptIn::NearMiss(value.clone()),
    }
}

fn contribute(ingress: &Ingress, by_secret: &mut BTreeMap<SecretRef, Certificate>, rejected: &mut Vec<Rejected>) {
    let mut reject = |reason| {
        rejected.push(Rejected {
            ingress: ingress.name.clone(),
            reason,
            class: ingress.class.clone(),
            labels: ingress.labels.clone(),
        });
    };
    if ingress.tls.is_empty() {
        reject(Rejection::NoTls);
    }
    for tls in &ingress.tls {
        let Some(secret) = &tls.secret_name else {
            reject(Rejection::NoSecretName {
                hosts: tls.hosts.clone(),
            });
            continue;
        };
        if tls.hosts.is_empty() {
            reject(Rejection::NoHosts { secret: secret.clone() });
            continue;
        }
        let secret = SecretRef::new(&ingress.name.namespace, secret);
        let certificate = by_secret
            .entry(secret.clone())
            .or_insert_with(|| Certificate::of(secret));
        let mut hosts = BTreeSet::new();
        for host in &tls.hosts {
            match host.parse::<DnsName>() {
                Ok(name) => drop(hosts.insert(name)),
                Err(problem) => drop(certificate.invalid_hosts.insert(host.clone(), problem)),
            }
        }
        certificate.hosts.extend(hosts.iter().cloned());
        certificate.add(ingress, hosts);
    }
}

/// Records an Ingress without the annotation under each certificate whose Secret it names.
fn stand_by(ingress: &Ingress, by_secret: &mut BTreeMap<SecretRef, Certificate>) {
    for tls in &ingress.tls {
        let Some(secret) = &tls.secret_name else { continue };
        let Some(certificate) = by_secret.get_mut(&SecretRef::new(&ingress.name.namespace, secret)) else {
            continue;
        };
        let hosts = tls.hosts.iter().filter_map(|host| host.parse().ok()).collect();
        certificate.bystanders.push((ingress.name.clone(), hosts));
        certificate.note_cert_manager(ingress);
    }
}

impl Certificate {
    fn of(secret: SecretRef) -> Self {
        Self {
            secret,
            hosts: BTreeSet::new(),
            invalid_hosts: BTreeMap::new(),
            contributions: Vec::new(),
            bystanders: Vec::new(),
            claimed: BTreeMap::new(),
            cert_manager: None,
        }
    }

    fn add(&mut self, ingress: &Ingress, hosts: BTreeSet<DnsName>) {
        self.note_cert_manager(ingress);
        match self
            .contributions
            .iter_mut()
            .find(|contribution| contribution.ingress == ingress.name)
        {
            Some(contribution) => contribution.hosts.extend(hosts),
            None => self.contributions.push(Contribution {
                ingress: ingress.name.clone(),
                uid: ingress.uid.clone(),
                class: ingress.class.clone(),
                hosts,
                labels: ingress.labels.clone(),
                addresses: ingress.addresses.clone(),
            }),
        }
    }

    fn note_cert_manager(&mut self, ingress: &Ingress) {
        let annotation = ["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"]
            .into_iter()
            .find(|annotation| {
                ingress
                    .annotations
                    .get(*annotation)
                    .is_some_and(|value| !value.is_empty())
            });
        if let Some(annotation) = annotation {
            self.cert_manager.get_or_insert((ingress.name.clone(), annotation));
        }
    }
}

/// Who owns each host: the oldest Ingress that has it in `rules` or `tls`, by creation time, then namespace and name,
/// the rule by which ingress controllers settle the same conflict (I6).
fn owners<'a>(ingresses: &[&'a Ingress]) -> HashMap<&'a str, &'a Ingress> {
    let age = |ingress: &Ingress| (ingress.created.unwrap_or(Timestamp::MAX), ingress.name.clone());
    let mut by_age = ingresses.to_vec();
    by_age.sort_by_cached_key(|ingress| age(ingress));
    let mut owners = HashMap::new();
    for ingress in by_age {
        let hosts = ingress
            .rule_hosts
            .iter()
            .chain(ingress.tls.iter().flat_map(|tls| &tls.hosts));
        for host in hosts {
            owners.entry(host.as_str()).or_insert(ingress);
        }
    }
    owners
}

fn with_claims(mut certificate: Certificate, owners: &HashMap<&str, &Ingress>) -> Certificate {
    for host in &certificate.hosts {
        let Some(owner) = owners.get(host.as_str()) else {
            continue;
        };
        if owner.name.namespace != certificate.secret.namespace {
            certificate.claimed.insert(host.clone(), owner.name.clone());
        }
    }
    certificate
}
