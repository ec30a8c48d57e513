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

impl Cluster {
    /// Creates the backend and, for each class, the challenge Ingresses. Returns the certificates with hosts that the API
    /// server refuses in an Ingress, and why.
    ///
    /// The future may be dropped at any time. [`Cluster::withdraw`] finds all that was created, also an object whose creation
    /// was not finished.
    pub async fn present(
        &self,
        home: &Home,
        backend: &Backend,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Vec<(SecretRef, Failure)>, PresentError> {
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
    ) -> Result<Vec<(SecretRef, Failure)>, PresentError> {
        let mut refused = Vec::new();
        let mut used = BTreeSet::new();
        // By the class's name, whether it is in the field or in the annotation.
        let mut made: BTreeMap<Option<String>, BTreeSet<RuleHost>> = BTreeMap::new();
        let mut left: VecDeque<Chunk> = chunks(routes).into();
        while let Some(chunk) = left.pop_front() {
            let name = free_name(&chunk.class, &used);
            // One rule serves all certificates that need it, and some webhooks refuse a second rule of the same host and path.
            let made = made.entry(chunk.class.as_str().map(str::to_owned)).or_default();
            let rules: BTreeSet<RuleHost> = chunk.rules().difference(made).cloned().collect();
            if rules.is_empty() {
                continue;
            }
            let ingress = challenge_ingress(home, name.clone(), &chunk.class, &rules, classes);
            match self.make(LeftoverKind::Ingress, home, &ingress).await {
                Ok(_) => {
                    used.insert(name);
                    made.extend(rules);
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
        Ok(refused)
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
