//! Private keys as servers load them, and whether one belongs to a certificate.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::num_bigint::BigUint;
use x509_parser::prelude::*;

use super::der::{
    BIT_STRING, EC, ED25519, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, RSA, SEQUENCE, content, element, identifier,
    integer, number, wrapped,
};
use super::facts::{KeyMatch, Library};
use super::pem::Block;

/// What a private key is made of, whatever it was wrapped in. It has no `Debug`: nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PrivateKey {
    /// RFC 8017 appendix A.1.2: what the public key has, too.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// RFC 5915: the public key may be left out.
    Ec {
        curve: Vec<u8>,
        scalar: Vec<u8>,
        public: Option<Vec<u8>>,
    },
    /// RFC 8410.
    Ed25519 { seed: Vec<u8> },
    /// A key in PKCS#8 of an algorithm that this program cannot load: its whole identifier.
    Other { algorithm: Vec<u8> },
}

// Object identifiers: the content of their DER.
const RSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
const P521: &[u8] = b"\x2b\x81\x04\x00\x23";
/// The curves that this program can compute on, and the size of their numbers in bytes.
const CURVES: &[(&[u8], usize)] = &[(b"\x2a\x86\x48\xce\x3d\x03\x01\x07", 32), (b"\x2b\x81\x04\x00\x22", 48)];

impl PrivateKey {
    /// The key in a block, as a library reads it. Go tries each form, whatever the label says. OpenSSL tries those that the
    /// label is for, and reads over what follows the key.
    pub(super) fn of(block: &Block, library: Library) -> Option<Self> {
        let der = &*block.der;
        let pkcs1 = || pkcs1(der, library);
        let pkcs8 = || pkcs8(der, library);
        let sec1 = || sec1(der, None, library);
        let found = match (library, &*block.label) {
            (Library::Go, _) => pkcs1().filter(|(_, rest)| rest.is_empty()).or_else(pkcs8).or_else(sec1),
            (_, b"PRIVATE KEY" | b"ENCRYPTED PRIVATE KEY") => pkcs8(),
            (_, b"RSA PRIVATE KEY") => pkcs1().or_else(|| pkcs8().filter(|(key, _)| matches!(key, Self::Rsa { .. }))),
            (_, b"EC PRIVATE KEY") => sec1().or_else(|| pkcs8().filter(|(key, _)| matches!(key, Self::Ec { .. }))),
            _ => None,
        };
        found.map(|(key, _)| key)
    }

    /// Whether it is the key of this certificate.
    pub(super) fn matches(&self, leaf: &X509Certificate<'_>) -> KeyMatch {
        let Some((algorithm, parameters, public)) = public_key(leaf) else {
            return KeyMatch::Differs;
        };
        let unchecked = |what: &str| KeyMatch::Unchecked(what.into());
        match self {
            Self::Rsa { modulus, exponent } => {
                if is_rsa(algorithm) && rsa_numbers(public) == Some((&**modulus, &**exponent)) {
                    KeyMatch::Matches
                } else {
                    KeyMatch::Differs
                }
            }
            Self::Ec {
                curve,
                scalar,
                public: own,
            } => {
                let named = content(parameters, OBJECT_IDENTIFIER).map(|(name, _)| name);
                if algorithm != EC || named != Some(curve) {
                    return KeyMatch::Differs;
                }
                match (CURVES.iter().find(|(name, _)| name == curve), own) {
                    (Some((name, size)), _) if public.len() == 1 + 2 * size => {
                        let sec1 = sec1_of(name, *size, scalar, public).map(PrivateSec1KeyDer::from);
                        loaded(sec1.map(Into::into), leaf)
                    }
                    (_, Some(own)) if own != public => KeyMatch::Differs,
                    _ => unchecked("an EC key on a curve that this program cannot compute on, such as P-521"),
                }
            }
            Self::Ed25519 { seed } => {
                let der = [
                    b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
                    &**seed,
                ]
                .concat();
                loaded(Some(PrivatePkcs8KeyDer::from(der).into()), leaf)
            }
            Self::Other { algorithm } if algorithm == raw_algorithm(leaf) => {
                unchecked("a key of a kind that this program cannot load")
            }
            Self::Other { .. } => KeyMatch::Differs,
        }
    }

