//! What an Ingress wants: its annotation opts in, its `spec.tls` names Secrets and hosts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::BySecret;
use super::rejection::{Rejected, Rejection};
use crate::decide::name::{DnsName, SecretRef};
use crate::decide::observed::{Ingress, Pairs, Source};

#[derive(PartialEq)]
pub(super) enum OptIn {
    Yes,
    NearMiss(String),
    No,
}

pub(super) fn opt_in(annotations: &Pairs, annotation: &str) -> OptIn {
    let Some(value) = annotations.get(annotation) else {
        return OptIn::No;
    };
    match value.to_ascii_lowercase().as_str() {
        "true" => OptIn::Yes,
        "false" | "0" | "no" | "off" | "" => OptIn::No,
        _ => OptIn::NearMiss(value.to_string()),
    }
}

pub(super) fn contribute(ingress: &Arc<Ingress>, by_secret: &mut BySecret, rejected: &mut Vec<Rejected>) {
    let source = Source::Ingress(Arc::clone(ingress));
    let mut reject = |reason| {
        let reject = Rejected::of(&source, reason);
        // Some 500,000 empty entries fit into an Ingress.
        if rejected.last() != Some(&reject) {
            rejected.push(reject);
        }
    };
    if ingress.tls.is_empty() {
        reject(Rejection::NoTls);
    }
    for tls in &ingress.tls {
        let Some(secret) = &tls.secret_name else {
            reject(Rejection::NoSecretName {
                hosts: tls.hosts.iter().map(ToString::to_string).collect(),
            });
            continue;
        };
        if tls.hosts.is_empty() {
            reject(Rejection::NoHosts {
                secret: secret.to_string(),
            });
            continue;
        }
        let secret = SecretRef::new(ingress.name.namespace.clone(), secret.clone());
        let certificate = by_secret.get_or_insert(secret);
        let mut hosts = BTreeSet::new();
        for host in &tls.hosts {
            match host.parse::<DnsName>() {
                Ok(name) => drop(hosts.insert(name)),
                Err(problem) => certificate.add_invalid(host, problem),
            }
        }
        certificate.add(&source, hosts.into_iter().collect());
    }
}

/// Records an Ingress without the annotation under each certificate whose Secret it names.
pub(super) fn stand_by(ingress: &Arc<Ingress>, by_secret: &mut BySecret) {
    for tls in &ingress.tls {
        let Some(secret) = &tls.secret_name else { continue };
        let Some(certificate) = by_secret.get_mut(&SecretRef::new(ingress.name.namespace.clone(), secret.clone()))
        else {
            continue;
        };
        let hosts = tls.hosts.iter().filter_map(|host| host.parse().ok()).collect();
        let source = Source::Ingress(Arc::clone(ingress));
        certificate.note_cert_manager(&source);
        certificate.bystanders.push((source, hosts));
    }
}
