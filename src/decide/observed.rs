//! The value that a plan is made from, and its making from the API's objects (I1).
//!
//! The adapters bring the objects, from a cluster or from files; what is kept of them is decided here, once for both.

mod gateway;
mod http_route;
mod secret;
mod source;
mod uid;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1 as networking;
use litemap::LiteMap;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::ledger::Ledger;
use super::name::{ClassName, IngressRef, SecretRef};

pub use gateway::{
    Admits, CertificateRef, Gateway, GatewayClass, GatewayClassObject, GatewayObject, Listener, Unseen, complete,
    covers,
};
pub use http_route::{HttpRoute, HttpRouteObject, Parent};
pub use secret::{CERT_MANAGER, Secret, SecretVersion, Texts};
pub use source::Source;
pub use uid::Uid;

/// Where an ACME client's challenges live (RFC 8555 section 8.3), without the last `/`.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge";

/// The path of the rules of a challenge Ingress.
pub const CHALLENGE_PREFIX: &str = "/.well-known/acme-challenge/";

/// The outcome of a read: a failure is unknown, never missing (I2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// What was there.
    Found(T),
    /// The API server said "not found".
    Absent,
    /// The read failed. Boxed, since it is the rare and the largest one, and every Secret has a place for it.
    Unknown(Box<Unread>),
}

impl<T> Read<T> {
    /// What was there, if anything is known to have been.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

impl<T> From<Read<T>> for Read<Arc<T>> {
    fn from(read: Read<T>) -> Self {
        match read {
            Read::Found(value) => Self::Found(value.into()),
            Read::Absent => Self::Absent,
            Read::Unknown(unread) => Self::Unknown(unread),
        }
    }
}

/// Why a read failed, and what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unread {
    /// Operation, object and cause.
    pub why: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

impl From<&str> for Box<Unread> {
    fn from(why: &str) -> Self {
        Self::new(Unread {
            why: why.to_owned(),
            hint: None,
        })
    }
}

/// All that a plan is made from.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The time of the observation.
    pub now: Timestamp,
    /// Every Ingress in sight, annotated or not: claims and unions need them all.
    /// Shared with the plan: a contribution is one of them.
    pub ingresses: Vec<Arc<Ingress>>,
    /// Every Gateway and ListenerSet in sight, annotated or not.
    pub gateways: Vec<Arc<Gateway>>,
    /// Why Gateways are not known, where the cluster has none of the kind or this run may not list them. That is a note only
    /// where somebody asks for one.
    pub gateways_unseen: Option<Unseen>,
    /// Every HTTPRoute in sight: what serves the hosts of Gateways. None are read where no Gateway wants a certificate.
    pub http_routes: Vec<HttpRoute>,
    /// The cluster's GatewayClasses, as far as they are known. None are read where no Gateway wants a certificate.
    pub gateway_classes: Vec<GatewayClass>,
    /// Whether Ingresses of other namespaces could not be read: then who serves a host is not known for certain.
    pub namespaces_unseen: bool,
    /// Ingresses of versions that no cluster serves any more: only files can hold such.
    pub retired: Vec<RetiredIngress>,
    /// The Secrets that annotated Ingresses name.
    /// Shared with the plan: most decisions keep what is there.
    pub secrets: BTreeMap<SecretRef, Read<Arc<Secret>>>,
    /// The namespaces that are being deleted.
    pub terminating_namespaces: Vec<String>,
    /// The cluster's IngressClasses; nobody needs them to plan, so a failed read is a note.
    pub classes: Read<Vec<IngressClass>>,
    /// What earlier runs left to be known.
    pub ledger: Read<Ledger>,
    /// The URL of the account at the policy's directory, where it is known.
    pub account: Option<String>,
    /// Objects that carry our label.
    pub leftovers: Vec<Leftover>,
    /// Who holds the Lease.
    pub lease_holder: Option<String>,
    /// Renewal windows by Secret, where a CA gave one (RFC 9773).
    pub renewal_windows: BTreeMap<SecretRef, RenewalWindow>,
    /// What the observation could not know: a sentence each.
    pub notes: Vec<String>,
}

impl Observed {
    /// An observation of nothing.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            ingresses: Vec::new(),
            gateways: Vec::new(),
            gateways_unseen: None,
            http_routes: Vec::new(),
            gateway_classes: Vec::new(),
            namespaces_unseen: false,
            retired: Vec::new(),
            secrets: BTreeMap::new(),
            terminating_namespaces: Vec::new(),
            classes: Read::Found(Vec::new()),
            ledger: Read::Absent,
            account: None,
            leftovers: Vec::new(),
            lease_holder: None,
            renewal_windows: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

/// The window in which a CA suggests to renew (RFC 9773 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// `suggestedWindow.start`.
    pub start: Timestamp,
    /// `suggestedWindow.end`.
    pub end: Timestamp,
}

