//! Gateways and ListenerSets: what a plan needs to know of them, and its reading from the API's objects.
//!
//! Only the few fields that a plan asks for are typed. The kept crate of these types needs a newer compiler than this program
//! does, and would hold all the other fields in memory while a page is read.
//! Fields as in <https://gateway-api.sigs.k8s.io/reference/spec/>.

use std::collections::BTreeMap;

use compact_str::CompactString;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Deserialize;

use super::http_route::ParentRef;
use super::{OneOrMore, Pairs, Uid, own_annotations, pairs};
use crate::decide::name::{DnsName, SourceKind, SourceRef};

/// Why a run knows of no Gateways.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// The API server does not serve the kind: there are none.
    #[error("{0}")]
    NotServed(String),
    /// This run may not list them: there may be some.
    #[error("{0}")]
    Forbidden(String),
    /// There are some, in a cluster whose Gateway API is older than v1.0 of 2023-10.
    #[error(
        "the API server serves them as `gateway.networking.k8s.io/v1beta1` only, and `v1` is needed: bring the kinds of the Gateway API up to date"
    )]
    Outdated,
}

/// A Gateway, or a ListenerSet that adds listeners to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its place and kind.
    pub name: SourceRef,
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations, without kubectl's copy of the object.
    pub annotations: Pairs,
    /// `spec.gatewayClassName`; a ListenerSet has its Gateway's, and an empty one if that is not there.
    pub class: CompactString,
    /// `spec.parentRef` of a ListenerSet: its Gateway.
    pub parent: Option<SourceRef>,
    /// `spec.listeners`.
    pub listeners: Vec<Listener>,
    /// `status.addresses`; of a ListenerSet its Gateway's.
    pub addresses: OneOrMore<CompactString>,
    /// The condition `Accepted`, where a controller has written one: whether a Gateway has the listeners of a ListenerSet.
    pub accepted: Option<bool>,
    /// Which of the conditions `Accepted` and `Programmed` is false, and its message.
    pub trouble: Option<String>,
}

/// An entry of `spec.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name: the `sectionName` of a route that attaches to it.
    pub name: CompactString,
    /// Its hostname, as written, where it is not empty.
    pub hostname: Option<CompactString>,
    /// Its port.
    pub port: i32,
    /// Its protocol: `HTTP`, `HTTPS`, `TLS` or another one.
    pub protocol: CompactString,
    /// Whether `tls.mode` is `Passthrough`: the application has the certificate.
    pub passthrough: bool,
    /// `tls.certificateRefs`.
    pub certificates: Vec<CertificateRef>,
    /// Whether `allowedRoutes` admits HTTPRoutes of its own namespace, as far as that can be told without the namespace's labels.
    pub admits_http_routes: bool,
    /// The namespaces whose routes it admits.
    pub admits: Admits,
}

/// The namespaces whose routes a listener admits (`allowedRoutes.namespaces.from`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// Its own.
    Same,
    /// Every one.
    All,
    /// Those with certain labels, which this program does not read.
    Selector,
}

/// An entry of `tls.certificateRefs`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// The API group; empty for that of Secrets.
    #[serde(default)]
    pub group: CompactString,
    /// The kind: `Secret` unless said.
    #[serde(default = "secret")]
    pub kind: CompactString,
    /// The namespace, where it is not the Gateway's.
    #[serde(default)]
    pub namespace: Option<CompactString>,
    /// The name.
    pub name: CompactString,
}

fn secret() -> CompactString {
    "Secret".into()
}

impl Listener {
    /// Whether it ends TLS with a certificate.
    pub fn has_certificate(&self) -> bool {
        matches!(self.protocol.as_str(), "HTTPS" | "TLS")
    }

    /// Whether a question of the CA may come in here: HTTP-01 asks by plain HTTP (RFC 8555 section 8.3).
    pub fn is_http(&self) -> bool {
        self.protocol == "HTTP" && self.admits_http_routes
    }

    /// How specific the hostname is by which it takes a host; nothing where it does not.
    pub fn takes(&self, host: &DnsName) -> Option<usize> {
        self.hostname.as_ref().map_or(Some(0), |name| covers(name, host))
    }
}

/// How specific a hostname is that covers a host; nothing where it does not. A wildcard covers any number of labels
/// (`Hostname` of the Gateway API).
pub fn covers(pattern: &str, host: &DnsName) -> Option<usize> {
    if pattern == host.as_str() {
        return Some(usize::MAX);
    }
    let suffix = pattern.strip_prefix('*').filter(|rest| rest.starts_with('.'))?;
    (!host.is_wildcard() && host.as_str().ends_with(suffix)).then_some(suffix.len())
}

/// Gives ListenerSets what they have of their Gateways: the class, and the addresses, which their own status does not have.
pub fn complete(gateways: &mut [Gateway]) {
    let roots: BTreeMap<SourceRef, (CompactString, OneOrMore<CompactString>)> = gateways
        .iter()
        .filter(|gateway| gateway.parent.is_none())
        .map(|gateway| (gateway.name.clone(), (gateway.class.clone(), gateway.addresses.clone())))
        .collect();
    for gateway in gateways {
        if let Some((class, addresses)) = gateway.parent.as_ref().and_then(|parent| roots.get(parent)) {
            gateway.class.clone_from(class);
            gateway.addresses.clone_from(addresses);
        }
    }
}

