//! A certificate that is wanted, and who wants which of its hosts.

use std::collections::BTreeSet;

use thin_vec::ThinVec;

use crate::decide::name::{DnsName, DnsNameProblem, SecretRef, SourceRef};
use crate::decide::observed::{OneOrMore, Source};

/// By these annotations cert-manager knows an Ingress that it looks after.
pub const ISSUER_ANNOTATIONS: &[&str] = &["cert-manager.io/issuer", "cert-manager.io/cluster-issuer"];

/// A certificate that somebody wants: the union of what all annotated objects of its namespace ask of its Secret.
/// There may be 100,000, and nearly all of them have nothing in what is a `ThinVec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Where it goes.
    pub secret: SecretRef,
    /// The names, sorted, each once.
    pub hosts: OneOrMore<DnsName>,
    /// Hosts that are no names, as written, sorted, each once: one of them refuses the whole certificate.
    pub invalid_hosts: ThinVec<(String, DnsNameProblem)>,
    /// Which object wants which hosts.
    pub contributions: OneOrMore<Contribution>,
    /// Objects without the annotation that name the same Secret, and the hosts that they have for it.
    pub bystanders: ThinVec<(Source, BTreeSet<DnsName>)>,
    /// Hosts that belong to another namespace, and the object that owns them there (I6).
    pub claimed: ThinVec<(DnsName, SourceRef)>,
    /// The object by which cert-manager manages the same Secret, and the annotation that says so.
    pub cert_manager: Option<Box<(Source, &'static str)>>,
}

/// What one annotated object asks of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The object.
    pub source: Source,
    /// The hosts, sorted, each once.
    pub hosts: OneOrMore<DnsName>,
}

impl Certificate {
    pub(super) fn of(secret: SecretRef) -> Self {
        Self {
            secret,
            hosts: OneOrMore::new(),
            invalid_hosts: ThinVec::new(),
            contributions: OneOrMore::new(),
            bystanders: ThinVec::new(),
            claimed: ThinVec::new(),
            cert_manager: None,
        }
    }

    pub(super) fn add(&mut self, source: &Source, hosts: OneOrMore<DnsName>) {
        self.note_cert_manager(source);
        append(&mut self.hosts, hosts.clone());
        // All that an object asks for comes in a row.
        match self.contributions.last_mut().filter(|it| it.source == *source) {
            Some(contribution) => append(&mut contribution.hosts, hosts),
            None => self.contributions.push(Contribution {
                source: source.clone(),
                hosts,
            }),
        }
    }

    pub(super) fn add_invalid(&mut self, host: &str, problem: DnsNameProblem) {
        self.invalid_hosts.push((host.to_owned(), problem));
    }

    /// Sorts what was added, each once. Once for all: an object may have 60,000 entries for one Secret.
    pub(super) fn settle(&mut self) {
        settle(&mut self.hosts);
        for contribution in &mut self.contributions {
            settle(&mut contribution.hosts);
        }
        self.invalid_hosts.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.invalid_hosts.dedup_by(|(a, _), (b, _)| a == b);
    }

    pub(super) fn note_cert_manager(&mut self, source: &Source) {
        let annotation = ISSUER_ANNOTATIONS.iter().copied().find(|annotation| {
            source
                .annotations()
                .get(*annotation)
                .is_some_and(|value| !value.is_empty())
        });
        if let Some(annotation) = annotation {
            self.cert_manager
                .get_or_insert_with(|| Box::new((source.clone(), annotation)));
        }
    }
}

fn append(hosts: &mut OneOrMore<DnsName>, more: OneOrMore<DnsName>) {
    match hosts.is_empty() {
        true => *hosts = more,
        false => hosts.extend(more),
    }
}

/// Sorted, each once, in no more room than that takes.
fn settle(hosts: &mut OneOrMore<DnsName>) {
    if hosts.len() > 1 {
        hosts.sort();
        hosts.dedup();
        hosts.shrink_to_fit();
    }
}
