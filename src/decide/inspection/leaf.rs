//! What a leaf certificate says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_parser::prelude::*;

use super::der::{SEQUENCE, content, element};
use super::facts::CertificateId;
use super::strictness::certificate;

/// The tag of a DNS name among alternative names (RFC 5280 section 4.2.1.6).
const DNS_NAME: u8 = 0x82;

/// Reads a leaf as every server does.
pub(super) fn leaf(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], leaf)) if certificate(der).is_some() => Ok(leaf),
        Ok(([], _)) => Err("the first certificate of `tls.crt` is malformed".into()),
        Ok(_) => Err("the first certificate of `tls.crt` has something behind its end".into()),
        Err(error) => Err(format!("the first block of `tls.crt` is not a certificate: {error}")),
    }
}

/// Read from the bytes: a name of another kind that is malformed must not take the others away.
pub(super) fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let is_names =
        |extension: &&X509Extension<'_>| extension.oid == x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
    let value = leaf.extensions().iter().find(is_names).map(|extension| extension.value);
    let mut rest = value
        .and_then(|value| content(value, SEQUENCE))
        .map_or(&[][..], |(names, _)| names);
    let mut names = BTreeSet::new();
    while let Some((tag, name, behind)) = element(rest) {
        rest = behind;
        if let Ok(name) = std::str::from_utf8(name)
            && tag == DNS_NAME
        {
            names.insert(name.to_ascii_lowercase());
        }
    }
    names.into_iter().collect()
}

/// The issuer as `common name (organization)`: the two that tell CAs apart.
pub(super) fn issuer_name(leaf: &X509Certificate<'_>) -> String {
    let issuer = leaf.issuer();
    let common_name = issuer.iter_common_name().find_map(|name| name.as_str().ok());
    let organization = issuer.iter_organization().find_map(|name| name.as_str().ok());
    match (common_name, organization) {
        (Some(name), Some(organization)) => format!("{name} ({organization})"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => issuer.to_string(),
    }
}

pub(super) fn chain_not_after(rest: &[Vec<u8>]) -> Option<Timestamp> {
    rest.iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, certificate)| timestamp(certificate.validity().not_after))
        .min()
}

pub(super) fn certificate_id(leaf: &X509Certificate<'_>) -> Option<CertificateId> {
    let identifier = leaf
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.as_ref(),
            _ => None,
        })?;
    Some(CertificateId {
        authority_key_identifier: identifier.0.into(),
        serial: leaf.raw_serial().into(),
    })
}

/// A time of a certificate. RFC 5280 section 4.1.2.5 writes "no end" as the last second of the year 9999, which is later than
/// any timestamp can say: that, and all that lies beyond, is the last whole second that one can.
pub(super) fn timestamp(time: ASN1Time) -> Timestamp {
    saturated(time.timestamp())
}

pub(super) fn saturated(seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
