//! Which namespace a host belongs to (I6).

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::certificate::Certificate;
use crate::decide::observed::Ingress;

/// Who owns each host: the oldest Ingress that has it in `rules` or `tls`, by creation time, then namespace and name,
/// the rule by which ingress controllers settle the same conflict (I6).
pub(super) fn owners<'a>(ingresses: &[&'a Arc<Ingress>]) -> HashMap<&'a str, &'a Ingress> {
    let age = |ingress: &&Arc<Ingress>| ingress.created.unwrap_or(Timestamp::MAX);
    let mut by_age = ingresses.to_vec();
    by_age.sort_by(|a, b| age(a).cmp(&age(b)).then_with(|| a.name.cmp(&b.name)));
    let mut owners = HashMap::new();
    for ingress in by_age {
        let hosts = ingress
            .rule_hosts
            .iter()
            .chain(ingress.tls.iter().flat_map(|tls| &tls.hosts));
        for host in hosts {
            owners.entry(host.as_str()).or_insert(&**ingress);
        }
    }
    owners
}

pub(super) fn add_claims(certificate: &mut Certificate, owners: &HashMap<&str, &Ingress>) {
    for host in &certificate.hosts {
        let Some(owner) = owners.get(host.as_str()) else {
            continue;
        };
        if owner.name.namespace != certificate.secret.namespace {
            certificate.claimed.push((host.clone(), owner.name.clone()));
        }
    }
}
