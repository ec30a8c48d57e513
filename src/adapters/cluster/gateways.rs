//! Gateways, ListenerSets and HTTPRoutes. A cluster may have none of these kinds, and a run no right to list them.

use std::sync::Arc;

use crate::decide::name::SourceKind;
use crate::decide::observed::{Gateway, GatewayObject, HttpRoute, HttpRouteObject};

use super::ingresses::Scope;
use super::target::Target;
use super::{Cluster, ClusterError};

/// What there is of Gateways.
#[derive(Debug, Default)]
pub struct Gateways {
    /// Gateways and ListenerSets.
    pub gateways: Vec<Arc<Gateway>>,
    /// Why there are none, where the API server does not serve the kind to this run.
    pub unseen: Option<String>,
    /// Whether there may be some all the same: the kind may be served, and this run has no right to list it.
    pub hidden: bool,
}

impl Cluster {
    /// Every Gateway and ListenerSet in scope. That the cluster has no such kind, or this run no right to list it, is no error.
    ///
    /// # Errors
    /// Where the API server fails: then it is not known who wants a certificate (I2).
    pub async fn list_gateways(&self, scope: &Scope) -> Result<Gateways, ClusterError> {
        let mut found = Gateways::default();
        match self.list_kind(scope, SourceKind::Gateway, "gateways").await {
            Ok(gateways) => found.gateways = gateways,
            Err(error) if is_not_served(&error) => {
                found.hidden = error.is_forbidden();
                found.unseen = Some(error.to_string());
                return Ok(found);
            }
            Err(error) => return Err(error),
        }
        // Where ListenerSets are served, XListenerSets are what they were before, or nothing.
        for (kind, plural) in [
            (SourceKind::ListenerSet, "listenersets"),
            (SourceKind::XListenerSet, "xlistenersets"),
        ] {
            match self.list_kind(scope, kind, plural).await {
                Ok(sets) => {
                    found.gateways.extend(sets);
                    break;
                }
                Err(error) if is_not_served(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn list_kind(
        &self,
        scope: &Scope,
        kind: SourceKind,
        plural: &str,
    ) -> Result<Vec<Arc<Gateway>>, ClusterError> {
        let target = |namespace: Option<&str>| Target::at(kind.group(), kind.version(), plural, kind.kind(), namespace);
        let keep = |object: GatewayObject| Some(Arc::new(object.into_gateway(kind)));
        self.list_scope(scope, target, keep).await
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
