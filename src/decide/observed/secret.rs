//! What is kept of a Secret: never its key.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use compact_str::CompactString;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use thin_vec::ThinVec;
use zeroize::Zeroize as _;

use super::uid::Uid;
use crate::decide::digest::{Digest, digest};
use crate::decide::inspection::{CertificateFacts, Inspection, MARKER, Marker, inspect};

/// By this annotation cert-manager knows a Secret that it writes; `--adopt` removes it at the store.
pub const CERT_MANAGER: &str = "cert-manager.io/certificate-name";

/// What a plan needs to know of a Secret: never its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What a later write is conditional on.
    pub version: SecretVersion,
    /// Whether it is immutable.
    pub immutable: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The name of cert-manager's Certificate that writes it ([`CERT_MANAGER`]), where one does.
    pub cert_manager: Option<Box<str>>,
    /// The annotations whose value is `true` in any letter case: one of them may let us replace what is in it.
    pub opt_ins: ThinVec<CompactString>,
    /// What its data amounts to.
    pub inspection: Inspection,
}

/// Texts that are equal, once: in a cluster there are few types of Secrets, few issuers
/// with few keys, and one or two of our markers.
#[derive(Debug, Default)]
pub struct Texts {
    texts: HashSet<Arc<str>>,
    keys: HashSet<Arc<[u8]>>,
}

impl Texts {
    /// Makes a Secret's texts the same as those of earlier ones, where they are equal.
    pub fn share(&mut self, secret: &mut Secret) {
        one(&mut self.texts, &mut secret.version.type_);
        if let Some(marker) = &mut secret.version.marker {
            one(&mut self.texts, marker);
        }
        if let Inspection::Certificate(facts) = &mut secret.inspection {
            one(&mut self.texts, &mut facts.issuer);
            if let Some(id) = &mut facts.id {
                one(&mut self.keys, &mut id.authority_key_identifier);
            }
        }
    }
}

fn one<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, value: &mut Arc<T>) {
    if let Some(known) = known.get(value) {
        *value = Arc::clone(known);
    } else {
        known.insert(Arc::clone(value));
    }
}

impl Secret {
    /// The certificate in it, where a server could serve it.
    pub fn facts(&self) -> Option<&CertificateFacts> {
        match &self.inspection {
            Inspection::Certificate(facts) => Some(facts),
            Inspection::Empty | Inspection::Unreadable(_) => None,
        }
    }

    /// Our marker, where it can be read.
    pub fn marker(&self) -> Option<Marker> {
        serde_json::from_str(self.version.marker.as_deref()?).ok()
    }
}

/// The part of a Secret on which a decision rests. Where all but `resource_version` is the same, so is the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// `metadata.resourceVersion`.
    pub resource_version: CompactString,
    /// `metadata.uid`: a Secret that was made anew is another one.
    pub uid: Uid,
    /// `type`.
    pub type_: Arc<str>,
    /// Our marker, as written.
    pub marker: Option<Arc<str>>,
    /// A digest of `tls.crt` and `tls.key`.
    pub data_digest: Digest,
    /// A digest of `tls.key`: by it an entry of the ledger is known whose certificate is stored.
    pub key_digest: Digest,
}

impl SecretVersion {
    /// Whether a plan that was made for `self` holds for `other` too: labels and other keys may differ, nothing else.
    pub fn same_content(&self, other: &Self) -> bool {
        self.type_ == other.type_ && self.marker == other.marker && self.data_digest == other.data_digest
    }
}

impl From<core::Secret> for Secret {
    fn from(object: core::Secret) -> Self {
        let metadata = object.metadata;
        // No more of them: there may be anything in annotations, even the key, in the copy that `kubectl apply` leaves.
        let mut annotations = metadata.annotations.unwrap_or_default();
        let data = Zeroed(object.data.unwrap_or_default());
        let value = |key: &str| data.0.get(key).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
        let (certificate, key) = (value("tls.crt"), value("tls.key"));
        Self {
            version: SecretVersion {
                resource_version: metadata.resource_version.unwrap_or_default().into(),
                uid: metadata.uid.unwrap_or_default().into(),
                type_: object.type_.map_or_else(|| "Opaque".into(), Into::into),
                marker: annotations.remove(MARKER).map(Into::into),
                data_digest: digest(&[certificate, key]),
                key_digest: digest(&[key]),
            },
            immutable: object.immutable.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            cert_manager: annotations.remove(CERT_MANAGER).map(Into::into),
            opt_ins: annotations
                .into_iter()
                .filter(|(_, value)| value.eq_ignore_ascii_case("true"))
                .map(|(name, _)| name.into())
                .collect(),
            inspection: inspect(certificate, key),
        }
    }
}

/// A Secret's data, whose bytes are zeroed when it goes.
struct Zeroed(BTreeMap<String, ByteString>);

impl Drop for Zeroed {
    fn drop(&mut self) {
        self.0.values_mut().for_each(|bytes| bytes.0.zeroize());
    }
}
