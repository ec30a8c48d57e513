//! The reasons: stable words, in the order in which they are looked for.

use super::REFUSALS;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Why a certificate is issued, kept or refused: a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order in which they are looked for.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word as it is printed.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// A host is not a name that a CA can sign.
    InvalidHost,
    /// HTTP-01 cannot prove a wildcard.
    WildcardHost,
    /// Over [`MOST_HOSTS`](super::MOST_HOSTS).
    TooManyHosts,
    /// An older Ingress of another namespace has the host.
    HostClaimed,
    /// The class's controller cannot serve a challenge beside the user's Ingress.
    UnsupportedController,
    /// Another Ingress has the challenge's very path, and the controller may prefer it.
    ChallengePathTaken,
    /// The Gateway has no listener where the CA could ask.
    NoHttpListener,
    /// The Ingresses ask for two types of key, or for one that there is not.
    UnclearKeyType,
    /// The API server would not take the name.
    InvalidSecretName,
    /// A read failed.
    Unknown,
    /// The Secret or its namespace is being deleted.
    Terminating,
    /// Not `kubernetes.io/tls`.
    WrongSecretType,
    /// cert-manager looks after it.
    ManagedElsewhere,
    /// The Secret cannot change.
    ImmutableSecret,
    /// The Secret holds data that is not ours.
    ForeignSecret,
    /// An Ingress without the annotation would lose a host.
    WouldDropHosts,
    /// Staging would replace something better.
    WouldDowngrade,
    /// There is no Secret.
    Missing,
    /// Nothing that a server could serve.
    Unreadable,
    /// The key is another certificate's.
    KeyMismatch,
    /// A host is not among the names.
    HostNotCovered,
    /// From another directory.
    WrongIssuer,
    /// Over.
    Expired,
    /// Soon over.
    Expiring,
    /// The CA suggests it (RFC 9773).
    Suggested,
    /// The operator wants it.
    Forced,
    /// Due, and the CA refused it lately.
    BackingOff,
    /// Due, and there is no room for its order in this run.
    Deferred,
    /// Nothing is due.
    Valid,
}

impl Reason {
    /// The reasons why certificates are refused.
    pub fn refusals() -> impl Iterator<Item = Self> + Clone {
        REFUSALS.iter().map(|check| check.reason)
    }

    /// Whether a certificate is due for this reason, and not tried yet.
    pub fn waits(self) -> bool {
        matches!(self, Self::BackingOff | Self::Deferred)
    }
}
