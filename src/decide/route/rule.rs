//! A route: a host that must be answered for, and the rule that leads there.

use std::fmt;

use crate::decide::name::{ClassName, DnsName, SecretRef};

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
}

impl fmt::Display for RuleHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("the rules without a host"),
            Self::Named(name) => write!(f, "the rules for `{name}`"),
        }
    }
}

/// A host that must be answered for, the class whose controller serves it, and the certificate that needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Which controller serves it.
    pub class: ClassName,
    /// The host.
    pub host: DnsName,
    /// The host of the challenge's rule, under which the controller serves the host now (I8).
    pub rule: RuleHost,
    /// The certificate.
    pub secret: SecretRef,
}
