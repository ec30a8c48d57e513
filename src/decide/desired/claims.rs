//! Which namespace a host belongs to (I6).

use std::collections::HashMap;

use compact_str::CompactString;
use jiff::Timestamp;

use super::certificate::Certificate;
use crate::decide::observed::Source;

/// Who owns each host: the oldest Ingress that has it in `rules` or `tls`, or Gateway or ListenerSet that has a listener for it,
/// by creation time, then namespace and name, the rule by which controllers settle the same conflict (I6). An HTTPRoute owns
/// nothing: on a shared Gateway the namespace of the listener is the one that has the certificate.
pub(super) fn owners(sources: &mut [Source]) -> HashMap<&str, &Source> {
    sources.sort_by(|a, b| age(a).cmp(&age(b)));
    let mut owners = HashMap::new();
    for source in &*sources {
        for host in claimed_hosts(source) {
            owners.entry(host.as_str()).or_insert(source);
        }
    }
    owners
}

fn claimed_hosts(source: &Source) -> Vec<&CompactString> {
    match source {
        Source::Ingress(ingress) => {
            let listed = ingress.tls.iter().flat_map(|tls| &tls.hosts);
            ingress.rule_hosts.iter().chain(listed).collect()
        }
        Source::Gateway(gateway) => {
            let listeners = gateway.listeners.iter();
            listeners.filter_map(|it| it.hostname.as_ref()).collect()
        }
    }
}

fn age(source: &Source) -> (Timestamp, &CompactString, &CompactString) {
    let created = source.created().unwrap_or(Timestamp::MAX);
    (created, source.namespace(), source.name())
}

pub(super) fn add_claims(certificate: &mut Certificate, owners: &HashMap<&str, &Source>) {
    for host in &certificate.hosts {
        let Some(owner) = owners.get(host.as_str()) else {
            continue;
        };
        if *owner.namespace() != certificate.secret.namespace {
            certificate.claimed.push((host.clone(), owner.place()));
        }
    }
}
