//! The challenge objects of Gateways as values: HTTPRoutes, and the ReferenceGrants that let them lead to the home namespace.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::objects::{CHALLENGE_NAME, Home, SERVICE_PORT};
use super::rule::{ListenerRef, RuleHost};
use crate::decide::name::HOME_LABEL;
use crate::decide::observed::CHALLENGE_PATH;

/// The most hostnames of an HTTPRoute (`spec.hostnames`, `maxItems`).
pub const HTTP_ROUTE_HOSTNAMES: usize = 16;
/// The most entries of a ReferenceGrant (`spec.from`, `maxItems`).
const GRANT_ENTRIES: usize = 16;

/// The name of a Gateway's `index`-th challenge HTTPRoute, counted from 0: `kube-lego-once-<home namespace>-<gateway>[-N]`. Runs of
/// two installations may go on at the same time.
pub fn http_route_name(home: &Home, listener: &ListenerRef, index: usize) -> String {
    let gateway: String = listener.gateway.name.chars().take(150).collect();
    let gateway = gateway.trim_end_matches(['-', '.']);
    let name = format!("{CHALLENGE_NAME}-{}-{gateway}", home.namespace);
    match index {
        0 => name,
        n => format!("{name}-{n}"),
    }
}

/// A challenge HTTPRoute for these hosts at listeners, beside them; [`HTTP_ROUTE_HOSTNAMES`] at most.
///
/// A route without hostnames is for all hosts of the listener that no other route names: [`RuleHost::Any`] stands alone.
pub fn challenge_http_route(home: &Home, name: String, listener: &ListenerRef, rules: &[RuleHost]) -> Value {
    let gateway = &listener.gateway;
    let mut metadata = home.metadata(name);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(HOME_LABEL.to_owned(), home.namespace.clone());
    if gateway.namespace != home.namespace {
        metadata.namespace = Some(gateway.namespace.to_string());
        // The garbage collector deletes an object whose owner is in another namespace.
        metadata.owner_references = None;
    }
    let hostnames: Vec<&str> = rules
        .iter()
        .filter_map(RuleHost::name)
        .map(|name| name.as_str())
        .collect();
    let mut parent = json!({"group": gateway.kind.group(), "kind": gateway.kind.kind(), "name": gateway.name});
    if let Some(section) = &listener.section {
        parent["sectionName"] = json!(section);
    }
    if let Some(port) = listener.port {
        parent["port"] = json!(port);
    }
    let mut spec = json!({
        "parentRefs": [parent],
        "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": CHALLENGE_PATH}}],
            "backendRefs": [{"name": CHALLENGE_NAME, "namespace": home.namespace, "port": SERVICE_PORT}],
        }],
    });
    if !hostnames.is_empty() {
        spec["hostnames"] = json!(hostnames);
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": spec,
    })
}

/// What lets HTTPRoutes of these namespaces lead to the challenge Service; nothing for the home namespace itself.
pub fn reference_grants(home: &Home, namespaces: &BTreeSet<&str>) -> Vec<Value> {
    let others: Vec<Value> = namespaces
        .iter()
        .filter(|namespace| **namespace != home.namespace)
        .map(|namespace| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": namespace}))
        .collect();
    let grant = |(index, from): (usize, &[Value])| {
        let name = match index {
            0 => CHALLENGE_NAME.to_owned(),
            n => format!("{CHALLENGE_NAME}-{n}"),
        };
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1",
            "kind": "ReferenceGrant",
            "metadata": home.metadata(name),
            "spec": {"from": from, "to": [{"group": "", "kind": "Service", "name": CHALLENGE_NAME}]},
        })
    };
    others.chunks(GRANT_ENTRIES).enumerate().map(grant).collect()
}