/// Labels or annotations. Most objects have few, for which a map of nodes is ten times as large.
pub type Pairs = LiteMap<CompactString, CompactString>;

/// What is one in nearly every object, for which a vector takes an allocation more.
pub type OneOrMore<T> = SmallVec<[T; 1]>;

/// What a plan needs to know of an Ingress. There may be 100,000: what is empty in nearly all of them is a `ThinVec`, of one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Its place.
    pub name: IngressRef,
    /// `metadata.uid`: what is said about it is said about this one, not its successor. Empty where it is from a file.
    pub uid: Uid,
    /// `metadata.creationTimestamp`: the oldest Ingress of a host owns it.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations, without kubectl's copy of the object.
    pub annotations: Pairs,
    /// Which controller serves it.
    pub class: ClassName,
    /// `spec.tls`.
    pub tls: OneOrMore<Tls>,
    /// The hosts of `spec.rules`, without those that serve nothing but some client's challenges.
    pub rule_hosts: OneOrMore<CompactString>,
    /// Those of `rule_hosts` for which no rule has a path, sorted: the default backend serves them.
    pub pathless_hosts: ThinVec<CompactString>,
    /// Whether it serves hosts that no rule names: by a rule without a host, or by `spec.defaultBackend`.
    pub serves_any_host: bool,
    /// The Services that paths under [`CHALLENGE_PATH`] lead to, each once: some client's.
    pub challenge_services: ThinVec<CompactString>,
    /// The hosts for which it has the very path that a challenge Ingress of ours has, sorted; an empty one for every host.
    pub challenge_hosts: ThinVec<CompactString>,
    /// Whether it serves nothing but challenges.
    pub serves_only_challenges: bool,
    /// Addresses that a controller wrote into the status: IP addresses and host names.
    pub addresses: OneOrMore<CompactString>,
}

/// An Ingress of a version that no cluster serves any more, such as `extensions/v1beta1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredIngress {
    /// Its place.
    pub name: IngressRef,
    /// Its `apiVersion`.
    pub version: String,
    /// Its labels.
    pub labels: Pairs,
    /// Which controller serves it.
    pub class: ClassName,
}

/// An entry of `spec.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `hosts`, as written.
    pub hosts: OneOrMore<CompactString>,
    /// `secretName`, where it is not empty.
    pub secret_name: Option<CompactString>,
}

impl From<networking::Ingress> for Ingress {
    fn from(object: networking::Ingress) -> Self {
        let metadata = object.metadata;
        let annotations = own_annotations(metadata.annotations);
        let spec = object.spec.unwrap_or_default();
        let class = match (spec.ingress_class_name, annotations.get("kubernetes.io/ingress.class")) {
            // The annotation wins where both are set, as in the controllers that still read it.
            (_, Some(name)) if !name.is_empty() => ClassName::Annotation(name.clone()),
            (Some(name), _) if !name.is_empty() => ClassName::Spec(name.into()),
            _ => ClassName::Default,
        };
        let rules = spec.rules.unwrap_or_default();
        let serving = || rules.iter().filter(|rule| !serves_only_challenges(rule));
        let mut pathless_hosts: BTreeSet<&str> = serving().filter_map(rule_host).collect();
        for rule in serving().filter(|rule| !paths(rule).is_empty()) {
            pathless_hosts.remove(rule_host(rule).unwrap_or_default());
        }
        let challenges = rules.iter().flat_map(paths).filter(|path| is_for_challenges(path));
        let mut challenge_services: ThinVec<CompactString> = challenges
            .filter_map(|path| Some(path.backend.service.as_ref()?.name.as_str().into()))
            .collect();
        challenge_services.sort_unstable();
        challenge_services.dedup();
        let is_ours = |path: &networking::HTTPIngressPath| path.path.as_deref() == Some(CHALLENGE_PREFIX);
        let with_our_path = rules.iter().filter(|rule| paths(rule).iter().any(is_ours));
        let challenge_hosts: BTreeSet<&str> = with_our_path.map(|rule| rule_host(rule).unwrap_or_default()).collect();
        Self {
            name: IngressRef::new(
                metadata.namespace.unwrap_or_else(|| "default".into()),
                metadata.name.unwrap_or_default(),
            ),
            uid: metadata.uid.unwrap_or_default().into(),
            created: metadata.creation_timestamp.map(|time| time.0),
            deleting: metadata.deletion_timestamp.is_some(),
            labels: pairs(metadata.labels.unwrap_or_default()),
            class,
            annotations,
            tls: spec
                .tls
                .unwrap_or_default()
                .into_iter()
                .map(|tls| Tls {
                    hosts: tls.hosts.unwrap_or_default().into_iter().map(Into::into).collect(),
                    secret_name: tls.secret_name.filter(|name| !name.is_empty()).map(Into::into),
                })
                .collect(),
            rule_hosts: serving().filter_map(rule_host).map(Into::into).collect(),
            pathless_hosts: pathless_hosts.into_iter().map(Into::into).collect(),
            serves_any_host: spec.default_backend.is_some()
                || serving().any(|rule| rule_host(rule).is_none() && !paths(rule).is_empty()),
            challenge_services,
            challenge_hosts: challenge_hosts.into_iter().map(Into::into).collect(),
            serves_only_challenges: spec.default_backend.is_none()
                && !rules.is_empty()
                && rules.iter().all(serves_only_challenges),
            addresses: object
                .status
                .and_then(|status| status.load_balancer)
                .and_then(|balancer| balancer.ingress)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|point| Some(point.ip.or(point.hostname)?.into()))
                .collect(),
        }
    }
}

