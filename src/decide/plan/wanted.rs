//! What an observation must read for a plan.

use crate::decide::checks::classes;
use crate::decide::desired::desired;
use crate::decide::inspection::CertificateId;
use crate::decide::ledger::Pending;
use crate::decide::name::SecretRef;
use crate::decide::observed::Observed;
use crate::decide::policy::Policy;
use crate::decide::validity::is_asked_about;

/// The Secrets that Ingresses and the ledger ask for: what an observation must read.
pub fn secrets_wanted(observed: &Observed, policy: &Policy) -> Vec<SecretRef> {
    let wanted = desired(&observed.ingresses, &observed.gateways, &policy.annotation).certificates;
    let wanted = wanted
        .into_iter()
        .filter(|certificate| policy.selection.selects(certificate, classes(observed)))
        .map(|certificate| certificate.secret);
    // Of an entry in the ledger it must be known whether its certificate is stored, whoever wants it today.
    let pending = observed.ledger.found().into_iter().flat_map(|ledger| &ledger.pending);
    wanted.chain(pending.map(Pending::secret)).collect()
}

/// The certificates whose CA may have a suggestion (RFC 9773): ours, of this directory, whose turn it is. What ends first comes
/// first.
pub fn renewal_information_wanted(observed: &Observed, policy: &Policy) -> Vec<(SecretRef, CertificateId)> {
    let Some(directory) = &policy.directory else {
        return Vec::new();
    };
    let mut wanted: Vec<_> = observed
        .secrets
        .iter()
        .filter_map(|(name, read)| {
            let secret = read.found()?;
            let facts = secret.facts().filter(|facts| facts.not_after > observed.now)?;
            let id = facts.id.as_ref()?;
            let ours = || {
                let marker = secret.marker();
                marker.is_some_and(|marker| marker.directory == directory.url())
            };
            let asked = is_asked_about(id, observed.now, policy.interval) && ours();
            asked.then_some(((facts.not_after, id), name))
        })
        .collect();
    wanted.sort();
    wanted
        .into_iter()
        .map(|((_, id), secret)| (secret.clone(), id.clone()))
        .collect()
}
