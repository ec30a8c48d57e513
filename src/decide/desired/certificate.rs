//! A certificate that is wanted, and who wants which of its hosts.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::name::{ClassName, DnsName, DnsNameProblem, IngressRef, SecretRef};
use crate::decide::observed::{Ingress, Pairs};

/// By these annotations cert-manager knows an Ingress that it looks after.
pub const ISSUER_ANNOTATIONS: &[&str] = &["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"];

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
    /// The hosts, sorted, each once. A set would take a node of 280 bytes for what is nearly always one name.
    pub hosts: Vec<DnsName>,
    /// Its labels.
    pub labels: Pairs,
    /// What a controller wrote into its status.
    pub addresses: Vec<String>,
}

impl Certificate {
    pub(super) fn of(secret: SecretRef) -> Self {
        Self {
            secret,
            hosts: BTreeSet::new(),
            invalid_hosts: BTreeMap::new(),
            // Nearly always one; a vector that grows starts with four.
            contributions: Vec::with_capacity(1),
            bystanders: Vec::new(),
            claimed: BTreeMap::new(),
            cert_manager: None,
        }
    }

    pub(super) fn add(&mut self, ingress: &Ingress, hosts: BTreeSet<DnsName>) {
        self.note_cert_manager(ingress);
        match self
            .contributions
            .iter_mut()
            .find(|contribution| contribution.ingress == ingress.name)
        {
            Some(contribution) => {
                contribution.hosts.extend(hosts);
                contribution.hosts.sort();
                contribution.hosts.dedup();
            }
            None => self.contributions.push(Contribution {
                ingress: ingress.name.clone(),
                uid: ingress.uid.clone(),
                class: ingress.class.clone(),
                hosts: exactly(hosts),
                labels: ingress.labels.clone(),
                addresses: ingress.addresses.clone(),
            }),
        }
    }

    pub(super) fn note_cert_manager(&mut self, ingress: &Ingress) {
        let annotation = ISSUER_ANNOTATIONS.iter().copied().find(|annotation| {
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

fn exactly(hosts: BTreeSet<DnsName>) -> Vec<DnsName> {
    let mut names = Vec::with_capacity(hosts.len());
    names.extend(hosts);
    names
}
