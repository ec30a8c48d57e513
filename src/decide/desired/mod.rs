//! Ingresses -> the certificates that are wanted. Merges, claims and rejections are data, not errors.

mod certificate;
mod claims;
mod ingress;
mod rejection;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use certificate::{Certificate, Contribution, ISSUER_ANNOTATIONS};
pub use rejection::{Rejected, Rejection};

use claims::{owners, with_claims};
use ingress::{OptIn, contribute, opt_in, stand_by};

use super::name::{IngressRef, SecretRef};
use super::observed::Ingress;

/// Everything that a set of Ingresses asks for.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// One certificate a Secret, sorted.
    pub certificates: Vec<Certificate>,
    /// Annotated Ingresses, or parts of them, that have no Secret to key them by.
    pub rejected: Vec<Rejected>,
    /// Ingresses whose annotation looks like an opt-in and is none: the Ingress and the annotation's value.
    pub near_misses: Vec<(IngressRef, String)>,
}

/// Computes the wanted certificates. `annotation` opts an Ingress in when its value is `true` in any letter case.
pub fn desired(ingresses: &[Arc<Ingress>], annotation: &str) -> Desired {
    let mut desired = Desired::default();
    let mut by_secret: BTreeMap<SecretRef, Certificate> = BTreeMap::new();
    let mut sorted: Vec<&Arc<Ingress>> = ingresses.iter().filter(|ingress| !ingress.deleting).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));

    for ingress in &sorted {
        match opt_in(ingress, annotation) {
            OptIn::Yes => contribute(ingress, &mut by_secret, &mut desired.rejected),
            OptIn::NearMiss(value) => desired.near_misses.push((ingress.name.clone(), value)),
            OptIn::No => {}
        }
    }
    for ingress in &sorted {
        if opt_in(ingress, annotation) != OptIn::Yes {
            stand_by(ingress, &mut by_secret);
        }
    }
    let owners = owners(&sorted);
    desired.certificates = by_secret
        .into_values()
        .map(|certificate| with_claims(certificate, &owners))
        .collect();
    desired.rejected.sort();
    desired.rejected.dedup();
    desired
}
