//! The routes of a batch, class by class, in parts that one challenge object can carry.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{Route, RuleHost, Via};
use crate::decide::name::SecretRef;

/// Rules in one challenge Ingress. At about 300 bytes each an Ingress stays well under what etcd takes (1.5 MiB).
pub const RULES_PER_INGRESS: usize = 200;

/// Some routes of one door, to become one challenge Ingress, or HTTPRoutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The door.
    pub via: Via,
    /// The routes, sorted by certificate.
    pub routes: Vec<Route>,
}

impl Chunk {
    /// The certificates that need it.
    pub fn secrets(&self) -> BTreeSet<&SecretRef> {
        self.routes.iter().map(|route| &route.secret).collect()
    }

    /// The hosts of its rules, each once, whichever certificates need it.
    pub fn rules(&self) -> BTreeSet<RuleHost> {
        self.routes.iter().map(|route| route.rule.clone()).collect()
    }

    /// Two chunks of about the same number of certificates each; nothing where there is only one certificate.
    pub fn halve(&self) -> Option<(Self, Self)> {
        let secrets = self.secrets();
        let pivot = (*secrets.iter().nth(secrets.len() / 2)?).clone();
        let (left, right): (Vec<_>, Vec<_>) = self.routes.iter().cloned().partition(|route| route.secret < pivot);
        if left.is_empty() {
            return None;
        }
        Some((
            Self {
                via: self.via.clone(),
                routes: left,
            },
            Self {
                via: self.via.clone(),
                routes: right,
            },
        ))
    }
}

/// The routes of a batch by door, in chunks that one Ingress can carry. A certificate's routes stay together.
pub fn chunks(routes: &BTreeSet<Route>) -> Vec<Chunk> {
    let mut by_door: BTreeMap<&Via, BTreeMap<&SecretRef, Vec<&Route>>> = BTreeMap::new();
    for route in routes {
        by_door
            .entry(&route.via)
            .or_default()
            .entry(&route.secret)
            .or_default()
            .push(route);
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    for (via, certificates) in by_door {
        let mut open = Chunk {
            via: via.clone(),
            routes: Vec::new(),
        };
        for routes in certificates.into_values() {
            if !open.routes.is_empty() && open.routes.len() + routes.len() > RULES_PER_INGRESS {
                let full = std::mem::replace(
                    &mut open,
                    Chunk {
                        via: via.clone(),
                        routes: Vec::new(),
                    },
                );
                chunks.push(full);
            }
            open.routes.extend(routes.into_iter().cloned());
        }
        chunks.push(open);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::name::ClassName;

    fn route(secret: usize, host: &str) -> Route {
        Route {
            via: Via::Class(ClassName::Spec("contour".into())),
            host: host.parse().expect("a host"),
            rule: RuleHost::Named(host.parse().expect("a host")),
            secret: SecretRef::new("web", format!("s{secret:03}")),
        }
    }

    #[test]
    fn a_chunk_is_full_before_the_next_begins_and_holds_whole_certificates() {
        let routes: BTreeSet<Route> = (0..150)
            .flat_map(|n| [route(n, &format!("a{n}.example")), route(n, &format!("b{n}.example"))])
            .collect();
        let chunks = chunks(&routes);
        let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.routes.len()).collect();
        assert_eq!(sizes, [200, 100]);
        assert!(chunks[0].secrets().is_disjoint(&chunks[1].secrets()));
    }

    #[test]
    fn halving_ends_with_each_certificate_alone() {
        let routes: BTreeSet<Route> = (0..7).map(|n| route(n, &format!("a{n}.example"))).collect();
        let mut open = chunks(&routes);
        let mut alone = 0;
        while let Some(chunk) = open.pop() {
            match chunk.halve() {
                Some((left, right)) => open.extend([left, right]),
                None => alone += 1,
            }
        }
        assert_eq!(alone, 7);
    }

    #[test]
    fn a_host_that_two_certificates_need_is_one_rule() {
        let chunk = Chunk {
            via: Via::Class(ClassName::Annotation("nginx".into())),
            routes: vec![route(1, "a.example"), route(2, "a.example")],
        };
        assert_eq!(chunk.rules().len(), 1);
    }
}
