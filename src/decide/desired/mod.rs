//! Ingresses, Gateways and ListenerSets -> the certificates that are wanted. Merges, claims and rejections are data, not errors.
#![expect(
    clippy::vec_box,
    reason = "each certificate goes into its decision as it is: two copies of all at once would be the peak of a run"
)]

mod certificate;
mod claims;
mod gateway;
mod ingress;
mod rejection;

use std::collections::HashMap;
use std::sync::Arc;

pub use certificate::{Certificate, Contribution, ISSUER_ANNOTATIONS};
pub use rejection::{Rejected, Rejection};

use claims::{add_claims, owners};
use ingress::{OptIn, opt_in};

use super::name::{SecretRef, SourceRef};
use super::observed::{Gateway, Ingress, Source};

/// Everything that Ingresses, Gateways and ListenerSets ask for.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// One certificate a Secret, sorted.
    pub certificates: Vec<Box<Certificate>>,
    /// Annotated objects, or parts of them, that have no Secret to key them by.
    pub rejected: Vec<Rejected>,
    /// Objects whose annotation looks like an opt-in and is none: the object and the annotation's value.
    pub near_misses: Vec<(SourceRef, String)>,
}

/// Certificates, found by their Secret. A map of them would be twice as large as they are.
#[derive(Default)]
struct BySecret {
    certificates: Vec<Box<Certificate>>,
    places: HashMap<SecretRef, usize>,
}

impl BySecret {
    fn get_or_insert(&mut self, secret: SecretRef) -> &mut Certificate {
        let place = *self.places.entry(secret).or_insert_with_key(|secret| {
            self.certificates.push(Box::new(Certificate::of(secret.clone())));
            self.certificates.len() - 1
        });
        &mut self.certificates[place]
    }

    fn get_mut(&mut self, secret: &SecretRef) -> Option<&mut Certificate> {
        let place = self.places.get(secret)?;
        self.certificates.get_mut(*place).map(|certificate| &mut **certificate)
    }

    fn into_sorted(mut self) -> Vec<Box<Certificate>> {
        for certificate in &mut self.certificates {
            certificate.settle();
        }
        self.certificates.shrink_to_fit();
        self.certificates.sort_unstable_by(|a, b| a.secret.cmp(&b.secret));
        self.certificates
    }
}

/// Computes the wanted certificates. `annotation` opts an object in when its value is `true` in any letter case.
pub fn desired(ingresses: &[Arc<Ingress>], gateways: &[Arc<Gateway>], annotation: &str) -> Desired {
    let mut desired = Desired::default();
    let mut by_secret = BySecret::default();
    let mut sorted: Vec<&Arc<Ingress>> = ingresses.iter().filter(|ingress| !ingress.deleting).collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut listening: Vec<&Arc<Gateway>> = gateways.iter().filter(|gateway| !gateway.deleting).collect();
    listening.sort_by(|a, b| a.name.cmp(&b.name));

    for ingress in &sorted {
        match opt_in(&ingress.annotations, annotation) {
            OptIn::Yes => ingress::contribute(ingress, &mut by_secret, &mut desired.rejected),
            OptIn::NearMiss(value) => desired.near_misses.push(((&ingress.name).into(), value)),
            OptIn::No => {}
        }
    }
    for gateway in &listening {
        match opt_in(&gateway.annotations, annotation) {
            OptIn::Yes => gateway::contribute(gateway, &mut by_secret, &mut desired.rejected),
            OptIn::NearMiss(value) => desired.near_misses.push((gateway.name.clone(), value)),
            OptIn::No => {}
        }
    }
    for ingress in &sorted {
        if opt_in(&ingress.annotations, annotation) != OptIn::Yes {
            ingress::stand_by(ingress, &mut by_secret);
        }
    }
    for gateway in &listening {
        if opt_in(&gateway.annotations, annotation) != OptIn::Yes {
            gateway::stand_by(gateway, &mut by_secret);
        }
    }
    desired.certificates = by_secret.into_sorted();
    let ingresses = sorted.into_iter().map(|it| Source::Ingress(Arc::clone(it)));
    let gateways = listening.into_iter().map(|it| Source::Gateway(Arc::clone(it)));
    let mut sources: Vec<Source> = ingresses.chain(gateways).collect();
    let owners = owners(&mut sources);
    for certificate in &mut desired.certificates {
        add_claims(certificate, &owners);
    }
    desired.rejected.sort();
    desired.rejected.dedup();
    desired
}
