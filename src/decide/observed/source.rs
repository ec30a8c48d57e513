//! What a certificate is wanted by: an Ingress, a Gateway or a ListenerSet.

use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use super::gateway::Gateway;
use super::{Ingress, Pairs, Uid};
use crate::decide::name::{ClassName, SourceRef};

/// An object that may want certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An Ingress.
    Ingress(Arc<Ingress>),
    /// A Gateway or a ListenerSet.
    Gateway(Arc<Gateway>),
}

impl Source {
    /// Its kind and place.
    pub fn place(&self) -> SourceRef {
        match self {
            Self::Ingress(it) => (&it.name).into(),
            Self::Gateway(it) => it.name.clone(),
        }
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &CompactString {
        match self {
            Self::Ingress(it) => &it.name.namespace,
            Self::Gateway(it) => &it.name.namespace,
        }
    }

    /// `metadata.name`.
    pub fn name(&self) -> &CompactString {
        match self {
            Self::Ingress(it) => &it.name.name,
            Self::Gateway(it) => &it.name.name,
        }
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &Uid {
        match self {
            Self::Ingress(it) => &it.uid,
            Self::Gateway(it) => &it.uid,
        }
    }

    /// `metadata.creationTimestamp`.
    pub fn created(&self) -> Option<Timestamp> {
        match self {
            Self::Ingress(it) => it.created,
            Self::Gateway(it) => it.created,
        }
    }

    /// Its labels.
    pub fn labels(&self) -> &Pairs {
        match self {
            Self::Ingress(it) => &it.labels,
            Self::Gateway(it) => &it.labels,
        }
    }

    /// Its annotations.
    pub fn annotations(&self) -> &Pairs {
        match self {
            Self::Ingress(it) => &it.annotations,
            Self::Gateway(it) => &it.annotations,
        }
    }

    /// Addresses that a controller wrote into the status.
    pub fn addresses(&self) -> &[CompactString] {
        match self {
            Self::Ingress(it) => &it.addresses,
            Self::Gateway(it) => &it.addresses,
        }
    }

    /// The class that chooses its controller: of an Ingress, or `spec.gatewayClassName`.
    pub fn class(&self) -> ClassName {
        match self {
            Self::Ingress(it) => it.class.clone(),
            Self::Gateway(it) if it.class.is_empty() => ClassName::Default,
            Self::Gateway(it) => ClassName::Spec(it.class.clone()),
        }
    }

    /// The Ingress, where it is one.
    pub fn ingress(&self) -> Option<&Arc<Ingress>> {
        match self {
            Self::Ingress(it) => Some(it),
            Self::Gateway(_) => None,
        }
    }

    /// The Gateway or ListenerSet, where it is one.
    pub fn gateway(&self) -> Option<&Arc<Gateway>> {
        match self {
            Self::Ingress(_) => None,
            Self::Gateway(it) => Some(it),
        }
    }
}
