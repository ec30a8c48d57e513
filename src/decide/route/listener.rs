//! The listener of a Gateway by which a CA's question comes in, and the host of the route that answers it (I8).

use std::sync::Arc;

use super::rule::{ListenerRef, RuleHost};
use crate::decide::name::{DnsName, SourceRef};
use crate::decide::observed::{Admits, Gateway, GatewayClass, HttpRoute, Listener, Parent, covers};

/// By what `spec.controllerName` of its GatewayClass Contour begins, whichever of its installations it is.
const CONTOUR: &str = "projectcontour.io/";

/// The listener that gets plain HTTP requests for a host: of the Gateway, or of any ListenerSet that adds to it. The one on port
/// 80 with the most specific hostname. Another port may be what a load balancer forwards port 80 to.
///
/// Anybody can make a ListenerSet for any Gateway: another one's that is not accepted has no listener there, and one of which nobody has
/// said so yet is the last choice.
pub(in crate::decide) fn http_listener<'a>(
    of: &Gateway,
    gateways: &'a [Arc<Gateway>],
    host: &DnsName,
) -> Option<(&'a Gateway, &'a Listener)> {
    let is_own = |owner: &Gateway| owner.parent.is_none() || owner.name == of.name;
    let of_family = gateways.iter().filter(|it| !it.deleting && root(it) == root(of));
    let of_family = of_family.filter(|owner| is_own(owner) || owner.accepted != Some(false));
    let listeners = of_family.flat_map(|owner| owner.listeners.iter().map(move |listener| (&**owner, listener)));
    let taking = listeners.filter(|(_, listener)| listener.is_http());
    taking
        .filter_map(|(owner, listener)| Some((listener.takes(host)?, owner, listener)))
        .max_by_key(|(specific, owner, listener)| {
            let is_there = is_own(owner) || owner.accepted == Some(true);
            (is_there, listener.port == 80, *specific, owner.name == of.name)
        })
        .map(|(_, owner, listener)| (owner, listener))
}

fn root(gateway: &Gateway) -> &SourceRef {
    gateway.parent.as_ref().unwrap_or(&gateway.name)
}

/// How HTTPRoutes lead to the responder from a listener of `owner`: where each attaches, and for which host. Mostly it is one.
///
/// A route that is more specific than the one that serves the host takes the host away from it in implementations that look for a
/// host first and then for a path. So ours has the hostname of that one, and attaches as that one does: there is no listener then
/// where it names a host that was not named before.
///
/// Contour (1.33) ignores a hostname at a listener if another listener of the Gateway has it, on whatever port, unless the route
/// attaches to that one too; and no route does before the Secret is there. The plainest Gateway, a listener for HTTP and one with a
/// hostname for HTTPS, has no host at the former until then. A route without hostnames is what is left, and takes nothing away.
pub(in crate::decide) fn ways_in(
    owner: &Gateway,
    listener: &Listener,
    routes: &[HttpRoute],
    classes: &[GatewayClass],
    host: &DnsName,
) -> Vec<(ListenerRef, RuleHost)> {
    let here = ListenerRef {
        gateway: owner.name.clone(),
        section: Some(listener.name.clone()),
        port: None,
    };
    let served = served_by(owner, listener, routes, host).and_then(|(route, parent, name)| {
        let rule = match name {
            Some(name) => RuleHost::Named(name.parse().ok()?),
            None => RuleHost::Any,
        };
        Some((
            attached_like(route, parent, owner, listener).unwrap_or_else(|| here.clone()),
            rule,
        ))
    });
    let mut ways = vec![served.unwrap_or_else(|| (here.clone(), RuleHost::Named(host.clone())))];
    if is_contour(owner, classes) && ways.iter().all(|(_, rule)| *rule != RuleHost::Any) {
        ways.push((here, RuleHost::Any));
    }
    ways
}

/// By its class's controller; where no class of the name is known, by the name.
fn is_contour(gateway: &Gateway, classes: &[GatewayClass]) -> bool {
    let class = classes.iter().find(|class| class.name == gateway.class);
    class.map_or(gateway.class == "contour", |class| {
        class.controller.starts_with(CONTOUR)
    })
}

/// What serves a host at a listener now: a route, how it attaches, and its hostname, where it has any; nothing where none does.
/// Of several with the same hostname, one that attaches to more.
fn served_by<'a>(
    owner: &Gateway,
    listener: &Listener,
    routes: &'a [HttpRoute],
    host: &DnsName,
) -> Option<(&'a HttpRoute, &'a Parent, Option<&'a str>)> {
    let serving = routes.iter().filter(|route| !route.serves_only_challenges);
    let serving = serving.filter_map(|route| Some((route, attached(route, owner, listener)?)));
    serving
        .filter_map(|(route, parent)| Some((hostname_for(route, host)?, route, parent)))
        .max_by_key(|((specific, _), _, parent)| (*specific, parent.section.is_none(), parent.port.is_none()))
        .map(|((_, name), route, parent)| (route, parent, name))
}

/// The `parentRef` by which a route attaches to a listener. Anybody can make a route for any Gateway: one that is not admitted serves
/// nothing.
fn attached<'a>(route: &'a HttpRoute, owner: &Gateway, listener: &Listener) -> Option<&'a Parent> {
    if route.namespace != owner.name.namespace && listener.admits == Admits::Same {
        return None;
    }
    let here = |parent: &&Parent| {
        parent.name == owner.name
            && !parent.detached
            && parent.section.as_ref().is_none_or(|section| *section == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    };
    let here = route.parents.iter().filter(here);
    here.max_by_key(|parent| (parent.section.is_none(), parent.port.is_none()))
}

/// The most specific hostname by which a route serves a host, and how specific it is.
fn hostname_for<'a>(route: &'a HttpRoute, host: &DnsName) -> Option<(usize, Option<&'a str>)> {
    if route.hostnames.is_empty() {
        return Some((0, None));
    }
    let covering = route
        .hostnames
        .iter()
        .filter_map(|name| Some((covers(name, host)?, Some(name.as_str()))));
    covering.max_by_key(|(specific, _)| *specific)
}

/// How specific the hostname is by which a route at a listener serves a host; nothing where it does not.
pub(in crate::decide) fn specificity(
    route: &HttpRoute,
    owner: &Gateway,
    listener: &Listener,
    host: &DnsName,
) -> Option<usize> {
    attached(route, owner, listener)?;
    hostname_for(route, host).map(|(specific, _)| specific)
}

/// The same attachment for a route in the Gateway's own namespace; nothing where it would reach listeners that this one does not.
fn attached_like(route: &HttpRoute, parent: &Parent, owner: &Gateway, listener: &Listener) -> Option<ListenerRef> {
    let mut others = owner
        .listeners
        .iter()
        .filter(|it| it.name != listener.name && it.admits_http_routes);
    let same = route.namespace == owner.name.namespace || others.all(|it| it.admits == Admits::All);
    same.then(|| ListenerRef {
        gateway: owner.name.clone(),
        section: parent.section.clone(),
        port: parent.port,
    })
}
