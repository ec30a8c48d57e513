//! Annotated objects, or parts of them, that have no Secret to key them by.

use crate::decide::name::{ClassName, SourceRef};
use crate::decide::observed::{Pairs, RetiredIngress, Source};

/// An annotated object that cannot get what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// The object.
    pub source: SourceRef,
    /// Why.
    pub reason: Rejection,
    /// Its class.
    pub class: ClassName,
    /// Its labels.
    pub labels: Pairs,
}

impl Rejected {
    pub(super) fn of(source: &Source, reason: Rejection) -> Self {
        Self {
            source: source.place(),
            reason,
            class: source.class(),
            labels: source.labels().clone(),
        }
    }
}

impl From<&RetiredIngress> for Rejected {
    fn from(retired: &RetiredIngress) -> Self {
        Self {
            source: (&retired.name).into(),
            reason: Rejection::RetiredVersion {
                version: retired.version.clone(),
            },
            class: retired.class.clone(),
            labels: retired.labels.clone(),
        }
    }
}

/// Why an object cannot get a certificate.
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
    /// A Gateway or ListenerSet without a listener that ends TLS.
    NoHttpsListener,
    /// A listener for every host.
    NoHostname {
        /// The listener.
        listener: String,
    },
    /// The application behind the listener has the certificate.
    Passthrough {
        /// The listener.
        listener: String,
    },
    /// A listener without `tls.certificateRefs`.
    NoCertificateRef {
        /// The listener.
        listener: String,
    },
    /// The Secret of a listener is in another namespace.
    CrossNamespaceReference {
        /// The listener.
        listener: String,
        /// The Secret's namespace.
        namespace: String,
        /// The Secret.
        secret: String,
    },
    /// What a listener names is no Secret.
    UnsupportedReference {
        /// The listener.
        listener: String,
        /// The kind of what it names.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl Rejection {
    /// The stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::RetiredVersion { .. } => "RetiredVersion",
            Self::NoTls | Self::NoHttpsListener => "NoTls",
            Self::NoSecretName { .. } | Self::NoCertificateRef { .. } => "NoSecretName",
            Self::NoHostname { .. } => "NoHostname",
            Self::Passthrough { .. } => "Passthrough",
            Self::CrossNamespaceReference { .. } => "CrossNamespaceReference",
            Self::UnsupportedReference { .. } => "UnsupportedReference",
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
            Self::NoHttpsListener => {
                "has no listener with protocol `HTTPS`: add one with `hostname` and `tls.certificateRefs`, or remove the annotation".into()
            }
            Self::NoHostname { listener } => format!(
                "has a listener `{listener}` without `hostname`: a certificate is for names, so name the host, with a listener for each"
            ),
            Self::Passthrough { listener } => format!(
                "has a listener `{listener}` with `tls.mode: Passthrough`: the application behind it has the certificate, so annotate what wants one there"
            ),
            Self::NoCertificateRef { listener } => {
                format!("has a listener `{listener}` without `tls.certificateRefs`: name the Secret")
            }
            Self::CrossNamespaceReference {
                listener,
                namespace,
                secret,
            } => format!(
                "has a listener `{listener}` whose Secret `{secret}` is in namespace `{namespace}`: a ReferenceGrant lets a Gateway read a Secret there, but nobody there has asked for a certificate; use a Secret in the listener's own namespace"
            ),
            Self::UnsupportedReference { listener, kind, name } => format!(
                "has a listener `{listener}` whose certificate is the {kind} `{name}`: only Secrets can be written"
            ),
        }
    }
}
