//! Which namespace a host belongs to (I6).

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use super::certificate::Certificate;
use crate::decide::name::SourceRef;
use crate::decide::observed::{Gateway, Ingress};

/// What may own hosts.
#[derive(Clone, Copy)]
pub(super) enum Claimant<'a> {
    Ingress(&'a Ingress),
    Gateway(&'a Gateway),
}

impl<'a> Claimant<'a> {
    fn namespace(self) -> &'a CompactString {
        match self {
            Self::Ingress(it) => &it.name.namespace,
            Self::Gateway(it) => &it.name.namespace,
        }
    }

    fn place(self) -> SourceRef {
        match self {
            Self::Ingress(it) => (&it.name).into(),
            Self::Gateway(it) => it.name.clone(),
        }
    }

    fn age(self) -> (Timestamp, &'a CompactString, &'a CompactString) {
        let (created, namespace, name) = match self {
            Self::Ingress(it) => (it.created, &it.name.namespace, &it.name.name),
            Self::Gateway(it) => (it.created, &it.name.namespace, &it.name.name),
        };
        (created.unwrap_or(Timestamp::MAX), namespace, name)
    }
}

/// Who owns each host: the oldest Ingress that has it in `rules` or `tls`, or Gateway or ListenerSet that has a listener for it,
/// by creation time, then namespace and name, the rule by which controllers settle the same conflict (I6). An HTTPRoute owns
/// nothing: on a shared Gateway the namespace of the listener is the one that has the certificate.
pub(super) fn owners<'a>(
    ingresses: &[&'a Arc<Ingress>],
    gateways: &[&'a Arc<Gateway>],
) -> HashMap<&'a str, Claimant<'a>> {
    let ingresses = ingresses.iter().map(|it| Claimant::Ingress(it));
    let mut by_age: Vec<_> = ingresses
        .chain(gateways.iter().map(|it| Claimant::Gateway(it)))
        .collect();
    by_age.sort_by_key(|claimant| claimant.age());
    let mut owners = HashMap::new();
    let mut claim = |host: &'a CompactString, by| {
        owners.entry(host.as_str()).or_insert(by);
    };
    for claimant in by_age {
        match claimant {
            Claimant::Ingress(ingress) => {
                let listed = ingress.tls.iter().flat_map(|tls| &tls.hosts);
                ingress
                    .rule_hosts
                    .iter()
                    .chain(listed)
                    .for_each(|host| claim(host, claimant));
            }
            Claimant::Gateway(gateway) => {
                let listed = gateway
                    .listeners
                    .iter()
                    .filter_map(|listener| listener.hostname.as_ref());
                listed.for_each(|host| claim(host, claimant));
            }
        }
    }
    owners
}

pub(super) fn add_claims(certificate: &mut Certificate, owners: &HashMap<&str, Claimant<'_>>) {
    for host in &certificate.hosts {
        let Some(owner) = owners.get(host.as_str()) else {
            continue;
        };
        if *owner.namespace() != certificate.secret.namespace {
            certificate.claimed.push((host.clone(), owner.place()));
        }
    }
}
