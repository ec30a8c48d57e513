//! What is known of a Secret's certificate and key, as values.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The annotation on a Secret by which we know our own work: a [`Marker`] as JSON.
pub const MARKER: &str = "kube-lego-once.dev/issued-by";

/// Who issued what is in a Secret: the directory, and the account that ordered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The directory's URL (RFC 8555 section 7.1.1).
    pub directory: String,
    /// The account's URL (RFC 8555 section 7.1.2).
    pub account: String,
}

/// What the data of a Secret amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// Both data keys are absent or empty.
    Empty,
    /// There is data, and no server that was measured could serve it: the sentence says why.
    Unreadable(String),
    /// A certificate and a key.
    Certificate(Box<CertificateFacts>),
}

/// What a leaf certificate says, and how its key relates to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The DNS names of the subject alternative names; the common name does not count (RFC 9525 section 2).
    pub names: Vec<CompactString>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// The earliest end of validity among the other certificates of the chain.
    pub chain_not_after: Option<Timestamp>,
    /// The issuer's name.
    pub issuer: Arc<str>,
    /// Whether the stored key belongs to the certificate.
    pub key: KeyMatch,
    /// The servers that cannot load the two files, where others can.
    pub refusal: Option<Box<Refusal>>,
    /// The identifier for renewal information (RFC 9773 section 4.1), where the certificate names its issuer's key.
    pub id: Option<CertificateId>,
}

impl CertificateFacts {
    /// Whether Let's Encrypt's staging issued it: it writes so into its issuers' organizations and names.
    pub fn is_from_staging(&self) -> bool {
        self.issuer.contains("(STAGING)")
    }
}

/// Whether a private key belongs to a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMatch {
    /// It does.
    Matches,
    /// It does not.
    Differs,
    /// A key of a kind that we cannot check: what it is.
    Unchecked(Box<str>),
}

/// Servers that cannot load what others can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// By what they read certificates with.
    pub library: Library,
    /// What they object to.
    pub why: String,
}

/// What servers read certificates and keys with: the two that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `tls.X509KeyPair`.
    Go,
    /// As nginx calls it.
    OpenSsl,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "servers that use Go's TLS library, such as Traefik and Contour",
            Self::OpenSsl => "servers that use OpenSSL, such as nginx and HAProxy",
        })
    }
}

/// A certificate's identifier for renewal information: `base64url(AKI) "." base64url(serial)`, RFC 9773 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId {
    /// The key identifier of the authority key identifier extension.
    pub authority_key_identifier: Arc<[u8]>,
    /// The serial number's DER content octets.
    pub serial: Box<[u8]>,
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{}.{}", encode(&self.authority_key_identifier), encode(&self.serial))
    }
}
