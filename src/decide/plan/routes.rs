//! What must be answered for, so that the CA can validate each host, and by which rule (I8).

use std::collections::BTreeSet;

use super::Decision;
use crate::decide::checks::classes;
use crate::decide::desired::Contribution;
use crate::decide::name::DnsName;
use crate::decide::observed::{Gateway, Ingress, Observed, Source};
use crate::decide::route::{Route, RuleHost, Serving, Via, controller, http_listener, ways_in};

/// Adds the routes of a certificate that is to be obtained.
pub(super) fn add(decision: &mut Decision, serving: &Serving<'_>, observed: &Observed) {
    let mut unserved: BTreeSet<DnsName> = BTreeSet::new();
    for contribution in decision.certificate.contributions.clone() {
        match &contribution.source {
            Source::Ingress(ingress) => {
                unserved.extend(add_by_class(decision, &contribution, ingress, serving, observed));
            }
            Source::Gateway(gateway) => add_by_listener(decision, &contribution, gateway, observed),
        }
    }
    if observed.namespaces_unseen && !unserved.is_empty() {
        let hosts: Vec<_> = unserved.iter().map(|host| format!("`{host}`")).collect();
        decision.notes.push(format!(
            "visitors of {} may get 404 during the challenge: an Ingress in another namespace, which this run cannot see, may serve the host by a wildcard rule or a default backend",
            hosts.join(", ")
        ));
    }
}

/// Where no Ingress in sight serves a host, the exact host is right, unless one that is out of sight does: those are returned.
fn add_by_class(
    decision: &mut Decision,
    contribution: &Contribution,
    ingress: &Ingress,
    serving: &Serving<'_>,
    observed: &Observed,
) -> Vec<DnsName> {
    let mut unserved = Vec::new();
    let row = controller(&ingress.class, classes(observed));
    for host in &contribution.hosts {
        let rule = serving.rule(&ingress.class, host).unwrap_or_else(|| {
            unserved.push(host.clone());
            RuleHost::Named(host.clone())
        });
        if let Some(name) = row.tls_by_rule.filter(|_| rule.name() != Some(host)) {
            decision.notes.push(format!(
                "{name} serves a certificate only for hosts that a rule names, and {rule} serve `{host}`: add a rule for `{host}` to ingress `{}`",
                ingress.name
            ));
        }
        decision.routes.push(Route {
            via: Via::Class(ingress.class.clone()),
            host: host.clone(),
            rule,
            secret: decision.certificate.secret.clone(),
        });
    }
    unserved
}

/// A host without a listener has a route by an Ingress, or the certificate is refused ([`super::Reason::NoHttpListener`]).
fn add_by_listener(decision: &mut Decision, contribution: &Contribution, gateway: &Gateway, observed: &Observed) {
    for host in &contribution.hosts {
        let Some((owner, listener)) = http_listener(gateway, &observed.gateways, host) else {
            continue;
        };
        let ways = ways_in(owner, listener, &observed.http_routes, &observed.gateway_classes, host);
        decision.routes.extend(ways.into_iter().map(|(listener, rule)| Route {
            via: Via::Listener(listener),
            host: host.clone(),
            rule,
            secret: decision.certificate.secret.clone(),
        }));
    }
}
