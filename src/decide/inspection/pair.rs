//! A certificate and a key out of two files, as the two libraries read them.

use super::facts::{CertificateFacts, KeyMatch, Library, Refusal};
use super::leaf::{certificate_id, chain_not_after, dns_names, issuer_name, leaf, timestamp};
use super::pem::{self, Block, OpenSsl};
use super::private_key::PrivateKey;
use super::strictness::{certificate, refused_by_go};

/// What a library takes from the two files.
#[derive(PartialEq)]
struct Pair {
    /// Certificates in DER, at least one: the first is the leaf.
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
}

/// What there is to know of the pair, and its chain. What one of the libraries takes is taken, with the other's refusal.
pub(super) fn read(certificate: &[u8], key: &[u8]) -> Result<(CertificateFacts, Vec<Vec<u8>>), String> {
    if certificate.is_empty() {
        return Err("`tls.crt` is empty".into());
    }
    if key.is_empty() {
        return Err("`tls.key` is empty".into());
    }
    let go = pair_of_go(certificate, key);
    let known = go.as_ref().ok().map(|pair| &*pair.chain[0]);
    let openssl = pair_of_openssl(certificate, key, known);
    let refused = |library, why| Some(Box::new(Refusal { library, why }));
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
        refusal: Some(Box::new(Refusal { library, why })),
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

fn facts(pair: &Pair) -> Result<CertificateFacts, String> {
    let leaf = leaf(&pair.chain[0])?;
    Ok(CertificateFacts {
        names: dns_names(&leaf).into_iter().map(Into::into).collect(),
        not_before: timestamp(leaf.validity().not_before),
        not_after: timestamp(leaf.validity().not_after),
        chain_not_after: chain_not_after(&pair.chain[1..]),
        issuer: issuer_name(&leaf).into(),
        key: pair.key.matches(&leaf),
        refusal: None,
        id: certificate_id(&leaf),
    })
}

fn contradicts_itself(pair: &Pair) -> bool {
    leaf(&pair.chain[0]).is_ok_and(|leaf| pair.key.claims_another(&leaf))
}