/// What is needed of a GatewayClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayClass {
    /// `metadata.name`.
    pub name: CompactString,
    /// `spec.controllerName`.
    pub controller: CompactString,
}

/// A GatewayClass, as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub struct GatewayClassObject {
    /// `metadata`.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: GatewayClassSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayClassSpec {
    #[serde(default)]
    controller_name: CompactString,
}

impl From<GatewayClassObject> for GatewayClass {
    fn from(object: GatewayClassObject) -> Self {
        Self {
            name: object.metadata.name.unwrap_or_default().into(),
            controller: object.spec.controller_name,
        }
    }
}

/// A Gateway or a ListenerSet, as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub struct GatewayObject {
    /// `metadata`.
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: GatewaySpec,
    #[serde(default)]
    status: Option<GatewayStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    #[serde(default)]
    gateway_class_name: CompactString,
    parent_ref: Option<ParentRef>,
    listeners: Option<Vec<ListenerObject>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerObject {
    name: CompactString,
    hostname: Option<CompactString>,
    // Of XListenerSets it may be left to the controller.
    #[serde(default)]
    port: i32,
    protocol: CompactString,
    tls: Option<ListenerTls>,
    allowed_routes: Option<AllowedRoutes>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerTls {
    mode: Option<CompactString>,
    certificate_refs: Option<Vec<CertificateRef>>,
}

#[derive(Clone, Debug, Deserialize)]
struct AllowedRoutes {
    namespaces: Option<RouteNamespaces>,
    kinds: Option<Vec<RouteKind>>,
}

#[derive(Clone, Debug, Deserialize)]
struct RouteNamespaces {
    from: Option<CompactString>,
}

#[derive(Clone, Debug, Deserialize)]
struct RouteKind {
    kind: CompactString,
}

#[derive(Clone, Debug, Deserialize)]
struct GatewayStatus {
    addresses: Option<Vec<Address>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    value: CompactString,
}

impl GatewayObject {
    /// What a plan needs of it.
    pub fn into_gateway(self, kind: SourceKind) -> Gateway {
        let status = self.status;
        let namespace = self.metadata.namespace.unwrap_or_else(|| "default".into());
        let parent = self.spec.parent_ref.map(|parent| parent.into_parent(&namespace).name);
        let conditions = status.as_ref().and_then(|status| status.conditions.as_deref());
        Gateway {
            uid: self.metadata.uid.unwrap_or_default().into(),
            created: self.metadata.creation_timestamp.map(|time| time.0),
            deleting: self.metadata.deletion_timestamp.is_some(),
            labels: pairs(self.metadata.labels.unwrap_or_default()),
            annotations: own_annotations(self.metadata.annotations),
            class: self.spec.gateway_class_name,
            parent,
            listeners: self.spec.listeners.into_iter().flatten().map(Listener::from).collect(),
            accepted: conditions.and_then(accepted),
            trouble: conditions.and_then(trouble),
            addresses: status
                .and_then(|status| status.addresses)
                .into_iter()
                .flatten()
                .map(|address| address.value)
                .collect(),
            name: SourceRef::new(kind, namespace, self.metadata.name.unwrap_or_default()),
        }
    }
}

/// What the condition `Accepted` says.
fn accepted(conditions: &[Condition]) -> Option<bool> {
    let condition = conditions.iter().find(|condition| condition.type_ == "Accepted")?;
    match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// `Programmed` is not set before `Accepted` is true.
fn trouble(conditions: &[Condition]) -> Option<String> {
    let is_false = |type_: &&str| {
        let mut of_type = conditions.iter().filter(|condition| condition.type_ == **type_);
        of_type.find(|condition| condition.status == "False")
    };
    ["Accepted", "Programmed"].iter().find_map(|type_| {
        let condition = is_false(type_)?;
        Some(format!(
            "is not `{type_}` ({}): {}",
            condition.reason, condition.message
        ))
    })
}

impl From<ListenerObject> for Listener {
    fn from(object: ListenerObject) -> Self {
        let allowed = object.allowed_routes.as_ref();
        let kinds = allowed.and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
        let from = allowed.and_then(|allowed| allowed.namespaces.as_ref()?.from.as_deref());
        let (mode, certificates) = match object.tls {
            Some(tls) => (tls.mode, tls.certificate_refs.unwrap_or_default()),
            None => (None, Vec::new()),
        };
        Self {
            name: object.name,
            hostname: object.hostname.filter(|name| !name.is_empty()),
            port: object.port,
            admits: match from {
                Some("All") => Admits::All,
                Some("Selector") => Admits::Selector,
                _ => Admits::Same,
            },
            admits_http_routes: from != Some("None")
                && (kinds.is_empty() || kinds.iter().any(|kind| kind.kind == "HTTPRoute")),
            passthrough: mode.is_some_and(|mode| mode == "Passthrough"),
            protocol: object.protocol,
            certificates,
        }
    }
}
