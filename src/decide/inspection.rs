//! What is in a Secret of type `kubernetes.io/tls`: read as servers read it, judged by nobody yet.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::*;

use super::der::{SEQUENCE, content, element};
use super::pem::{self, Block, OpenSsl};
use super::private_key::PrivateKey;
use super::strictness::{certificate, refused_by_go};

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
    /// The servers that cannot load the two files, where others can.
    pub refusal: Option<Refusal>,
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
        Ok((facts, _)) => Inspection::Certificate(Box::new(facts)),
        Err(why) => Inspection::Unreadable(why),
    }
}

/// The tag of a DNS name among alternative names (RFC 5280 section 4.2.1.6).
const DNS_NAME: u8 = 0x82;

/// What a library takes from the two files.
#[derive(PartialEq)]
struct Pair {
    /// Certificates in DER, at least one: the first is the leaf.
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
}

/// What there is to know of the pair, and its chain. What one of the libraries takes is taken, with the other's refusal.
fn read(certificate: &[u8], key: &[u8]) -> Result<(CertificateFacts, Vec<Vec<u8>>), String> {
    if certificate.is_empty() {
        return Err("`tls.crt` is empty".into());
    }
    if key.is_empty() {
        return Err("`tls.key` is empty".into());
    }
    let go = pair_of_go(certificate, key);
    let known = go.as_ref().ok().map(|pair| &*pair.chain[0]);
    let openssl = pair_of_openssl(certificate, key, known);
    let refused = |library, why| Some(Refusal { library, why });
    match (go, openssl) {
        (Ok(go), Ok(openssl)) if go == openssl => {
            let mut facts = facts(&go)?;
            if facts.key == KeyMatch::Matches && contradicts_itself(&go) {
                facts.refusal = refused(Library::OpenSsl, "`tls.key` names another public key".into());
            }
            Ok((facts, go.chain))
        }
        // The two read different certificates or keys out of the same files.
        (Ok(go), Ok(openssl)) => match (served(&go, false), served(&openssl, true)) {
            (Ok(facts), Ok(_)) => Ok((facts, go.chain)),
            (Ok(facts), Err(why)) => Ok((with(facts, Library::OpenSsl, why), go.chain)),
            (Err(why), Ok(facts)) => Ok((with(facts, Library::Go, why), openssl.chain)),
            (Err(_), Err(_)) => Ok((facts(&go)?, go.chain)),
        },
        (Ok(go), Err(why)) => Ok((with(facts(&go)?, Library::OpenSsl, why), go.chain)),
        (Err(why), Ok(openssl)) => {
            let mut facts = with(facts(&openssl)?, Library::Go, why);
            if contradicts_itself(&openssl) {
                facts.key = KeyMatch::Differs;
            }
            Ok((facts, openssl.chain))
        }
        // OpenSSL says what is wrong with a file in which Go just finds nothing.
        (Err(_), Err(why)) if why.contains("`tls.crt`") => Err(why),
        (Err(why), Err(_)) => Err(why),
    }
}

fn with(facts: CertificateFacts, library: Library, why: String) -> CertificateFacts {
    CertificateFacts {
        refusal: Some(Refusal { library, why }),
        ..facts
    }
}

/// The facts of a pair that belongs together.
fn served(pair: &Pair, believes_key_file: bool) -> Result<CertificateFacts, String> {
    let facts = facts(pair)?;
    if facts.key == KeyMatch::Differs || (believes_key_file && contradicts_itself(pair)) {
        return Err("the first key in `tls.key` is not the key of the first certificate in `tls.crt`".into());
    }
    Ok(facts)
}

fn pair_of_go(certificate: &[u8], key: &[u8]) -> Result<Pair, String> {
    let chain: Vec<_> = pem::go(certificate)
        .into_iter()
        .filter(|block| block.label == b"CERTIFICATE")
        .map(|block| block.der)
        .collect();
    if chain.is_empty() {
        return Err("`tls.crt` has no certificate".into());
    }
    if let Some(why) = refused_by_go(&leaf(&chain[0])?) {
        return Err(format!("the first certificate of `tls.crt` is malformed: {why}"));
    }
    let is_key = |block: &Block| block.label == b"PRIVATE KEY" || block.label.ends_with(b" PRIVATE KEY");
    let block = pem::go(key)
        .into_iter()
        .find(is_key)
        .ok_or("`tls.key` has no private key")?;
    let key = PrivateKey::of(&block, Library::Go).ok_or("the private key in `tls.key` is encrypted or broken")?;
    Ok(Pair { chain, key })
}

