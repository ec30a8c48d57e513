//! DER (X.690) as far as keys and certificates need it: one byte of tag, the length in as few bytes as can be.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SET: u8 = 0x31;

// Object identifiers of public keys (RFC 8017, RFC 5480, RFC 8410): the content of their DER.
pub(super) const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
pub(super) const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
pub(super) const ED25519: &[u8] = b"\x2b\x65\x70";

/// The algorithm and the parameters of an AlgorithmIdentifier (RFC 5280 section 4.1.1.2).
pub(super) fn identifier(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let (fields, _) = content(raw, SEQUENCE)?;
    content(fields, OBJECT_IDENTIFIER)
}

pub(super) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first().filter(|(tag, _)| **tag & 0x1f != 0x1f)?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let bytes;
        (bytes, rest) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .filter(|(bytes, _)| (1..=4).contains(&bytes.len()))?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let least = if bytes.len() == 1 {
            0x80
        } else {
            1 << (8 * (bytes.len() - 1))
        };
        if length < least {
            return None;
        }
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The content of an element of this tag, and what follows the element.
pub(super) fn content(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == wanted).then_some((content, rest))
}

/// A number over zero, without the byte that keeps it so.
pub(super) fn number(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (digits, rest) = content(der, INTEGER)?;
    let positive = match digits {
        [0, high, ..] => *high >= 0x80,
        [high, ..] => (1..0x80).contains(high),
        [] => false,
    };
    positive.then(|| (digits.strip_prefix(b"\0").unwrap_or(digits), rest))
}

pub(super) fn wrapped(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    // Nothing here is longer than a point of P-384.
    let mut der = match u8::try_from(content.len()) {
        Ok(length @ 0..0x80) => vec![tag, length],
        Ok(length) => vec![tag, 0x81, length],
        Err(_) => return Vec::new(),
    };
    der.extend(content);
    der
}

// Each of these takes one thing from the front, and returns what follows it.

pub(super) fn after(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    content(der, wanted).map(|(content, rest)| (rest, content))
}

pub(super) fn all(mut der: &[u8], one: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<()> {
    while !der.is_empty() {
        der = one(der)?;
    }
    Some(())
}

pub(super) fn integer(der: &[u8]) -> Option<&[u8]> {
    let (rest, digits) = after(der, INTEGER)?;
    let padded = matches!(digits, [0, 0..0x80, ..] | [0xff, 0x80..=0xff, ..]);
    (!padded && !digits.is_empty()).then_some(rest)
}

pub(super) fn oid(der: &[u8]) -> Option<&[u8]> {
    let (rest, arcs) = after(der, OBJECT_IDENTIFIER)?;
    let ends = arcs.last().is_some_and(|byte| *byte < 0x80);
    let padded = |at: usize| arcs[at] == 0x80 && (at == 0 || arcs[at - 1] < 0x80);
    (ends && !(0..arcs.len()).any(padded)).then_some(rest)
}
