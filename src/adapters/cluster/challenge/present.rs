//! Creating the challenge objects of a batch: the backend first, then what routes to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::Cluster;
use super::create::PresentError;
use crate::decide::name::{ClassName, SecretRef};
use crate::decide::observed::{IngressClass, LeftoverKind};
use crate::decide::outcome::Failure;
use crate::decide::route::{
    Backend, Chunk, Home, Route, RuleHost, backend_objects, challenge_ingress, chunks, ingress_name,
};

/// What became of a batch's routes.
#[derive(Debug, Default)]
pub struct Presented {
    /// The certificates with hosts that the API server refuses in an Ingress, and why.
    pub refused: Vec<(SecretRef, Failure)>,
    /// The challenge Ingress of each rule, by the class's name: the same in the field and in the annotation.
    ingresses: BTreeMap<Option<String>, BTreeMap<RuleHost, String>>,
}

impl Presented {
    /// The name of the challenge Ingress that has a route's rule.
    pub fn ingress_of(&self, route: &Route) -> Option<&str> {
        let of_class = self.ingresses.get(&route.class.as_str().map(str::to_owned))?;
        of_class.get(&route.rule).map(String::as_str)
    }
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
        self.present_ingresses(home, routes, classes).await
    }

    /// A refused chunk is halved until the certificate that causes the refusal is alone in its chunk.
    async fn present_ingresses(
        &self,
        home: &Home,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Presented, PresentError> {
        let Presented {
            mut refused,
            mut ingresses,
        } = Presented::default();
        let mut used = BTreeSet::new();
        let mut left: VecDeque<Chunk> = chunks(routes).into();
        while let Some(chunk) = left.pop_front() {
            let name = free_name(&chunk.class, &used);
            // One rule serves all certificates that need it, and some webhooks refuse a second rule of the same host and path.
            let made = ingresses.entry(chunk.class.as_str().map(str::to_owned)).or_default();
            let mut rules = chunk.rules();
            rules.retain(|rule| !made.contains_key(rule));
            if rules.is_empty() {
                continue;
            }
            let ingress = challenge_ingress(home, name.clone(), &chunk.class, &rules, classes);
            match self.make(LeftoverKind::Ingress, home, &ingress).await {
                Ok(_) => {
                    made.extend(rules.into_iter().map(|rule| (rule, name.clone())));
                    used.insert(name);
                }
                Err(PresentError::Cluster(error)) if error.is_refused_by_admission() => match chunk.halve() {
                    Some((first, second)) => {
                        left.push_front(second);
                        left.push_front(first);
                    }
                    None => {
                        let failure = Failure::new(error.to_string(), error.hint());
                        let secrets = chunk.secrets().into_iter().cloned();
                        refused.extend(secrets.map(|secret| (secret, failure.clone())));
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(Presented { refused, ingresses })
    }
}

/// The first of a class's names that no other chunk has. Two classes may have the same names: the field and the annotation
/// have the same value, or two values give the same label. With a shared name, the object of another chunk would be taken
/// for this chunk's own.
fn free_name(class: &ClassName, used: &BTreeSet<String>) -> String {
    let mut index = 0;
    loop {
        let name = ingress_name(class, index);
        if !used.contains(&name) {
            return name;
        }
        index += 1;
    }
}
