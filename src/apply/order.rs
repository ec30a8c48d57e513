//! One certificate: order -> finalize -> verify -> store.

use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::Instant;

use crate::adapters::acme::{Account, AcmeError};
use crate::adapters::cluster::{ClusterError, Held, LeaseError, StoreError, TlsContent};
use crate::apply::context::Context;
use crate::decide::backoff::{Attempt, Attempts, Refused};
use crate::decide::checks::claims_to_remove;
use crate::decide::desired::Certificate;
use crate::decide::inspection::{CertificateFacts, CertificateId, verify_issued};
use crate::decide::key_type::KeyType;
use crate::decide::ledger::{Entry, EntryKey, EntryKind, Pending, PrivateKeyPem};
use crate::decide::outcome::{Failure, Outcome};
use crate::decide::plan::Decision;

/// What a CA may take to validate all hosts of an order.
const VALIDATION_DEADLINE: Duration = Duration::from_secs(180);
/// What a CA may take from finalize to certificate.
const ISSUANCE_DEADLINE: Duration = Duration::from_secs(120);

/// Obtains and stores one certificate. Whatever goes wrong is this certificate's outcome and nobody else's.
pub async fn obtain(decision: &Decision, account: &Account, held: &Held, context: &Context) -> Outcome {
    match try_obtain(decision, account, held, context).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            if let Some(refused) = &failure.refused {
                remember(decision, account, refused, context).await;
            }
            Outcome::Failed(failure)
        }
    }
}

/// A run that comes soon must not ask the CA for the same again.
async fn remember(decision: &Decision, account: &Account, refused: &Refused, context: &Context) {
    let Certificate { secret, hosts, .. } = &*decision.certificate;
    // The next run looks for what the Ingresses ask for.
    let mut hosts: Vec<_> = hosts.iter().chain(&decision.dropped).cloned().collect();
    hosts.sort();
    let attempt = Attempt {
        secret,
        hosts: &hosts,
        directory: &context.marker(account).directory,
        account: account.url(),
    };
    let attempts = Attempts::after(decision.attempts.as_deref(), &attempt, refused, Timestamp::now());
    let next = attempts.next;
    match context.ledger.write(Entry::Attempts(attempts)).await {
        Ok(()) => log::info!("`{secret}` is not tried again before {next:.0}"),
        Err(error) => log::warn!("keep in the ledger that `{secret}` is not to be tried before {next:.0}: {error}"),
    }
}

async fn try_obtain(
    decision: &Decision,
    account: &Account,
    held: &Held,
    context: &Context,
) -> Result<Outcome, Failure> {
    let Obtained {
        mut pending,
        chain,
        facts,
    } = match take_up(decision, account, held, context).await? {
        Some(obtained) => obtained,
        None => order_anew(decision, account, held, context).await?,
    };
    held.check()?;
    let secret = &decision.certificate.secret;
    let content = TlsContent {
        certificate: chain,
        key: pending.key.clone(),
        marker: context.marker(account),
        remove_annotations: claims_to_remove(),
    };
    let inspected = decision.secret.as_ref().map(|secret| &secret.version);
    if let Err(error) = context.site.cluster.store(secret, inspected, &content).await {
        pending.certificate = Some(content.certificate);
        return Err(keep_in_ledger(&pending, &error, context).await);
    }
    // The entry is of no use any more, and harmless: the certificate is stored.
    let entry = |kind| EntryKey::new(kind, secret.clone());
    context.ledger.remove(entry(EntryKind::Pending));
    if decision.attempts.is_some() {
        context.ledger.remove(entry(EntryKind::Attempts));
    }
    Ok(Outcome::Issued {
        not_after: facts.not_after,
        issuer: facts.issuer.to_string(),
        dropped: decision.dropped.to_vec(),
    })
}

/// A certificate that is what was ordered, and how it came.
struct Obtained {
    pending: Pending,
    chain: String,
    facts: CertificateFacts,
}

impl Obtained {
    fn new(pending: Pending, chain: String) -> Result<Self, Failure> {
        let facts = verify(&pending, &chain)?;
        Ok(Self { pending, chain, facts })
    }