/// Where it looks for a key, OpenSSL reads over headers up to this size; longer ones can only say that it is encrypted.
const HEADER_BYTES: usize = 10;
/// The labels that OpenSSL takes for a certificate; the last for a leaf only.
const CERTIFICATE_LABELS: &[&[u8]] = &[b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"];

/// `known` is a leaf that was read already, which takes most of the time.
fn pair_of_openssl(crt: &[u8], key: &[u8], known: Option<&[u8]>) -> Result<Pair, String> {
    let mut chain: Vec<Vec<u8>> = Vec::new();
    for block in OpenSsl::new(crt) {
        let block = block.map_err(|why| format!("`tls.crt` is broken: {why}"))?;
        let labels = &CERTIFICATE_LABELS[..if chain.is_empty() { 3 } else { 2 }];
        if !labels.contains(&&*block.label) {
            continue;
        }
        if block.header_bytes > 0 {
            return Err("a certificate in `tls.crt` has PEM headers".into());
        }
        if chain.is_empty() {
            if known != Some(&*block.der) {
                leaf(&block.der)?;
            }
        } else if certificate(&block.der).is_none() {
            return Err("a certificate behind the first in `tls.crt` cannot be read".into());
        }
        chain.push(block.der);
    }
    if chain.is_empty() {
        return Err("`tls.crt` has no certificate".into());
    }
    // A block that is broken is skipped where a key is looked for; one that only a password opens ends the search.
    let key = OpenSsl::new(key)
        .filter_map(Result::ok)
        .take_while(|block| block.header_bytes <= HEADER_BYTES)
        .map(|block| (PrivateKey::of(&block, Library::OpenSsl), block.label))
        .find(|(key, label)| key.is_some() || label == b"ENCRYPTED PRIVATE KEY")
        .and_then(|(key, _)| key)
        .ok_or("`tls.key` has no private key that can be read")?;
    Ok(Pair { chain, key })
}

fn leaf(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], leaf)) if certificate(der).is_some() => Ok(leaf),
        Ok(([], _)) => Err("the first certificate of `tls.crt` is malformed".into()),
        Ok(_) => Err("the first certificate of `tls.crt` has something behind its end".into()),
        Err(error) => Err(format!("the first certificate of `tls.crt` is none: {error}")),
    }
}

fn facts(pair: &Pair) -> Result<CertificateFacts, String> {
    let leaf = leaf(&pair.chain[0])?;
    Ok(CertificateFacts {
        names: dns_names(&leaf),
        not_before: timestamp(leaf.validity().not_before),
        not_after: timestamp(leaf.validity().not_after),
        chain_not_after: chain_not_after(&pair.chain[1..]),
        issuer: issuer_name(&leaf),
        key: pair.key.matches(&leaf),
        refusal: None,
        id: certificate_id(&leaf),
    })
}

fn contradicts_itself(pair: &Pair) -> bool {
    leaf(&pair.chain[0]).is_ok_and(|leaf| pair.key.claims_another(&leaf))
}

/// Read from the bytes: a name of another kind that is malformed must not take the others away.
fn dns_names(leaf: &X509Certificate<'_>) -> Vec<String> {
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

fn chain_not_after(rest: &[Vec<u8>]) -> Option<Timestamp> {
    rest.iter()
        .filter_map(|der| X509Certificate::from_der(der).ok())
        .map(|(_, certificate)| timestamp(certificate.validity().not_after))
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

/// A time of a certificate. RFC 5280 section 4.1.2.5 writes "no end" as the last second of the year 9999, which is later than
/// any timestamp can say: that, and all that lies beyond, is the last whole second that one can.
fn timestamp(time: ASN1Time) -> Timestamp {
    saturated(time.timestamp())
}

fn saturated(seconds: i64) -> Timestamp {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Why a chain that an authority sent must not be stored.
///
/// Each certificate's signature is checked against the next one's key; the last one's issuer is a root that only the
/// authority's users know, so it is not asked. `names` are the names that were ordered.
pub fn verify_issued(chain: &[u8], key: &[u8], names: &[String], now: Timestamp) -> Result<CertificateFacts, String> {
    let (facts, ders) = read(chain, key)?;
    if let Some(Refusal { library, why }) = &facts.refusal {
        return Err(format!("{library}, could not load it: {why}"));
    }
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
    use super::super::fixtures::{certificate, days, endless_certificate, now};
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
    fn a_certificate_without_a_well_defined_end_has_the_last_second_that_there_is() {
        let (chain, key) = endless_certificate(&["a.example"], now());
        let facts = facts(inspect(chain.as_bytes(), key.as_bytes()));
        assert_eq!(facts.not_after.to_string(), "9999-12-30T22:00:00Z");
        for (seconds, expected) in [
            (i64::MIN, Timestamp::MIN.as_second()),
            (0, 0),
            (i64::MAX, Timestamp::MAX.as_second()),
        ] {
            assert_eq!(saturated(seconds).as_second(), expected);
        }
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
