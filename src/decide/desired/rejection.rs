//! Annotated Ingresses, or parts of them, that have no Secret to key them by.

use crate::decide::name::{ClassName, IngressRef};
use crate::decide::observed::{Pairs, RetiredIngress};

/// An annotated Ingress that cannot get what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// The Ingress.
    pub ingress: IngressRef,
    /// Why.
    pub reason: Rejection,
    /// Its class.
    pub class: ClassName,
    /// Its labels.
    pub labels: Pairs,
}

impl From<&RetiredIngress> for Rejected {
    fn from(retired: &RetiredIngress) -> Self {
        Self {
            ingress: retired.name.clone(),
            reason: Rejection::RetiredVersion {
                version: retired.version.clone(),
            },
            class: retired.class.clone(),
            labels: retired.labels.clone(),
        }
    }
}

/// Why an Ingress cannot get a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// A version of the API that no cluster serves any more.
    RetiredVersion {
        /// The `apiVersion`.
        version: String,
    },
    /// No `spec.tls`.
    NoTls,
    /// An entry of `spec.tls` has hosts and no `secretName`.
    NoSecretName {
        /// The hosts.
        hosts: Vec<String>,
    },
    /// An entry of `spec.tls` has a `secretName` and no hosts.
    NoHosts {
        /// The Secret.
        secret: String,
    },
}

impl Rejection {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RetiredVersion { .. } => "RetiredVersion",
            Self::NoTls => "NoTls",
            Self::NoSecretName { .. } => "NoSecretName",
            Self::NoHosts { .. } => "NoHosts",
        }
    }

    /// One sentence that says what to do.
    pub fn message(&self) -> String {
        match self {
            Self::RetiredVersion { version } => {
                format!("is of `{version}`, which no cluster serves any more: write it as `networking.k8s.io/v1`")
            }
            Self::NoTls => {
                "has no `spec.tls`: add an entry with `hosts` and `secretName`, or remove the annotation".into()
            }
            Self::NoSecretName { hosts } if hosts.is_empty() => {
                "has an entry in `spec.tls` with neither `hosts` nor `secretName`: add both".into()
            }
            Self::NoSecretName { hosts } => {
                format!(
                    "has an entry in `spec.tls` for `{}` without `secretName`: name the Secret",
                    hosts.join("`, `")
                )
            }
            Self::NoHosts { secret } => format!(
                "has an entry in `spec.tls` for Secret `{secret}` without `hosts`: list the names that the certificate must cover"
            ),
        }
    }
}
