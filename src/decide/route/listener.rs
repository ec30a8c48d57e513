//! The listener of a Gateway by which a CA's question comes in, and the host of the route that answers it (I8).

use std::sync::Arc;

use super::rule::{ListenerRef, RuleHost};
use crate::decide::name::{DnsName, SourceRef};
use crate::decide::observed::{Gateway, HttpRoute, Listener, Parent, covers};

/// The listener that gets plain HTTP requests for a host: of the Gateway, or of any ListenerSet that adds to it. The one on port
/// 80 with the most specific hostname. Another port may be what a load balancer forwards port 80 to.
pub(in crate::decide) fn http_listener(
    of: &Gateway,
    gateways: &[Arc<Gateway>],
    host: &DnsName,
) -> Option<(ListenerRef, i32)> {
    let of_family = gateways.iter().filter(|it| !it.deleting && root(it) == root(of));
    let listeners = of_family.flat_map(|owner| owner.listeners.iter().map(move |listener| (owner, listener)));
    let taking = listeners.filter(|(_, listener)| listener.is_http());
    taking
        .filter_map(|(owner, listener)| Some((listener.takes(host)?, owner, listener)))
        .max_by_key(|(specific, owner, listener)| (listener.port == 80, *specific, owner.name == of.name))
        .map(|(_, owner, listener)| (reference(owner, listener), listener.port))
}

fn root(gateway: &Gateway) -> &SourceRef {
    gateway.parent.as_ref().unwrap_or(&gateway.name)
}

fn reference(owner: &Gateway, listener: &Listener) -> ListenerRef {
    ListenerRef {
        gateway: owner.name.clone(),
        section: listener.name.clone(),
    }
}

/// The hostname of the route that serves a host at a listener now; nothing where none does. A route that is more specific than
/// that takes the host away from it in implementations that look for a host first and then for a path.
pub(in crate::decide) fn served_by(
    listener: &ListenerRef,
    port: i32,
    routes: &[HttpRoute],
    host: &DnsName,
) -> Option<RuleHost> {
    let attached = |parent: &Parent| {
        parent.name == listener.gateway
            && parent
                .section
                .as_ref()
                .is_none_or(|section| *section == listener.section)
            && parent.port.is_none_or(|its| its == port)
    };
    let serving = routes
        .iter()
        .filter(|route| !route.serves_only_challenges && route.parents.iter().any(attached));
    let specific = |route: &HttpRoute| {
        let names = route.hostnames.iter();
        let covering = names.filter_map(|name| Some((covers(name, host)?, Some(name.clone()))));
        match route.hostnames.is_empty() {
            true => Some((0, None)),
            false => covering.max_by_key(|(specific, _)| *specific),
        }
    };
    let (_, name) = serving.filter_map(specific).max_by_key(|(specific, _)| *specific)?;
    match name {
        Some(name) => Some(RuleHost::Named(name.parse().ok()?)),
        None => Some(RuleHost::Any),
    }
}
