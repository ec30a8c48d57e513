//! Gateways, ListenerSets and HTTPRoutes. A cluster may have none of these kinds, and a run no right to list them.

use std::sync::Arc;

use serde::de::IgnoredAny;

use crate::decide::name::SourceKind;
use crate::decide::observed::{
    Gateway, GatewayClass, GatewayClassObject, GatewayObject, HttpRoute, HttpRouteObject, Unseen, complete,
};

use super::ingresses::Scope;
use super::target::Target;
use super::{Cluster, ClusterError};

/// What there is of Gateways.
#[derive(Debug)]
pub struct Gateways {
    /// Gateways and ListenerSets.
    pub gateways: Vec<Arc<Gateway>>,
    /// Why there are none, where the API server does not serve the kind to this run.
    pub unseen: Option<Unseen>,
}

impl Cluster {
    /// Every Gateway and ListenerSet in scope. That the cluster has no such kind, or this run no right to list it, is no error.
    ///
    /// # Errors
    /// Where the API server fails: then it is not known who wants a certificate (I2).
    pub async fn list_gateways(&self, scope: &Scope) -> Result<Gateways, ClusterError> {
        let mut gateways = match self.list_kind(scope, SourceKind::Gateway, "gateways").await {
            Ok(gateways) => gateways,
            Err(error) if is_not_served(&error) => {
                let outdated = error.is_not_found() && self.has_outdated_gateways(scope).await;
                return Ok(Gateways {
                    gateways: Vec::new(),
                    unseen: Some(match outdated {
                        true => Unseen::Outdated,
                        false if error.is_forbidden() => Unseen::Forbidden(error.to_string()),
                        false => Unseen::NotServed(error.to_string()),
                    }),
                });
            }
            Err(error) => return Err(error),
        };
        // Where ListenerSets are served, XListenerSets are what they were before, or nothing.
        for (kind, plural) in [
            (SourceKind::ListenerSet, "listenersets"),
            (SourceKind::XListenerSet, "xlistenersets"),
        ] {
            match self.list_kind(scope, kind, plural).await {
                Ok(sets) => {
                    gateways.extend(sets);
                    break;
                }
                Err(error) if is_not_served(&error) => {}
                Err(error) => return Err(error),
            }
        }
        complete(&mut gateways);
        Ok(Gateways {
            gateways: gateways.into_iter().map(Arc::new).collect(),
            unseen: None,
        })
    }

    async fn list_kind(&self, scope: &Scope, kind: SourceKind, plural: &str) -> Result<Vec<Gateway>, ClusterError> {
        let target = |namespace: Option<&str>| Target::at(kind.group(), kind.version(), plural, kind.kind(), namespace);
        let keep = |object: GatewayObject| Some(object.into_gateway(kind));
        self.list_scope(scope, target, keep).await
    }

    /// Whether there are Gateways, and the API server knows them only as what they were before `v1`.
    async fn has_outdated_gateways(&self, scope: &Scope) -> bool {
        let kind = SourceKind::Gateway;
        let target = |namespace: Option<&str>| Target::at(kind.group(), "v1beta1", "gateways", kind.kind(), namespace);
        let listed = self.list_scope(scope, target, |_: IgnoredAny| Some(())).await;
        listed.is_ok_and(|gateways| !gateways.is_empty())
    }

    /// Every GatewayClass.
    ///
    /// # Errors
    /// Where the API server fails, or this run may not list them.
    pub async fn list_gateway_classes(&self) -> Result<Vec<GatewayClass>, ClusterError> {
        let target = Target::at(
            SourceKind::Gateway.group(),
            "v1",
            "gatewayclasses",
            "GatewayClass",
            None,
        );
        self.list(&target, None, false, |object: GatewayClassObject| Some(object.into()))
            .await
    }

    /// Every HTTPRoute in scope: what serves the hosts of Gateways. None where the kind is not served, or not to this run: then a
    /// challenge HTTPRoute could not be made either.
    ///
    /// # Errors
    /// Where the API server fails.
    pub async fn list_http_routes(&self, scope: &Scope) -> Result<Vec<HttpRoute>, ClusterError> {
        match self
            .list_scope(scope, http_routes, |object: HttpRouteObject| Some(object.into()))
            .await
        {
            Err(error) if is_not_served(&error) => Ok(Vec::new()),
            listed => listed,
        }
    }
}

/// HTTPRoutes of a namespace, or of all.
pub(super) fn http_routes(namespace: Option<&str>) -> Target {
    Target::at(SourceKind::Gateway.group(), "v1", "httproutes", "HTTPRoute", namespace)
}

/// Whether the cluster does not have the kind, or this run no right to it.
pub(super) fn is_not_served(error: &ClusterError) -> bool {
    error.is_not_found() || error.is_forbidden()
}