/// A rule whose every path lies under the challenge path is some ACME client's, and owns no host.
fn serves_only_challenges(rule: &networking::IngressRule) -> bool {
    let paths = paths(rule);
    !paths.is_empty() && paths.iter().all(is_for_challenges)
}

/// The host that a rule names. An empty one is none, as in the API.
fn rule_host(rule: &networking::IngressRule) -> Option<&str> {
    rule.host.as_deref().filter(|host| !host.is_empty())
}

fn paths(rule: &networking::IngressRule) -> &[networking::HTTPIngressPath] {
    rule.http.as_ref().map(|http| http.paths.as_slice()).unwrap_or_default()
}

fn is_for_challenges(path: &networking::HTTPIngressPath) -> bool {
    let rest = path.path.as_deref().and_then(|path| path.strip_prefix(CHALLENGE_PATH));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All but the copy of the whole object that `kubectl apply` leaves: most of what would be kept of an Ingress.
fn own_annotations(annotations: Option<BTreeMap<String, String>>) -> Pairs {
    let mut annotations = annotations.unwrap_or_default();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    pairs(annotations)
}

fn pairs(map: BTreeMap<String, String>) -> Pairs {
    map.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// What is needed of an IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// `metadata.name`.
    pub name: String,
    /// `spec.controller`.
    pub controller: String,
    /// Whether Ingresses without a class get this one.
    pub is_default: bool,
}

impl From<networking::IngressClass> for IngressClass {
    fn from(object: networking::IngressClass) -> Self {
        let annotations = object.metadata.annotations.unwrap_or_default();
        Self {
            name: object.metadata.name.unwrap_or_default(),
            controller: object.spec.and_then(|spec| spec.controller).unwrap_or_default(),
            is_default: annotations
                .get("ingressclass.kubernetes.io/is-default-class")
                .is_some_and(|value| value == "true"),
        }
    }
}

/// An object that carries our label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The home namespace; of an HTTPRoute, its Gateway's.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: what is deleted is this one, not its successor.
    pub uid: String,
    /// The run that made it, as its label says.
    pub run: String,
}

impl Leftover {
    /// Whether its run is the one that holds the Lease now.
    pub fn is_of(&self, holder: Option<&str>) -> bool {
        holder == Some(self.run.as_str())
    }
}

/// The kinds of objects that a run creates for its challenges, in the order in which they are deleted: what routes first, then
/// what it routes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverKind {
    /// `gateway.networking.k8s.io/v1`, in the namespace of its Gateway.
    HttpRoute,
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `v1`.
    Service,
    /// `discovery.k8s.io/v1`.
    EndpointSlice,
    /// `v1`.
    Endpoints,
    /// `v1`: the solver Pod.
    Pod,
    /// `gateway.networking.k8s.io/v1beta1`: what lets HTTPRoutes of other namespaces lead to the Service.
    ReferenceGrant,
}

impl LeftoverKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::HttpRoute,
        Self::Ingress,
        Self::Service,
        Self::EndpointSlice,
        Self::Endpoints,
        Self::Pod,
        Self::ReferenceGrant,
    ];

    /// The kind as the API has it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::HttpRoute => "HTTPRoute",
            Self::Ingress => "Ingress",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Pod => "Pod",
            Self::ReferenceGrant => "ReferenceGrant",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_copy_that_kubectl_apply_leaves_is_not_kept() {
        let annotations = json!({
            "kubectl.kubernetes.io/last-applied-configuration": "{\"stringData\":{\"tls.key\":\"PRIVATE\"}}",
            "kubernetes.io/tls-acme": "true",
        });
        let object = json!({"metadata": {"annotations": annotations}});
        let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(object.clone()).expect("a Secret");
        let secret = Secret::from(secret);
        assert!(!format!("{secret:?}").contains("PRIVATE"), "{secret:?}");
        let ingress: networking::Ingress = serde_json::from_value(object).expect("an Ingress");
        let ingress = Ingress::from(ingress);
        assert!(!format!("{ingress:?}").contains("PRIVATE"), "{ingress:?}");
        let kept = ingress.annotations.get("kubernetes.io/tls-acme");
        assert_eq!(kept.map(CompactString::as_str), Some("true"));
    }
}
