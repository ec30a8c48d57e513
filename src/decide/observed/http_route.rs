//! HTTPRoutes: what serves the hosts of Gateways, and its reading from the API's objects.
//!
//! Fields as in <https://gateway-api.sigs.k8s.io/reference/spec/>.

use compact_str::CompactString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::CHALLENGE_PATH;
use crate::decide::name::{SourceKind, SourceRef};

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
    /// Whether the parent's controller has written that the route attaches to no listener there.
    pub detached: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentRef {
    group: Option<CompactString>,
    kind: Option<CompactString>,
    namespace: Option<CompactString>,
    name: CompactString,
    section_name: Option<CompactString>,
    port: Option<i32>,
}

impl ParentRef {
    pub(super) fn into_parent(self, namespace: &str) -> Parent {
        let kind = SourceKind::of_parent(self.group.as_deref(), self.kind.as_deref());
        let namespace = self.namespace.unwrap_or_else(|| namespace.into());
        Parent {
            name: SourceRef::new(kind, namespace, self.name),
            section: self.section_name,
            port: self.port,
            detached: false,
        }
    }
}

/// Reasons of `Accepted` with which a route attaches to nothing (`RouteConditionReason` of the Gateway API). With others a part of it may
/// be served: Contour (1.33) leaves out a filter that it does not know.
const DETACHED: &[&str] = &[
    "NotAllowedByListeners",
    "NoMatchingParent",
    "NoMatchingListenerHostname",
];

fn is_detached(conditions: &[Condition]) -> bool {
    let mut accepted = conditions.iter().filter(|condition| condition.type_ == "Accepted");
    accepted.any(|condition| condition.status == "False" && DETACHED.contains(&condition.reason.as_str()))
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
                detached: told.conditions.as_deref().is_some_and(is_detached),
                ..told.parent_ref.into_parent(&namespace)
            })
            .collect();
        // Several controllers may have an opinion of one parent.
        let detached = |parent: &Parent| {
            let same = |it: &&Parent| (&it.name, &it.section, it.port) == (&parent.name, &parent.section, parent.port);
            let told: Vec<&Parent> = told.iter().filter(same).collect();
            !told.is_empty() && told.iter().all(|it| it.detached)
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
                    detached: detached(&parent),
                    ..parent
                })
                .collect(),
            serves_only_challenges: !rules.is_empty() && rules.iter().all(only_challenges),
            namespace: namespace.into(),
        }
    }
}
