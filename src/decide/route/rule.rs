//! A route: a host that must be answered for, and the rule that leads there.

use std::fmt;

use compact_str::CompactString;

use crate::decide::name::{ClassName, DnsName, SecretRef, SourceRef};
use crate::decide::observed::covers;

/// The host of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleHost {
    /// A rule without a host: for every host that no other rule names.
    Any,
    /// A name, perhaps a wildcard.
    Named(DnsName),
}

impl RuleHost {
    /// What the rule has as `host`.
    pub fn name(&self) -> Option<&DnsName> {
        match self {
            Self::Any => None,
            Self::Named(name) => Some(name),
        }
    }

    /// How specific the rule is for a host; nothing where it does not cover it.
    pub(in crate::decide) fn covers(&self, host: &DnsName) -> Option<usize> {
        self.name().map_or(Some(0), |name| covers(name.as_str(), host))
    }
}

impl fmt::Display for RuleHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("a rule without a host"),
            Self::Named(name) => write!(f, "a rule for `{name}`"),
        }
    }
}

/// By which door a request comes in: who serves it, and what kind of object leads it to the responder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The controller of an ingress class; an Ingress leads on.
    Class(ClassName),
    /// Listeners of a Gateway; an HTTPRoute leads on.
    Listener(ListenerRef),
}

/// Listeners of a Gateway or a ListenerSet, as a route names them: a `parentRef`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerRef {
    /// The object that has them.
    pub gateway: SourceRef,
    /// The name of the one that is meant; nothing for all.
    pub section: Option<CompactString>,
    /// The port of those that are meant.
    pub port: Option<i32>,
}

impl Via {
    /// The ingress class, where it is one.
    pub fn class(&self) -> Option<&ClassName> {
        match self {
            Self::Class(class) => Some(class),
            Self::Listener(_) => None,
        }
    }

    /// The listener, where it is one.
    pub fn listener(&self) -> Option<&ListenerRef> {
        match self {
            Self::Class(_) => None,
            Self::Listener(listener) => Some(listener),
        }
    }
}

/// A host that must be answered for, the door by which requests for it come in, and the certificate that needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Who serves it.
    pub via: Via,
    /// The host.
    pub host: DnsName,
    /// The host of the challenge's rule, under which the host is served now (I8).
    pub rule: RuleHost,
    /// The certificate.
    pub secret: SecretRef,
}
