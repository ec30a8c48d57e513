//! What servers ask of a certificate that the parser that we read it with does not.

use std::collections::BTreeSet;

use x509_parser::prelude::*;

use super::der::{
    BIT_STRING, BMP_STRING, BOOLEAN, EC, ED25519, GENERALIZED_TIME, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING,
    RSA, SEQUENCE, SET, UTC_TIME, UTF8_STRING, after, all, content, element, integer, oid,
};

/// P-224, P-256, P-384 and P-521.
const GO_CURVES: &[&[u8]] = &[
    b"\x2b\x81\x04\x00\x21",
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
    b"\x2b\x81\x04\x00\x22",
    b"\x2b\x81\x04\x00\x23",
];

/// OpenSSL writes no longer identifier of an algorithm as text, which it does for each key.
const MOST_OID_BYTES: usize = 586;

/// Why Go refuses a leaf that OpenSSL takes: the rules of `x509.ParseCertificate` beyond [`certificate`], as far as they
/// were found by mutations.
pub(super) fn refused_by_go(leaf: &X509Certificate<'_>) -> Option<&'static str> {
    if leaf.version().0 > 2 {
        return Some("its version is unknown");
    }
    if leaf.raw_serial().first().is_some_and(|byte| *byte >= 0x80) {
        return Some("its serial number is negative");
    }
    if leaf.signature_algorithm != leaf.tbs_certificate.signature {
        return Some("it names two signature algorithms");
    }
    if !is_public_key_for_go(&leaf.public_key().algorithm) {
        return Some("its public key is of a kind, or on a curve, that Go does not know");
    }
    let attributes = leaf.issuer().iter_attributes().chain(leaf.subject().iter_attributes());
    for attribute in attributes {
        let value = attribute.attr_value();
        if !is_text_for_go(value.tag().0, value.data) {
            return Some("a name in it is of an unknown kind, or has characters that are not of its kind");
        }
    }
    let mut seen = BTreeSet::new();
    for extension in leaf.extensions() {
        if !seen.insert(extension.oid.as_bytes()) {
            return Some("it has an extension twice");
        }
        if !is_extension_for_go(extension) {
            return Some("an extension of it is malformed");
        }
    }
    None
}

fn is_public_key_for_go(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let parameters = algorithm.parameters.as_ref();
    match algorithm.algorithm.as_bytes() {
        RSA => parameters.is_some_and(|parameters| parameters.tag().0 == u32::from(NULL)),
        EC => parameters.is_some_and(|curve| GO_CURVES.contains(&curve.data)),
        ED25519 => parameters.is_none(),
        _ => false,
    }
}

fn is_text_for_go(tag: u32, value: &[u8]) -> bool {
    let printable = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(byte);
    match tag {
        0x0c => std::str::from_utf8(value).is_ok(),
        0x12 => value.iter().all(|byte| byte.is_ascii_digit() || *byte == b' '),
        0x13 => value.iter().all(printable),
        0x14 => true,
        0x16 => value.is_ascii(),
        0x1e => value.len().is_multiple_of(2) && !value.chunks(2).any(|unit| (0xd8..=0xdf).contains(&unit[0])),
        _ => false,
    }
}

/// Go parses those that it knows, and takes no others of their kind.
fn is_extension_for_go(extension: &X509Extension<'_>) -> bool {
    let value = extension.value;
    match extension.oid.as_bytes() {
        b"\x55\x1d\x0e" => !extension.critical && content(value, OCTET_STRING).is_some(),
        b"\x55\x1d\x0f" => bits(value).is_some(),
        b"\x55\x1d\x11" => after(value, SEQUENCE).is_some_and(|(_, names)| all(names, alternative_name).is_some()),
        b"\x55\x1d\x13" => after(value, SEQUENCE).is_some_and(|(_, fields)| basic_constraints(fields).is_some()),
        b"\x55\x1d\x23" => {
            !extension.critical
                && after(value, SEQUENCE)
                    .is_some_and(|(_, fields)| fields.first() != Some(&0x80) || content(fields, 0x80).is_some())
        }
        b"\x55\x1d\x25" => after(value, SEQUENCE).is_some_and(|(_, usages)| all(usages, oid).is_some()),
        // Authority information access.
        b"\x2b\x06\x01\x05\x05\x07\x01\x01" => !extension.critical && content(value, SEQUENCE).is_some(),
        _ => true,
    }
}

fn bits(der: &[u8]) -> Option<&[u8]> {
    let (rest, bits) = after(der, BIT_STRING)?;
    let (unused, bits) = bits.split_first()?;
    let last = bits.last().copied().unwrap_or_default();
    let whole = *unused < 8 && (*unused == 0 || !bits.is_empty()) && last & ((1_u8 << unused) - 1) == 0;
    whole.then_some(rest)
}

fn basic_constraints(fields: &[u8]) -> Option<()> {
    let fields = match fields.first() {
        Some(&BOOLEAN) => {
            after(fields, BOOLEAN)
                .filter(|(_, value)| matches!(value, [0 | 0xff]))?
                .0
        }
        _ => fields,
    };
    match fields.first() {
        Some(&INTEGER) => integer(fields)
            .filter(|_| content(fields, INTEGER).is_some_and(|(digits, _)| digits[0] < 0x80 && digits.len() <= 8))
            .map(|_| ()),
        _ => Some(()),
    }
}

fn alternative_name(der: &[u8]) -> Option<&[u8]> {
    let (tag, value, rest) = element(der)?;
    let taken = match tag {
        0x81 | 0x82 => value.is_ascii(),
        0x86 => value.iter().all(|byte| (b' '..0x7f).contains(byte)),
        0x87 => [4, 16].contains(&value.len()),
        _ => true,
    };
    taken.then_some(rest)
}

/// Whether this is a certificate through and through (RFC 5280 section 4.1). Go and OpenSSL both look at every part of it,
/// also at those that nobody asks for; the parser that we read it with does not.
///
/// Returns what follows the certificate.
pub(super) fn certificate(der: &[u8]) -> Option<&[u8]> {
    let (rest, parts) = after(der, SEQUENCE)?;
    let (parts, body) = after(parts, SEQUENCE)?;
    let parts = algorithm(parts)?;
    after(parts, BIT_STRING)?.0.is_empty().then_some(())?;
    body_of_certificate(body).map(|()| rest)
}

fn body_of_certificate(body: &[u8]) -> Option<()> {
    let mut rest = body;
    if let Some((behind, version)) = after(rest, 0xa0) {
        integer(version)?.is_empty().then_some(())?;
        rest = behind;
    }
    let rest = integer(rest)?;
    let rest = algorithm(rest)?;
    let rest = name(rest)?;
    let (rest, times) = after(rest, SEQUENCE)?;
    time(time(times)?)?.is_empty().then_some(())?;
    let rest = name(rest)?;
    let (mut rest, public_key) = after(rest, SEQUENCE)?;
    after(algorithm(public_key)?, BIT_STRING)?.0.is_empty().then_some(())?;
    for unique_identifier in [1, 2] {
        let found = element(rest).filter(|(tag, ..)| tag & !0x20 == 0x80 | unique_identifier);
        rest = found.map_or(rest, |(_, _, behind)| behind);
    }
    if let Some((behind, extensions)) = after(rest, 0xa3) {
        let (end, extensions) = after(extensions, SEQUENCE)?;
        all(extensions, extension)?;
        end.is_empty().then_some(())?;
        rest = behind;
    }
    rest.is_empty().then_some(())
}

// Each of these takes one thing from the front, and returns what follows it.

pub(super) fn algorithm(der: &[u8]) -> Option<&[u8]> {
    let (rest, fields) = after(der, SEQUENCE)?;
    let parameters = oid(fields)?;
    if fields.len() - parameters.len() > MOST_OID_BYTES {
        return None;
    }
    let whole = match element(parameters) {
        Some((NULL, value, rest)) => value.is_empty() && rest.is_empty(),
        Some((OBJECT_IDENTIFIER, ..)) => oid(parameters).is_some_and(<[u8]>::is_empty),
        Some((_, _, rest)) => rest.is_empty(),
        None => parameters.is_empty(),
    };
    whole.then_some(rest)
}

fn name(der: &[u8]) -> Option<&[u8]> {
    let (rest, names) = after(der, SEQUENCE)?;
    all(names, |der| {
        let (rest, attributes) = after(der, SET)?;
        all(attributes, attribute).map(|()| rest)
    })?;
    Some(rest)
}

fn attribute(der: &[u8]) -> Option<&[u8]> {
    let (rest, fields) = after(der, SEQUENCE)?;
    let (tag, value, []) = element(oid(fields)?)? else {
        return None;
    };
    let is_text = match tag {
        UTF8_STRING => std::str::from_utf8(value).is_ok(),
        BMP_STRING => value.len().is_multiple_of(2),
        0x1c => value.len().is_multiple_of(4),
        BIT_STRING => value.first().is_some_and(|unused| *unused < 8),
        0x12..=0x16 | 0x19..=0x1b => true,
        _ => false,
    };
    is_text.then_some(rest)
}

fn time(der: &[u8]) -> Option<&[u8]> {
    let (tag, _, rest) = element(der)?;
    [UTC_TIME, GENERALIZED_TIME].contains(&tag).then_some(rest)
}

fn extension(der: &[u8]) -> Option<&[u8]> {
    let (rest, fields) = after(der, SEQUENCE)?;
    let fields = oid(fields)?;
    let fields = after(fields, BOOLEAN).map_or(fields, |(behind, _)| behind);
    after(fields, OCTET_STRING)?.0.is_empty().then_some(rest)
}
