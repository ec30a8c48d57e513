//! Names, parsed once: what has one of these types needs no further checking.
//!
//! They are [`CompactString`]s: most names have 24 bytes at most, and need no allocation then.

use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;

/// A lower-case DNS name of at least one label, possibly with `*` as its first label.
///
/// The letters are those that the API server accepts in an Ingress (DNS-1123 subdomain,
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>); whether an
/// CA signs it is a question for the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(CompactString);

/// Why a string is not a [`DnsName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameProblem {
    /// Nothing between the quotes.
    #[error("is empty")]
    Empty,
    /// Over 253 characters (RFC 1035 section 2.3.4, as text without the root's dot).
    #[error("is longer than 253 characters")]
    TooLong,
    /// A label that is empty, over 63 characters, or starts or ends with `-`.
    #[error("has a label that is empty, too long, or starts or ends with `-`")]
    Label,
    /// Something besides `a-z`, `0-9`, `-` and `.`.
    #[error("has characters other than lower-case letters, digits, `-` and `.`")]
    Character,
    /// An IPv4 or IPv6 address.
    #[error("is an IP address")]
    Address,
}

impl DnsName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*` (RFC 6125 section 6.4.3).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// How many labels there are.
    pub fn label_count(&self) -> usize {
        self.0.split('.').count()
    }

    /// Whether a certificate for `pattern` (any letter case) serves this name.
    ///
    /// `*.x` covers exactly one label in front of `x`; a wildcard name is covered by itself only.
    pub fn is_covered_by(&self, pattern: &str) -> bool {
        if pattern.eq_ignore_ascii_case(&self.0) {
            return true;
        }
        let Some(parent) = pattern.strip_prefix("*.") else {
            return false;
        };
        !self.is_wildcard()
            && self
                .0
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
    }
}

impl FromStr for DnsName {
    type Err = DnsNameProblem;

    fn from_str(text: &str) -> Result<Self, DnsNameProblem> {
        if text.is_empty() {
            return Err(DnsNameProblem::Empty);
        }
        if text.len() > 253 {
            return Err(DnsNameProblem::TooLong);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(DnsNameProblem::Address);
        }
        for label in text.strip_prefix("*.").unwrap_or(text).split('.') {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !label.chars().all(letter) {
                return Err(DnsNameProblem::Character);
            }
            if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
                return Err(DnsNameProblem::Label);
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A namespaced object's place: the key of everything that is planned for a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// The namespace of the Ingress, which is the Secret's too.
    pub namespace: CompactString,
    /// `spec.tls[].secretName`.
    pub name: CompactString,
}

/// An Ingress's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngressRef {
    /// `metadata.namespace`.
    pub namespace: CompactString,
    /// `metadata.name`.
    pub name: CompactString,
}

macro_rules! namespaced {
    ($type:ident) => {
        impl $type {
            /// Puts the two parts together.
            pub fn new(namespace: impl Into<CompactString>, name: impl Into<CompactString>) -> Self {
                Self {
                    namespace: namespace.into(),
                    name: name.into(),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
    };
}

namespaced!(SecretRef);
namespaced!(IngressRef);

/// The kinds of objects that may want certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// `networking.k8s.io/v1`.
    Ingress,
    /// `gateway.networking.k8s.io/v1`.
    Gateway,
    /// `gateway.networking.k8s.io/v1`.
    ListenerSet,
    /// `gateway.networking.x-k8s.io/v1alpha1`: what ListenerSets were before.
    XListenerSet,
}

impl SourceKind {
    /// The `kind`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::XListenerSet => "XListenerSet",
        }
    }

    /// The kind in a sentence, and before a name as kubectl takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Gateway => "gateway",
            Self::ListenerSet => "listenerset",
            Self::XListenerSet => "xlistenerset",
        }
    }

    /// The API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Ingress => "networking.k8s.io",
            Self::Gateway | Self::ListenerSet => "gateway.networking.k8s.io",
            Self::XListenerSet => "gateway.networking.x-k8s.io",
        }
    }

    /// The version of the group.
    pub fn version(self) -> &'static str {
        match self {
            Self::Ingress | Self::Gateway | Self::ListenerSet => "v1",
            Self::XListenerSet => "v1alpha1",
        }
    }

    /// What a `parentRef` names; a Gateway unless said.
    pub fn of_parent(group: Option<&str>, kind: Option<&str>) -> Self {
        match (group, kind) {
            (Some("gateway.networking.x-k8s.io"), _) | (_, Some("XListenerSet")) => Self::XListenerSet,
            (_, Some("ListenerSet")) => Self::ListenerSet,
            _ => Self::Gateway,
        }
    }
}

/// The place of an object that may want certificates, and its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRef {
    /// `metadata.namespace`.
    pub namespace: CompactString,
    /// `metadata.name`.
    pub name: CompactString,
    /// The kind.
    pub kind: SourceKind,
}

impl SourceRef {
    /// Puts the parts together.
    pub fn new(kind: SourceKind, namespace: impl Into<CompactString>, name: impl Into<CompactString>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind,
        }
    }

    /// The name, with its kind unless it is an Ingress.
    pub fn titled(&self) -> CompactString {
        match self.kind {
            SourceKind::Ingress => self.name.clone(),
            kind => compact_str::format_compact!("{}/{}", kind.word(), self.name),
        }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<&IngressRef> for SourceRef {
    fn from(name: &IngressRef) -> Self {
        Self::new(SourceKind::Ingress, name.namespace.clone(), name.name.clone())
    }
}

/// How an Ingress says which controller serves it; a challenge Ingress says it the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClassName {
    /// `spec.ingressClassName`.
    Spec(CompactString),
    /// The annotation `kubernetes.io/ingress.class`, older than the field and still served everywhere.
    Annotation(CompactString),
    /// Neither: the cluster's default class, if it has one.
    Default,
}

impl ClassName {
    /// The class's name, or nothing for the default one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Spec(name) | Self::Annotation(name) => Some(name),
            Self::Default => None,
        }
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str().unwrap_or("default"))
    }
}

/// The label by which people find out whose an object is
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>).
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kube-lego-once");
/// The label on everything that a run creates; its value is the run's id.
pub const RUN_LABEL: &str = "kube-lego-once.dev/run";

/// The label on what stands in other namespaces: its value is the home namespace. An installation sweeps no other's.
pub const HOME_LABEL: &str = "kube-lego-once.dev/home";

/// The name of one run: on every object that it creates, in the Lease while it holds it, in each of its answers.
///
/// It is a Kubernetes label value and an HTTP header value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = !text.is_empty()
            && text.len() <= 63
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a run's id: letters, digits and inner `-`, 63 at most"
            ))
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_what_the_api_server_takes() {
        for (text, expected) in [
            ("a.example", Ok(())),
            ("*.a.example", Ok(())),
            ("localhost", Ok(())),
            ("xn--bcher-kva.example", Ok(())),
            ("1.a.example", Ok(())),
            ("", Err(DnsNameProblem::Empty)),
            ("10.0.0.1", Err(DnsNameProblem::Address)),
            ("::1", Err(DnsNameProblem::Address)),
            ("A.example", Err(DnsNameProblem::Character)),
            ("b\u{fc}cher.example", Err(DnsNameProblem::Character)),
            ("a.*.example", Err(DnsNameProblem::Character)),
            ("a.example.", Err(DnsNameProblem::Label)),
            (" a.example", Err(DnsNameProblem::Character)),
            ("-a.example", Err(DnsNameProblem::Label)),
            ("a..example", Err(DnsNameProblem::Label)),
        ] {
            assert_eq!(text.parse::<DnsName>().map(drop), expected, "{text:?}");
        }
        assert_eq!("a.".repeat(127).parse::<DnsName>(), Err(DnsNameProblem::TooLong));
        assert_eq!("a".repeat(64).parse::<DnsName>(), Err(DnsNameProblem::Label));
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        for (name, pattern, covered) in [
            ("a.example", "a.example", true),
            ("a.example", "A.EXAMPLE", true),
            ("a.b.example", "*.b.example", true),
            ("a.b.example", "*.B.Example", true),
            ("a.a.b.example", "*.b.example", false),
            ("b.example", "*.b.example", false),
            ("*.b.example", "*.b.example", true),
            ("*.b.example", "*.example", false),
            ("a.example", "b.example", false),
        ] {
            let name: DnsName = name.parse().expect("a name");
            assert_eq!(name.is_covered_by(pattern), covered, "{name} by {pattern}");
        }
    }
}
