//! Gateways, ListenerSets and HTTPRoutes: what a plan needs to know of them, and its reading from the API's objects.
//!
//! Only the few fields that a plan asks for are typed. The kept crate of these types needs a newer compiler than this program
//! does, and would hold all the other fields in memory while a page is read.
//! Fields as in <https://gateway-api.sigs.k8s.io/reference/spec/>.

use std::collections::BTreeMap;

use compact_str::CompactString;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{CHALLENGE_PATH, OneOrMore, Pairs, Uid, own_annotations, pairs};
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
    /// Whether the condition `Accepted` is true: of a ListenerSet that its Gateway has its listeners.
    pub accepted: bool,
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

/// What serves hosts of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// `metadata.namespace`.
    pub namespace: CompactString,
    /// `metadata.name`.
    pub name: CompactString,
    /// `spec.hostnames`; none for every host of its listeners.
    pub hostnames: Vec<CompactString>,
    /// `spec.parentRefs`.
    pub parents: Vec<Parent>,
    /// Whether each of its matches is under the challenge path: some ACME client's.
    pub serves_only_challenges: bool,
    /// Whether one of its matches is the very one that a challenge HTTPRoute of ours has.
    pub has_challenge_path: bool,
}

/// An entry of `spec.parentRefs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The Gateway or ListenerSet.
    pub name: SourceRef,
    /// `sectionName`: one of its listeners.
    pub section: Option<CompactString>,
    /// `port`.
    pub port: Option<i32>,
    /// The condition `Accepted` of the route at this parent, where a controller has written one.
    pub accepted: Option<bool>,
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
struct ParentRef {
    group: Option<CompactString>,
    kind: Option<CompactString>,
    namespace: Option<CompactString>,
    name: CompactString,
    section_name: Option<CompactString>,
    port: Option<i32>,
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
            accepted: conditions.and_then(accepted) == Some(true),
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

impl ParentRef {
    fn into_parent(self, namespace: &str) -> Parent {
        let kind = SourceKind::of_parent(self.group.as_deref(), self.kind.as_deref());
        let namespace = self.namespace.unwrap_or_else(|| namespace.into());
        Parent {
            name: SourceRef::new(kind, namespace, self.name),
            section: self.section_name,
            port: self.port,
            accepted: None,
        }
    }
}

/// An HTTPRoute, as the API has it.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpRouteObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: HttpRouteSpec,
    #[serde(default)]
    status: Option<HttpRouteStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct HttpRouteStatus {
    parents: Option<Vec<ParentStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParentStatus {
    parent_ref: ParentRef,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRouteSpec {
    hostnames: Option<Vec<CompactString>>,
    parent_refs: Option<Vec<ParentRef>>,
    rules: Option<Vec<HttpRouteRule>>,
}

#[derive(Clone, Debug, Deserialize)]
struct HttpRouteRule {
    matches: Option<Vec<HttpRouteMatch>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpRouteMatch {
    path: Option<HttpPathMatch>,
    headers: Option<Vec<IgnoredAny>>,
    query_params: Option<Vec<IgnoredAny>>,
}

#[derive(Clone, Debug, Deserialize)]
struct HttpPathMatch {
    #[serde(rename = "type")]
    type_: Option<CompactString>,
    value: Option<CompactString>,
}

impl From<HttpRouteObject> for HttpRoute {
    fn from(object: HttpRouteObject) -> Self {
        let namespace = object.metadata.namespace.unwrap_or_else(|| "default".into());
        let rules = object.spec.rules.unwrap_or_default();
        let is_challenge = |it: &HttpRouteMatch| {
            let path = it.path.as_ref().and_then(|path| path.value.as_deref());
            let rest = path.and_then(|path| path.strip_prefix(CHALLENGE_PATH));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // A rule without matches is for every path.
        let only_challenges = |rule: &HttpRouteRule| {
            let matches = rule.matches.as_deref().unwrap_or_default();
            !matches.is_empty() && matches.iter().all(is_challenge)
        };
        // `PathPrefix` is the default, and a `/` at its end says nothing.
        let is_ours = |it: &HttpRouteMatch| {
            let path = it.path.as_ref().and_then(|path| path.value.as_deref());
            let prefix = it.path.as_ref().and_then(|path| path.type_.as_deref());
            prefix.is_none_or(|type_| type_ == "PathPrefix")
                && path.is_some_and(|path| path.trim_end_matches('/') == CHALLENGE_PATH)
                && it.headers.iter().chain(&it.query_params).all(Vec::is_empty)
        };
        let mut matches = rules.iter().flat_map(|rule| rule.matches.iter().flatten());
        let told: Vec<Parent> = object
            .status
            .and_then(|status| status.parents)
            .into_iter()
            .flatten()
            .map(|told| Parent {
                accepted: told.conditions.as_deref().and_then(accepted),
                ..told.parent_ref.into_parent(&namespace)
            })
            .collect();
        // One that several controllers have an opinion of is accepted where one of them does so.
        let accepted = |parent: &Parent| {
            let same = |it: &&Parent| (&it.name, &it.section, it.port) == (&parent.name, &parent.section, parent.port);
            told.iter().filter(same).filter_map(|it| it.accepted).max()
        };
        Self {
            has_challenge_path: matches.any(is_ours),
            name: object.metadata.name.unwrap_or_default().into(),
            hostnames: object.spec.hostnames.unwrap_or_default(),
            parents: object
                .spec
                .parent_refs
                .into_iter()
                .flatten()
                .map(|parent| parent.into_parent(&namespace))
                .map(|parent| Parent {
                    accepted: accepted(&parent),
                    ..parent
                })
                .collect(),
            serves_only_challenges: !rules.is_empty() && rules.iter().all(only_challenges),
            namespace: namespace.into(),
        }
    }
}
