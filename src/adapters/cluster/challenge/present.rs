//! Creating the challenge objects of a batch: the backend first, then what routes to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::Cluster;
use super::create::PresentError;
use crate::decide::name::{ClassName, SecretRef};
use crate::decide::observed::{IngressClass, LeftoverKind};
use crate::decide::outcome::Failure;
use crate::decide::route::{
    Backend, Chunk, HTTP_ROUTE_HOSTNAMES, Home, ListenerRef, Route, RuleHost, Via, backend_objects,
    challenge_http_route, challenge_ingress, chunks, http_route_name, ingress_name, reference_grants,
};

/// What became of a batch's routes.
#[derive(Debug, Default)]
pub struct Presented {
    /// The certificates whose challenge object could not be made, and why.
    pub refused: Vec<(SecretRef, Failure)>,
    /// The challenge object of each rule, by its door; of a class by its name, the same in the field and in the annotation.
    objects: BTreeMap<Door, BTreeMap<RuleHost, String>>,
}

impl Presented {
    /// The name of the challenge Ingress or HTTPRoute that has a route's rule.
    pub fn object_of(&self, route: &Route) -> Option<&str> {
        self.objects
            .get(&door(&route.via))?
            .get(&route.rule)
            .map(String::as_str)
    }
}

type Door = (Option<String>, Option<ListenerRef>);

fn door(via: &Via) -> Door {
    let class = via.class().and_then(ClassName::as_str);
    (class.map(str::to_owned), via.listener().cloned())
}

impl Cluster {
    /// Creates the backend and, for each class, the challenge Ingresses.
    ///
    /// The future may be dropped at any time. [`Cluster::withdraw`] finds all that was created, also an object whose creation
    /// was not finished.
    pub async fn present(
        &self,
        home: &Home,
        backend: &Backend,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Presented, PresentError> {
        let objects = backend_objects(home, backend);
        self.make(LeftoverKind::Service, home, &objects.service).await?;
        if let Some(slice) = &objects.endpoint_slice {
            self.make(LeftoverKind::EndpointSlice, home, slice).await?;
        }
        if let Some(endpoints) = &objects.endpoints {
            self.make(LeftoverKind::Endpoints, home, endpoints).await?;
        }
        let listeners = routes.iter().filter_map(|route| route.via.listener());
        let namespaces = listeners.map(|listener| listener.gateway.namespace.as_str()).collect();
        for grant in reference_grants(home, &namespaces) {
            let name = grant["metadata"]["name"].as_str().unwrap_or_default();
            let kind = LeftoverKind::ReferenceGrant;
            match self.make_at(kind, home, &home.namespace, name, &grant).await {
                Ok(_) => {}
                // That costs the certificates of Gateways, and no other.
                Err(error) => {
                    let (closed, open): (BTreeSet<Route>, BTreeSet<Route>) =
                        routes.iter().cloned().partition(|route| route.via.listener().is_some());
                    let mut presented = self.present_routes(home, &open, classes).await?;
                    let secrets: BTreeSet<SecretRef> = closed.into_iter().map(|route| route.secret).collect();
                    presented.refused.extend(refusals(secrets, &error));
                    return Ok(presented);
                }
            }
        }
        self.present_routes(home, routes, classes).await
    }

    /// A refused chunk is halved until the certificate that causes the refusal is alone in its chunk.
    async fn present_routes(
        &self,
        home: &Home,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Presented, PresentError> {
        let Presented {
            mut refused,
            mut objects,
        } = Presented::default();
        let mut used = BTreeSet::new();
        let mut left: VecDeque<Chunk> = chunks(routes).into();
        while let Some(chunk) = left.pop_front() {
            // One rule serves all certificates that need it, and some webhooks refuse a second rule of the same host and path.
            let made = objects.entry(door(&chunk.via)).or_default();
            let mut rules = chunk.rules();
            rules.retain(|rule| !made.contains_key(rule));
            if rules.is_empty() {
                continue;
            }
            match self
                .present_chunk(home, &chunk.via, rules, classes, &mut used, made)
                .await
            {
                Ok(()) => {}
                Err(error) => {
                    let by_admission =
                        matches!(&error, PresentError::Cluster(error) if error.is_refused_by_admission());
                    match chunk.halve().filter(|_| by_admission) {
                        Some((first, second)) => {
                            left.push_front(second);
                            left.push_front(first);
                        }
                        // A kind that is half installed, a missing right, or a name that is taken in a namespace of others: that
                        // costs the certificates of the Gateway, and no other.
                        None if by_admission || chunk.via.listener().is_some() => {
                            refused.extend(refusals(chunk.secrets().into_iter().cloned(), &error));
                        }
                        None => return Err(error),
                    }
                }
            }
        }
        Ok(Presented { refused, objects })
    }

    /// One Ingress, or as many HTTPRoutes as the rules need. What was made stays noted where a later one is refused.
    async fn present_chunk(
        &self,
        home: &Home,
        via: &Via,
        rules: BTreeSet<RuleHost>,
        classes: &[IngressClass],
        used: &mut BTreeSet<(String, String)>,
        made: &mut BTreeMap<RuleHost, String>,
    ) -> Result<(), PresentError> {
        let listener = match via {
            Via::Class(class) => {
                let name = free_name(&home.namespace, used, |index| ingress_name(class, index));
                let ingress = challenge_ingress(home, name.clone(), class, &rules, classes);
                self.make(LeftoverKind::Ingress, home, &ingress).await?;
                used.insert((home.namespace.clone(), name.clone()));
                made.extend(rules.into_iter().map(|rule| (rule, name.clone())));
                return Ok(());
            }
            Via::Listener(listener) => listener,
        };
        let namespace = listener.gateway.namespace.as_str();
        // A route without hostnames is for all of them, so it cannot be one of a list.
        let (any, named): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| *rule == RuleHost::Any);
        let parts = named.chunks(HTTP_ROUTE_HOSTNAMES).chain(any.chunks(1));
        for part in parts {
            let name = free_name(namespace, used, |index| http_route_name(home, listener, index));
            let route = challenge_http_route(home, name.clone(), listener, part);
            self.make_at(LeftoverKind::HttpRoute, home, namespace, &name, &route)
                .await?;
            used.insert((namespace.to_owned(), name.clone()));
            made.extend(part.iter().map(|rule| (rule.clone(), name.clone())));
        }
        Ok(())
    }
}

fn refusals(
    secrets: impl IntoIterator<Item = SecretRef>,
    error: &PresentError,
) -> impl Iterator<Item = (SecretRef, Failure)> {
    let failure = Failure::new(error.to_string(), error.hint());
    secrets.into_iter().map(move |secret| (secret, failure.clone()))
}

/// The first of a class's names that no other chunk has. Two classes may have the same names: the field and the annotation
/// have the same value, or two values give the same label. With a shared name, the object of another chunk would be taken
/// for this chunk's own.
fn free_name(namespace: &str, used: &BTreeSet<(String, String)>, named: impl Fn(usize) -> String) -> String {
    let mut index = 0;
    loop {
        let name = named(index);
        if !used.contains(&(namespace.to_owned(), name.clone())) {
            return name;
        }
        index += 1;
    }
}