    /// Whether it is another than the one that is to be replaced: an entry may outlive the storing of its certificate.
    fn is_news_to(&self, decision: &Decision) -> bool {
        decision.facts() != Some(&self.facts)
    }
}

/// Whether an earlier run left the certificate itself: it need only be stored.
pub fn is_issued(decision: &Decision) -> bool {
    issued(decision).is_some()
}

/// A certificate needs no account any more: it may be one that the CA has lost.
fn issued(decision: &Decision) -> Option<Obtained> {
    let pending = *decision.pending.clone()?;
    let chain = pending.certificate.clone()?;
    Obtained::new(pending, chain).ok().filter(|it| it.is_news_to(decision))
}

/// What an earlier run of this account left for the certificate.
fn left(decision: &Decision, account: &Account) -> Option<Pending> {
    decision
        .pending
        .as_deref()
        .filter(|it| it.account == account.url())
        .cloned()
}

/// The certificate that an earlier run left, or one by the order that it left (I7); nothing where no certificate can come of
/// that any more, so that nothing is lost by a new one. As long as one may, its key is kept.
async fn take_up(
    decision: &Decision,
    account: &Account,
    held: &Held,
    context: &Context,
) -> Result<Option<Obtained>, Failure> {
    if let Some(issued) = issued(decision) {
        return Ok(Some(issued));
    }
    let Some(pending) = left(decision, account) else {
        return Ok(None);
    };
    held.check()?;
    let why = match ordered(&pending, account, held, context).await {
        Ok(chain) => match Obtained::new(pending, chain) {
            Ok(obtained) if obtained.is_news_to(decision) => return Ok(Some(obtained)),
            Ok(_) => "the certificate of the order in the ledger is the one that is stored".to_owned(),
            Err(failure) => failure.to_string(),
        },
        Err(Unobtained::Ended(why)) => why,
        Err(Unobtained::NotYet(failure)) => {
            let message = format!(
                "the order of an earlier run is not finished. It stays in the ledger, and the next run asks the CA about this same order again: {}",
                failure.message
            );
            return Err(Failure { message, ..failure });
        }
    };
    log::info!("`{}` is ordered anew: {why}", decision.certificate.secret);
    Ok(None)
}

/// Why there is no certificate of an order.
enum Unobtained {
    /// None can come of it.
    Ended(String),
    /// One may still.
    NotYet(Failure),
}

impl From<AcmeError> for Unobtained {
    fn from(error: AcmeError) -> Self {
        match error.ends_the_order() {
            true => Self::Ended(error.to_string()),
            false => Self::NotYet(error.into()),
        }
    }
}

/// The certificate of an order whose key is in the ledger.
async fn ordered(pending: &Pending, account: &Account, held: &Held, context: &Context) -> Result<String, Unobtained> {
    let key =
        KeyPair::from_pem(&pending.key.0).map_err(|_| Unobtained::Ended("the key in the ledger is none".into()))?;
    let request =
        certificate_request(&key, &pending.hosts).map_err(|failure| Unobtained::Ended(failure.to_string()))?;
    let mut order = account.resume(&pending.order).await?;
    order.validate(Instant::now() + VALIDATION_DEADLINE).await?;
    let deadline = Instant::now() + ISSUANCE_DEADLINE;
    let chain = order.certificate(&request, deadline, || held.check().is_ok()).await?;
    Ok(context.chains.of(chain, &order, pending).await)
}

/// A new order, from its creation to its certificate.
async fn order_anew(
    decision: &Decision,
    account: &Account,
    held: &Held,
    context: &Context,
) -> Result<Obtained, Failure> {
    held.check()?;
    let certificate = &*decision.certificate;
    let hosts = certificate.hosts.clone();
    let replaces = replaced_by_account(decision, account);
    let mut order = account.order(&hosts, context.profile.as_deref(), replaces).await?;
    if let Some(why) = order.replaces_refused() {
        log::info!(
            "`{}` is ordered without naming what it replaces: {why}",
            certificate.secret
        );
    }
    // At the same time, since an RSA key may take as long as the CA's questions. Each to its end, since a write to the ledger is
    // others' too.
    let url = order.url().to_owned();
    let (recorded, validated) = futures::join!(
        record(url, decision, account, held, context),
        order.validate(Instant::now() + VALIDATION_DEADLINE),
    );
    if let Err(error) = &validated
        && error.ends_the_order()
    {
        let entry = EntryKey::new(EntryKind::Pending, certificate.secret.clone());
        context.ledger.remove(entry);
    }
    validated?;
    let (pending, request) = recorded?;
    // From here on the CA counts the certificate: a run that dies must have left enough to fetch it (I7).
    held.check()?;
    let chain = order
        .certificate(&request, Instant::now() + ISSUANCE_DEADLINE, || held.check().is_ok())
        .await?;
    let chain = context.chains.of(chain, &order, &pending).await;
    Obtained::new(pending, chain)
}

