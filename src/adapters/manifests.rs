//! `-f`: files, folders and stdin -> objects, each with file and document number.

use std::path::PathBuf;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;

use crate::decide::observed::RetiredIngress;

/// The objects of some manifests that a plan is made from; every other kind was ignored.
#[derive(Debug, Default)]
pub struct Manifests {
    /// `networking.k8s.io/v1`.
    pub ingresses: Vec<networking::Ingress>,
    /// Of versions that no cluster serves any more.
    pub retired: Vec<RetiredIngress>,
    /// `v1`.
    pub secrets: Vec<core::Secret>,
    /// `networking.k8s.io/v1`.
    pub classes: Vec<networking::IngressClass>,
    /// `v1`.
    pub namespaces: Vec<core::Namespace>,
    /// What looks like a mistake.
    pub warnings: Vec<String>,
}

/// Why manifests could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read manifests: {0}")]
pub struct ManifestError(String);

/// Reads files, folders and stdin (`-`).
pub fn read(_paths: &[PathBuf], _recursive: bool) -> Result<Manifests, ManifestError> {
    Err(ManifestError("not yet".into()))
}
