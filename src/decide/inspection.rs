//! What is in a Secret of type `kubernetes.io/tls`: read as servers read it, judged by nobody yet.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::*;

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
    /// There is data, and no server could serve it: the sentence says why.
    Unreadable(String),
    /// A certificate and a key.
    Certificate(Box<CertificateFacts>),
}

/// What a leaf certificate says, and how its key relates to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The DNS names of the subject alternative names; the common name does not count (RFC 9525 section 2).
    pub names: Vec<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// The earliest end of validity among the other certificates of the chain.
    pub chain_not_after: Option<Timestamp>,
    /// The issuer's name.
    pub issuer: String,
    /// Whether the stored key belongs to the certificate.
    pub key: KeyMatch,
    /// The identifier for renewal information (RFC 9773 section 4.1), where the certificate names its issuer's key.
    pub id: Option<CertificateId>,
}

/// Whether a private key belongs to a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMatch {
    /// It does.
    Matches,
    /// It does not.
    Differs,
    /// A key of a kind that we cannot check: what it is.
    Unchecked(String),
}

/// A certificate's identifier for renewal information: `base64url(AKI) "." base64url(serial)`, RFC 9773 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateId {
    /// The key identifier of the authority key identifier extension.
    pub authority_key_identifier: Vec<u8>,
    /// The serial number's DER content octets.
    pub serial: Vec<u8>,
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{}.{}", encode(&self.authority_key_identifier), encode(&self.serial))
    }
}

/// Reads the two data keys of a Secret: the first certificate is the leaf, the first private key is the key, other PEM blocks are skipped.
pub fn inspect(certificate: &[u8], key: &[u8]) -> Inspection {
    if certificate.is_empty() && key.is_empty() {
        return Inspection::Empty;
    }
    match read(certificate, key) {
        Ok(facts) => Inspection::Certificate(Box::new(facts)),
        Err(why) => Inspection::Unreadable(why),
    }
}

fn read(certificate: &[u8], key: &[u8]) -> Result<CertificateFacts, String> {
    if certificate.is_empty() {
        return Err("`tls.crt` is empty".into());
    }
    if key.is_empty() {
        return Err("`tls.key` is empty".into());
    }
    let chain = read_chain(certificate)?;
    let (_, leaf) = X509Certificate::from_der(&chain[0])
        .map_err(|error| format!("the first certificate of `tls.crt` is none: {error}"))?;
    let key = read_key(key)?;
    Ok(CertificateFacts {
        names: dns_names(&leaf),
        not_before: timestamp(leaf.validity().not_before)?,
        not_after: timestamp(leaf.validity().not_after)?,
        chain_not_after: chain_not_after(&chain[1..]),
        issuer: issuer_name(&leaf),
        key: key_match(&leaf, key),
        id: certificate_id(&leaf),
    })
}

/// The certificates of a PEM file in order; at least one.
pub fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section {
            Ok((SectionKind::Certificate, der)) => chain.push(CertificateDer::from(der)),
            Ok(_) => {}
            // A broken block behind a good leaf: servers differ, none serves less than the leaf.
            Err(_) if !chain.is_empty() => break,
            Err(error) => return Err(format!("`tls.crt` is no PEM: {error}")),
        }
    }
    if chain.is_empty() {
        return Err("`tls.crt` has no certificate".into());
    }
    Ok(chain)
}

/// The first private key of a PEM file. Errors never quote it.
fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let Ok((kind, der)) = section else {
            return Err("`tls.key` is no PEM".into());
        };
        match kind {
            SectionKind::PrivateKey => return Ok(PrivatePkcs8KeyDer::from(der).into()),
            SectionKind::RsaPrivateKey => return Ok(PrivatePkcs1KeyDer::from(der).into()),
            SectionKind::EcPrivateKey => return Ok(PrivateSec1KeyDer::from(der).into()),
            _ => {}
        }
    }
    Err("`tls.key` has no private key".into())
}

fn key_match(leaf: &X509Certificate<'_>, key: PrivateKeyDer<'static>) -> KeyMatch {
    let Ok(signer) = any_supported_type(&key) else {
        return KeyMatch::Unchecked(
            "a private key of a kind that this program cannot load, such as P-521 or RSA under 2048 bits".into(),
        );
    };
    match signer.public_key() {
        Some(public) if *public == *leaf.public_key().raw => KeyMatch::Matches,
        Some(_) => KeyMatch::Differs,
        None => KeyMatch::Unchecked("a private key whose public part cannot be computed".into()),
    }
}

fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names: Vec<String> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The issuer as `common name (organization)`: the two that tell authorities apart.
fn issuer_name(leaf: &X509Certificate<'_>) -> String {
    let issuer = leaf.issuer();
    let common_name = issuer.iter_common_name().find_map(|name| name.as_str().ok());
    let organization = issuer.iter_organization().find_map(|name| name.as_str().ok());
    match (common_name, organization) {
        (Some(name), Some(organization)) => format!("{name} ({organization})"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => issuer.to_string(),
    }
}

fn chain_not_after(rest: &[CertificateDer<'_>]) -> Option<Timestamp> {
    rest.iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .filter_map(|(_, certificate)| timestamp(certificate.validity().not_after).ok())
        .min()
}

fn certificate_id(leaf: &X509Certificate<'_>) -> Option<CertificateId> {
    let identifier = leaf
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(CertificateId {
        authority_key_identifier: identifier.0.to_vec(),
        serial: leaf.raw_serial().to_vec(),
    })
}

fn timestamp(time: ASN1Time) -> Result<Timestamp, String> {
    Timestamp::from_second(time.timestamp())
        .map_err(|error| format!("a time of the certificate is out of range: {error}"))
}

/// Why a chain that an authority sent must not be stored.
///
/// Each certificate's signature is checked against the next one's key; the last one's issuer is a root that only the
/// authority's users know, so it is not asked. `names` are the names that were ordered.
pub fn verify_issued(chain: &[u8], key: &[u8], names: &[String], now: Timestamp) -> Result<CertificateFacts, String> {
    let facts = read(chain, key)?;
    match &facts.key {
        KeyMatch::Matches => {}
        KeyMatch::Differs => return Err("the certificate is for another key than the order's".into()),
        KeyMatch::Unchecked(what) => return Err(format!("the key cannot be checked: {what}")),
    }
    if let Some(missing) = names.iter().find(|name| !facts.names.contains(name)) {
        return Err(format!("the certificate lacks `{missing}`"));
    }
    if facts.not_after <= now {
        return Err(format!("the certificate ended at {}", facts.not_after));
    }
    let ders = read_chain(chain)?;
    let certificates = ders
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the chain has a certificate that is none: {error}"))?;
    for pair in certificates.windows(2) {
        if pair[0].issuer() != pair[1].subject() {
            return Err(format!(
                "the chain is broken: `{}` did not issue `{}`",
                pair[1].subject(),
                pair[0].subject()
            ));
        }
        pair[0].verify_signature(Some(pair[1].public_key())).map_err(|_| {
            format!(
                "the signature of `{}` is not by `{}`",
                pair[0].subject(),
                pair[1].subject()
            )
        })?;
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{certificate, days, now};
    use super::*;

    fn facts(inspection: Inspection) -> CertificateFacts {
        match inspection {
            Inspection::Certificate(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_certificate_and_its_key_are_read() {
        let (chain, key) = certificate(
            &["B.example", "a.example"],
            "Test CA",
            now() - days(1),
            now() + days(89),
        );
        let facts = facts(inspect(chain.as_bytes(), key.as_bytes()));
        assert_eq!(facts.names, ["a.example", "b.example"]);
        assert_eq!((facts.not_before, facts.not_after), (now() - days(1), now() + days(89)));
        assert_eq!(facts.issuer, "Test CA");
        assert_eq!(facts.key, KeyMatch::Matches);
        assert!(facts.id.is_some());
    }

    #[test]
    fn what_no_server_could_serve_is_unreadable_and_says_why() {
        let (chain, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        for (name, chain, key, expected) in [
            ("no certificate", "", key.as_str(), "`tls.crt` is empty"),
            ("no key", chain.as_str(), "", "`tls.key` is empty"),
            ("words", "hello", key.as_str(), "`tls.crt` has no certificate"),
            (
                "a key as certificate",
                key.as_str(),
                key.as_str(),
                "`tls.crt` has no certificate",
            ),
            (
                "a certificate as key",
                chain.as_str(),
                chain.as_str(),
                "`tls.key` has no private key",
            ),
            (
                "not DER",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                key.as_str(),
                "is none",
            ),
            ("cut off", &chain[..100], key.as_str(), "`tls.crt`"),
        ] {
            match inspect(chain.as_bytes(), key.as_bytes()) {
                Inspection::Unreadable(why) => assert!(why.contains(expected), "{name}: {why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(inspect(b"", b""), Inspection::Empty);
    }

    #[test]
    fn other_blocks_are_skipped_and_the_first_certificate_is_the_leaf() {
        let (chain, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        let key_with_parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}");
        let crowded = format!("# a comment\n{key}{chain}");
        let facts = facts(inspect(crowded.as_bytes(), key_with_parameters.as_bytes()));
        assert_eq!(facts.names, ["a.example"]);
        assert_eq!(facts.key, KeyMatch::Matches);
    }

    #[test]
    fn another_certificates_key_differs() {
        let (chain, _) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        let (_, key) = certificate(&["a.example"], "Test CA", now(), now() + days(90));
        assert_eq!(facts(inspect(chain.as_bytes(), key.as_bytes())).key, KeyMatch::Differs);
    }

    #[test]
    fn what_an_authority_sends_is_checked_before_it_is_stored() {
        let (chain, key) = certificate(&["a.example", "b.example"], "Test CA", now(), now() + days(90));
        let (other_chain, other_key) = certificate(&["a.example", "b.example"], "Test CA", now(), now() + days(90));
        let leaf_end = chain.find("-----END CERTIFICATE-----").expect("a leaf") + "-----END CERTIFICATE-----\n".len();
        let other_issuer = &other_chain[other_chain.rfind("-----BEGIN").expect("an issuer")..];
        let forged = format!("{}{other_issuer}", &chain[..leaf_end]);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (name, chain, key, hosts, at, expected) in [
            ("good", &chain, &key, names(&["a.example", "b.example"]), now(), None),
            (
                "a name is missing",
                &chain,
                &key,
                names(&["c.example"]),
                now(),
                Some("lacks `c.example`"),
            ),
            (
                "another key",
                &chain,
                &other_key,
                names(&["a.example"]),
                now(),
                Some("another key"),
            ),
            (
                "over",
                &chain,
                &key,
                names(&["a.example"]),
                now() + days(91),
                Some("ended"),
            ),
            (
                "signed by somebody of the same name",
                &forged,
                &key,
                names(&["a.example"]),
                now(),
                Some("signature"),
            ),
        ] {
            match (verify_issued(chain.as_bytes(), key.as_bytes(), &hosts, at), expected) {
                (Ok(_), None) => {}
                (Err(why), Some(expected)) => assert!(why.contains(expected), "{name}: {why}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
    }
}