    /// Whether the file says, beside the private key, that it belongs to another public key than the certificate's.
    /// OpenSSL believes it; Go computes.
    pub(super) fn claims_another(&self, leaf: &X509Certificate<'_>) -> bool {
        match (self, public_key(leaf)) {
            (Self::Ec { public: Some(own), .. }, Some((_, _, public))) => own != public,
            _ => false,
        }
    }
}

fn loaded(key: Option<PrivateKeyDer<'static>>, leaf: &X509Certificate<'_>) -> KeyMatch {
    let signer = key.and_then(|key| any_supported_type(&key).ok());
    let public = signer.and_then(|signer| signer.public_key().map(|public| public.to_vec()));
    if public.as_deref() == Some(leaf.public_key().raw) {
        KeyMatch::Matches
    } else {
        KeyMatch::Differs
    }
}

fn is_rsa(algorithm: &[u8]) -> bool {
    [RSA, RSA_PSS].contains(&algorithm)
}

// The certificate's side.

/// The algorithm's identifier, its parameters, and the key's bytes.
fn public_key<'a>(leaf: &'a X509Certificate<'_>) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let (algorithm, parameters) = identifier(raw_algorithm(leaf))?;
    Some((algorithm, parameters, &leaf.public_key().subject_public_key.data))
}

fn raw_algorithm<'a>(leaf: &'a X509Certificate<'_>) -> &'a [u8] {
    let raw = content(leaf.public_key().raw, SEQUENCE).map_or(&[][..], |(inner, _)| inner);
    let rest = element(raw).map_or(&[][..], |(_, _, rest)| rest);
    &raw[..raw.len() - rest.len()]
}

/// Both libraries read over what is behind the sequence, and OpenSSL over nothing within it.
fn rsa_numbers(public: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, _) = content(public, SEQUENCE)?;
    let (modulus, numbers) = number(numbers)?;
    let (exponent, []) = number(numbers)? else {
        return None;
    };
    Some((modulus, exponent))
}

// The key's side. What these return beside the key is what follows it. Go reads over further fields at the end of a
// sequence, which OpenSSL does not; OpenSSL does not ask whether numbers fit together, which Go does.

fn pkcs1(der: &[u8], library: Library) -> Option<(PrivateKey, &[u8])> {
    let (fields, rest) = content(der, SEQUENCE)?;
    let (version, mut fields) = content(fields, INTEGER)?;
    let mut numbers = [&[][..]; 8];
    for number in &mut numbers {
        (*number, fields) = match library {
            Library::Go => self::number(fields)?,
            // OpenSSL takes the bytes for a number without a sign, whatever they are.
            Library::OpenSsl => content(fields, INTEGER).map(|(digits, rest)| (without_zeros(digits), rest))?,
        };
    }
    // Keys of more than two primes, version 1, are nowhere in use.
    let taken = match library {
        Library::Go => {
            let version = matches!(version, [0 | 1] | [0x80..=0xff, ..]) && version.len() <= 8;
            version && is_read_over(fields) && content(fields, SEQUENCE).is_none() && fit_together(&numbers)
        }
        Library::OpenSsl => version != [1] && (1..=4).contains(&version.len()) && fields.is_empty(),
    };
    let key = PrivateKey::Rsa {
        modulus: numbers[0].to_vec(),
        exponent: numbers[1].to_vec(),
    };
    taken.then_some((key, rest))
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|byte| **byte == 0).count()..]
}

/// The equations of RFC 8017 section 3.2.
fn fit_together(numbers: &[&[u8]; 8]) -> bool {
    let [n, e, d, p, q, dp, dq, q_inverse] = numbers.map(BigUint::from_bytes_be);
    let one = BigUint::from(1_u8);
    if p <= one || q <= one || e > BigUint::from(i32::MAX.unsigned_abs()) {
        return false;
    }
    let (p1, q1) = (&p - &one, &q - &one);
    &p * &q == n
        && &d * &e % &p1 == &one % &p1
        && &d * &e % &q1 == &one % &q1
        && &d % &p1 == dp
        && &d % &q1 == dq
        && q_inverse * q % p == one
}

