//! The kinds of challenge objects, and which objects of a list are ours.

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::gateways::http_routes;
use super::super::target::Target;
use crate::decide::name::{HOME_LABEL, RUN_LABEL, SourceKind};
use crate::decide::observed::{Leftover, LeftoverKind};
use crate::decide::route::CHALLENGE_NAME;

/// Where objects of a kind are looked for, and by which labels, beside those of `selector`: HTTPRoutes stand beside their
/// Gateways, so those of other home namespaces are among them; all others stand in the home namespace.
pub(super) fn everywhere(kind: LeftoverKind, home_namespace: &str, selector: &str) -> (Target, String) {
    match kind {
        LeftoverKind::HttpRoute => (http_routes(None), format!("{selector},{HOME_LABEL}={home_namespace}")),
        kind => (target(kind, home_namespace), selector.to_owned()),
    }
}

/// Whether a cluster may be without the kind, and a run without the right to it.
pub(super) fn is_of_gateways(kind: LeftoverKind) -> bool {
    matches!(kind, LeftoverKind::HttpRoute | LeftoverKind::ReferenceGrant)
}

#[allow(deprecated, reason = "haproxy-ingress v0.14 reads nothing but Endpoints")]
pub(super) fn target(kind: LeftoverKind, namespace: &str) -> Target {
    let namespace = Some(namespace);
    match kind {
        LeftoverKind::HttpRoute => http_routes(namespace),
        LeftoverKind::ReferenceGrant => Target::at(
            SourceKind::Gateway.group(),
            "v1beta1",
            "referencegrants",
            "ReferenceGrant",
            namespace,
        ),
        LeftoverKind::Ingress => Target::of::<Ingress>(namespace, None),
        LeftoverKind::Service => Target::of::<core::Service>(namespace, None),
        LeftoverKind::EndpointSlice => Target::of::<EndpointSlice>(namespace, None),
        LeftoverKind::Endpoints => Target::of::<core::Endpoints>(namespace, None),
        LeftoverKind::Pod => Target::of::<core::Pod>(namespace, None),
    }
}

/// Whether a Kubernetes controller made the object. Such controllers copy a Service's labels to the objects that they make
/// from it, and delete them with it. This program has no right to delete them and need not.
fn is_a_controllers(metadata: &ObjectMeta) -> bool {
    let managed = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    managed("endpointslice.kubernetes.io/managed-by").is_some_and(|by| by != CHALLENGE_NAME)
        || managed("endpoints.kubernetes.io/managed-by").is_some()
}

pub(super) fn leftover(kind: LeftoverKind, namespace: &str, metadata: ObjectMeta) -> Option<Leftover> {
    if is_a_controllers(&metadata) {
        return None;
    }
    Some(Leftover {
        kind,
        namespace: metadata.namespace.unwrap_or_else(|| namespace.to_owned()),
        name: metadata.name?,
        uid: metadata.uid?,
        run: metadata.labels?.remove(RUN_LABEL)?,
    })
}
