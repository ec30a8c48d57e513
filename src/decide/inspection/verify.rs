//! What a CA sent, before it is stored.

use jiff::Timestamp;
use x509_parser::prelude::*;

use super::facts::{CertificateFacts, KeyMatch, Refusal};
use super::pair::read;
use super::pem;

/// The common name of the issuer of the last certificate of a chain: by it, people tell the chains apart that a CA offers.
pub fn topmost_issuer(chain: &[u8]) -> Option<String> {
    let mut blocks = pem::go(chain).into_iter();
    let last = blocks.rfind(|block| block.label == b"CERTIFICATE")?;
    let (_, certificate) = X509Certificate::from_der(&last.der).ok()?;
    let mut names = certificate.issuer().iter_common_name();
    names.find_map(|name| name.as_str().ok()).map(str::to_owned)
}

/// Why a chain that a CA sent must not be stored.
///
/// Each certificate's signature is checked against the next one's key; the last one's issuer is a root that only the
/// CA's users know, so it is not asked. `names` are the names that were ordered.
pub fn verify_issued(chain: &[u8], key: &[u8], names: &[String], now: Timestamp) -> Result<CertificateFacts, String> {
    let (facts, ders) = read(chain, key)?;
    if let Some(Refusal { library, why }) = facts.refusal.as_deref() {
        return Err(format!("{library}, could not load it: {why}"));
    }
    match &facts.key {
        KeyMatch::Matches => {}
        KeyMatch::Differs => return Err("the certificate is for another key than the order's".into()),
        KeyMatch::Unchecked(what) => return Err(format!("the key cannot be checked: {what}")),
    }
    if let Some(missing) = names.iter().find(|name| !facts.names.iter().any(|one| one == *name)) {
        return Err(format!("the certificate lacks `{missing}`"));
    }
    if facts.not_after <= now {
        return Err(format!("the certificate ended at {}", facts.not_after));
    }
    let certificates = ders
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, certificate)| certificate))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("one part of the chain is not a certificate: {error}"))?;
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