fn sec1<'a>(der: &'a [u8], curve: Option<&[u8]>, library: Library) -> Option<(PrivateKey, &'a [u8])> {
    let (fields, rest) = content(der, SEQUENCE)?;
    let (version, fields) = content(fields, INTEGER)?;
    let (scalar, mut fields) = content(fields, OCTET_STRING)?;
    let (mut own_curve, mut public) = (None, None);
    let alone = |rest: &[u8]| library == Library::Go || rest.is_empty();
    if let Some((parameters, rest)) = content(fields, 0xa0) {
        own_curve = Some(
            content(parameters, OBJECT_IDENTIFIER)
                .filter(|(_, rest)| alone(rest))?
                .0,
        );
        fields = rest;
    }
    if let Some((bits, rest)) = content(fields, 0xa1) {
        let (bits, _) = content(bits, BIT_STRING).filter(|(_, rest)| alone(rest))?;
        public = Some(bits.strip_prefix(b"\0")?.to_vec());
        fields = rest;
    }
    let curve = curve.or(own_curve)?.to_vec();
    let computable = CURVES.iter().any(|(name, _)| *name == curve) || public.is_some();
    let whole = fields.is_empty() || (library == Library::Go && is_read_over(fields) && computable);
    let key = PrivateKey::Ec {
        curve,
        scalar: scalar.to_vec(),
        public,
    };
    (version == [1] && whole && fits_curve(&key)).then_some((key, rest))
}

/// Whether Go reads over what is left of a sequence: if that begins with an element, and is more than an empty one.
fn is_read_over(fields: &[u8]) -> bool {
    fields.is_empty() || element(fields).is_some_and(|(_, content, rest)| !content.is_empty() || !rest.is_empty())
}

/// P-521 cannot be computed on here, but its numbers have a size.
fn fits_curve(key: &PrivateKey) -> bool {
    match key {
        PrivateKey::Ec { curve, scalar, .. } if curve == P521 => (1..=66).contains(&without_zeros(scalar).len()),
        _ => true,
    }
}

fn pkcs8(der: &[u8], library: Library) -> Option<(PrivateKey, &[u8])> {
    let (fields, rest) = content(der, SEQUENCE)?;
    let after_version = integer(fields)?;
    let version_bytes = fields.len() - after_version.len() - 2;
    if library == Library::Go && version_bytes > 8 {
        return None;
    }
    let fields = after_version;
    let (_, _, behind) = element(fields).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let raw_algorithm = &fields[..fields.len() - behind.len()];
    let (algorithm, parameters) = identifier(raw_algorithm)?;
    let (inner, attributes) = content(behind, OCTET_STRING)?;
    let algorithm_is_whole = super::strictness::algorithm(raw_algorithm).is_some_and(<[u8]>::is_empty);
    let attributes = content(attributes, 0xa0).map_or(attributes, |(_, rest)| rest);
    let public = content(attributes, 0x81).map_or(attributes, |(_, rest)| rest);
    if library == Library::OpenSsl && !(algorithm_is_whole && public.is_empty()) {
        return None;
    }
    let key = match algorithm {
        _ if is_rsa(algorithm) => {
            let whole = |rest: &[u8]| library == Library::OpenSsl || rest.is_empty();
            pkcs1(inner, library).filter(|(_, rest)| whole(rest))?.0
        }
        EC => {
            let curve = content(parameters, OBJECT_IDENTIFIER).map(|(curve, _)| curve);
            if curve.is_none() && library == Library::OpenSsl {
                return None;
            }
            sec1(inner, curve, library)?.0
        }
        ED25519 if library == Library::Go && !parameters.is_empty() => return None,
        ED25519 => {
            let (seed, _) = content(inner, OCTET_STRING).filter(|(seed, _)| seed.len() == 32)?;
            PrivateKey::Ed25519 { seed: seed.to_vec() }
        }
        _ if library == Library::Go => return None,
        _ => PrivateKey::Other {
            algorithm: raw_algorithm.to_vec(),
        },
    };
    Some((key, rest))
}

/// The key in the one form that can be loaded: with a number of full size, and the certificate's public key.
fn sec1_of(curve: &[u8], size: usize, scalar: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let scalar = without_zeros(scalar);
    let scalar = [&vec![0; size.checked_sub(scalar.len())?][..], scalar].concat();
    let public = wrapped(BIT_STRING, &[b"\0", public]);
    Some(wrapped(
        SEQUENCE,
        &[
            b"\x02\x01\x01",
            &wrapped(OCTET_STRING, &[&scalar]),
            &wrapped(0xa0, &[&wrapped(OBJECT_IDENTIFIER, &[curve])]),
            &wrapped(0xa1, &[&public]),
        ],
    ))
}
