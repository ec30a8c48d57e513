//! What a Gateway or a ListenerSet wants: its listeners that end TLS name hosts and Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compact_str::CompactString;

use super::BySecret;
use super::rejection::{Rejected, Rejection};
use crate::decide::name::{DnsName, SecretRef};
use crate::decide::observed::{CertificateRef, Gateway, Listener, Source};

pub(super) fn contribute(gateway: &Arc<Gateway>, by_secret: &mut BySecret, rejected: &mut Vec<Rejected>) {
    let source = Source::Gateway(Arc::clone(gateway));
    let mut reject = |reason| rejected.push(Rejected::of(&source, reason));
    let listeners: Vec<&Listener> = gateway.listeners.iter().filter(|it| it.has_certificate()).collect();
    if listeners.is_empty() {
        reject(Rejection::NoHttpsListener);
    }
    let mut wanted: BTreeMap<SecretRef, BTreeSet<&str>> = BTreeMap::new();
    for listener in listeners {
        let name = || listener.name.to_string();
        if listener.passthrough {
            reject(Rejection::Passthrough { listener: name() });
            continue;
        }
        let Some(hostname) = &listener.hostname else {
            reject(Rejection::NoHostname { listener: name() });
            continue;
        };
        if listener.certificates.is_empty() {
            reject(Rejection::NoCertificateRef { listener: name() });
        }
        for reference in &listener.certificates {
            match secret(gateway, listener, reference) {
                Ok(secret) => drop(wanted.entry(secret).or_default().insert(hostname)),
                Err(reason) => reject(reason),
            }
        }
    }
    for (secret, hostnames) in wanted {
        let certificate = by_secret.get_or_insert(secret);
        let mut hosts = BTreeSet::new();
        for hostname in hostnames {
            match hostname.parse::<DnsName>() {
                Ok(name) => drop(hosts.insert(name)),
                Err(problem) => certificate.add_invalid(hostname, problem),
            }
        }
        certificate.add(&source, hosts.into_iter().collect());
    }
}

/// The Secret that a reference names, if it is one of this namespace.
fn secret(gateway: &Gateway, listener: &Listener, reference: &CertificateRef) -> Result<SecretRef, Rejection> {
    if reference.kind != "Secret" || !reference.group.is_empty() {
        return Err(Rejection::UnsupportedReference {
            listener: listener.name.to_string(),
            kind: reference.kind.to_string(),
            name: reference.name.to_string(),
        });
    }
    let own = &gateway.name.namespace;
    match reference.namespace.as_ref().filter(|namespace| *namespace != own) {
        Some(other) => Err(Rejection::CrossNamespaceReference {
            listener: listener.name.to_string(),
            namespace: other.to_string(),
            secret: reference.name.to_string(),
        }),
        None => Ok(SecretRef::new(own.clone(), reference.name.clone())),
    }
}

/// Records a Gateway without the annotation under each certificate whose Secret it names.
pub(super) fn stand_by(gateway: &Arc<Gateway>, by_secret: &mut BySecret) {
    let listeners = gateway
        .listeners
        .iter()
        .filter(|it| it.has_certificate() && !it.passthrough);
    let mut named: BTreeMap<SecretRef, BTreeSet<&CompactString>> = BTreeMap::new();
    for listener in listeners {
        let references = listener.certificates.iter();
        for secret in references.filter_map(|reference| secret(gateway, listener, reference).ok()) {
            named.entry(secret).or_default().extend(&listener.hostname);
        }
    }
    for (secret, hostnames) in named {
        let Some(certificate) = by_secret.get_mut(&secret) else {
            continue;
        };
        let hosts = hostnames.into_iter().filter_map(|host| host.parse().ok()).collect();
        let source = Source::Gateway(Arc::clone(gateway));
        certificate.note_cert_manager(&source);
        certificate.bystanders.push((source, hosts));
    }
}