/// Makes the key of a new order and keeps both in the ledger. Returns the certificate request too.
async fn record(
    order: String,
    decision: &Decision,
    account: &Account,
    held: &Held,
    context: &Context,
) -> Result<(Pending, Vec<u8>), Failure> {
    let certificate = &*decision.certificate;
    let asked = KeyType::asked_for(certificate).map_err(|why| Failure::new(why, None))?;
    let key = context.keys.key(asked.unwrap_or(context.key_type)).await?;
    let names: Vec<String> = certificate.hosts.iter().map(ToString::to_string).collect();
    let request = certificate_request(&key, &names)?;
    let pending = Pending {
        namespace: certificate.secret.namespace.to_string(),
        secret: certificate.secret.name.to_string(),
        directory: context.marker(account).directory,
        account: account.url().to_owned(),
        order,
        hosts: names,
        profile: Some(context.profile.clone().unwrap_or_default()),
        key: PrivateKeyPem(key.serialize_pem()),
        certificate: None,
        at: Timestamp::now(),
    };
    // Whoever has the Lease now may have an entry of its own there.
    held.check()?;
    context.ledger.write(Entry::Pending(pending.clone())).await?;
    Ok((pending, request))
}

/// Signatures, names, key and validity, and of the leaf what a report says.
pub(super) fn verify(pending: &Pending, chain: &str) -> Result<CertificateFacts, Failure> {
    let key = pending.key.0.as_bytes();
    verify_issued(chain.as_bytes(), key, &pending.hosts, Timestamp::now())
        .map_err(|why| failure("verify what the CA issued", &why))
}

/// What the new certificate replaces, where this account ordered it (RFC 9773 section 5).
fn replaced_by_account<'a>(decision: &'a Decision, account: &Account) -> Option<&'a CertificateId> {
    let marker = decision.secret.as_ref()?.marker()?;
    decision.replaces.as_deref().filter(|_| marker.account == account.url())
}

/// A request with the names as subject alternative names and nothing else (RFC 8555 section 7.4).
fn certificate_request(key: &KeyPair, names: &[String]) -> Result<Vec<u8>, Failure> {
    let build = || {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        Ok::<_, rcgen::Error>(params.serialize_request(key)?.der().to_vec())
    };
    build().map_err(|error| failure("make the certificate request", &error))
}

/// The certificate is issued and cannot be stored: it stays in the ledger, and the failure says so.
async fn keep_in_ledger(pending: &Pending, error: &StoreError, context: &Context) -> Failure {
    let kept = match context.ledger.write(Entry::Pending(pending.clone())).await {
        Ok(()) => "it is kept in the ledger".to_owned(),
        Err(error) => format!("its order is kept in the ledger, and it could not be added there: {error}"),
    };
    let message = format!("the certificate was issued and not stored ({kept}): {error}");
    Failure::new(message, error.hint())
}

fn failure(operation: &str, cause: &dyn Display) -> Failure {
    Failure::new(format!("{operation}: {cause}"), None)
}

impl From<AcmeError> for Failure {
    fn from(error: AcmeError) -> Self {
        Self {
            message: error.what(),
            causes: error.causes(),
            slows_down: error.asks_for_less(),
            unanswered: false,
            refused: error.refused().map(Box::new),
            hint: error.hint(),
        }
    }
}

macro_rules! failure_with_hint {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error.to_string(), error.hint())
            }
        }
    )*};
}

failure_with_hint!(ClusterError, LeaseError);
