//! An ACME CA (RFC 8555): the only user of `instant_acme`.
//!
//! What the library does not do is done around it: the directory is read and checked before anything else, a refused
//! nonce repeats the whole call (the nonce is inside the signature), a server in trouble is asked again until the
//! deadline, and an order is taken up in whatever state it is.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme as library;
use ring::signature::EcdsaKeyPair;

use crate::decide::directory::Directory;
use crate::decide::inspection::CertificateId;
use crate::decide::name::DnsName;
use crate::decide::observed::RenewalWindow;

/// Calls the library, and calls again while the CA refuses the nonce (RFC 8555 section 6.5): the nonce is inside
/// the signature, so it is the library's whole call that is repeated. A call that was refused has changed nothing.
///
/// A macro, since the repeated expression borrows: an async closure that lends cannot be shown to be `Send`.
macro_rules! call {
    ($caller:expr, $operation:expr, $url:expr, $attempt:expr) => {{
        let mut round = 0;
        loop {
            round += 1;
            let called = $crate::adapters::acme::exchange::watched($attempt).await;
            if let Some(result) = $caller.judge(round, $operation, $url, called) {
                break result;
            }
        }
    }};
}

/// The same for a call that may be made anew without harm: an answer that was lost, late or unreadable is no answer.
macro_rules! insist {
    ($caller:expr, $operation:expr, $url:expr, $attempt:expr) => {{
        let mut patience = $crate::adapters::acme::patience::Patience::brief();
        loop {
            match call!($caller, $operation, $url, $attempt) {
                Ok(value) => break Ok(value),
                Err(failure) => match patience.rest(failure).await {
                    Ok(()) => {}
                    Err(failure) => break Err(failure),
                },
            }
        }
    }};
}

mod alternate;
mod directory;
mod error;
mod exchange;
mod http;
mod order;
mod patience;
mod registration;

pub use error::{AcmeError, Cause, HostProblem, Problem};
pub use http::{CaBundle, Proxy};
pub use order::{Order, OrderState};
pub use registration::KnownAccount;
use registration::StoredAccount;

use alternate::Reader;
use directory::DirectoryFacts;
use error::listed;
use exchange::Exchange;
use http::Http;
use patience::Patience;

/// The library repeats a refused nonce twice by itself; Pebble refuses 5 % of all on purpose, and RFC 8555 section 6.5
/// sets no bound. Ten rounds of three: with every second nonce refused, one call in 10^9 still fails.
const NONCE_ROUNDS: usize = 10;

/// Which CA, and how to reach and use it.
#[derive(Clone, Debug)]
pub struct AuthoritySettings {
    /// The directory.
    pub directory: Directory,
    /// What to trust instead of the compiled-in roots.
    pub ca_bundle: Option<CaBundle>,
    /// A proxy on the way.
    pub proxy: Option<Proxy>,
    /// The profile of every order; none leaves the choice to the CA.
    pub profile: Option<String>,
    /// The chain to store, by the common name of its topmost certificate's issuer; none leaves the choice to the CA.
    pub preferred_chain: Option<String>,
    /// Whom the CA may write to (RFC 8555 section 7.3).
    pub email: Option<String>,
    /// Who the CA already knows us as (RFC 8555 section 7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// Where the account is stored, for hints: a phrase such as "`acme-12.json` from the Secret `kube-lego/kube-lego-account`".
    pub account_entry: String,
}

/// A key that a CA's website gave out (RFC 8555 section 7.3.4). Its `Debug` does not show it.
#[derive(Clone)]
pub struct ExternalAccount {
    key_id: String,
    hmac_key: Vec<u8>,
}

impl ExternalAccount {
    /// From the key's id and its base64url text, as CAs hand it out: padding, blanks around it and the two
    /// characters of plain base64 are forgiven. The error never quotes the key.
    pub fn parse(key_id: &str, hmac_key: &str) -> Result<Self, String> {
        let text = hmac_key
            .trim()
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_");
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(hmac_key) if !hmac_key.is_empty() => Ok(Self {
                key_id: key_id.trim().to_owned(),
                hmac_key,
            }),
            Ok(_) => Err("the external account's key is empty".into()),
            Err(_) => Err("the external account's key is not base64url".into()),
        }
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A CA whose directory answered.
#[derive(Clone)]
pub struct Authority {
    settings: AuthoritySettings,
    http: Http,
    facts: DirectoryFacts,
    caller: Caller,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority")
            .field(&self.settings.directory.url())
            .finish()
    }
}

impl Authority {
    /// Reads and checks the directory (RFC 8555 section 7.1.1). Nothing else is asked for.
    pub async fn reach(settings: AuthoritySettings) -> Result<Self, AcmeError> {
        let url = settings.directory.url();
        let fail = |cause| AcmeError::new("read the directory", url, cause);
        let http = Http::new(settings.ca_bundle.as_ref(), settings.proxy.as_ref()).map_err(fail)?;
        let mut patience = Patience::brief();
        let facts = loop {
            let read = match http.get(url).await {
                Ok(answer) => {
                    let exchange = answer.exchange();
                    directory::read(answer).map_err(|cause| fail(cause).after(Some(&exchange)))
                }
                Err(cause) => Err(fail(cause)),
            };
            match read {
                Ok(facts) => break facts,
                Err(failure) => patience.rest(failure).await?,
            }
        };
        let caller = Caller {
            account_entry: settings.account_entry.as_str().into(),
        };
        Ok(Self {
            settings,
            http,
            facts,
            caller,
        })
    }

    /// The directory's URL.
    pub fn url(&self) -> &str {
        self.settings.directory.url()
    }

    /// Whether it gives renewal information (RFC 9773).
    pub fn has_renewal_information(&self) -> bool {
        self.facts.renewal_info.is_some()
    }

    /// By which names CAA records know the CA; none where the directory does not say.
    pub fn caa_identities(&self) -> &[String] {
        self.facts.meta.caa_identities.as_deref().unwrap_or_default()
    }

    /// Whether the directory lists the profile of the settings; the error lists what there is. Costs no request.
    pub fn check_profile(&self) -> Result<(), AcmeError> {
        let profiles = &self.facts.meta.profiles;
        match &self.settings.profile {
            Some(profile) if !profiles.contains_key(profile) => {
                let cause = Cause::UnknownProfile {
                    profile: profile.clone(),
                    known: listed(profiles.keys().map(String::as_str)),
                };
                Err(AcmeError::new("use the profile", self.url(), cause))
            }
            _ => Ok(()),
        }
    }

    /// The URL of a stored account, where it is this CA's and registered. The CA is not asked.
    pub fn account_url(&self, stored: &[u8]) -> Option<String> {
        StoredAccount::read(stored, self.url()).ok()?.url()
    }

    /// When the CA suggests to renew a certificate (RFC 9773 section 4.2). Needs no account.
    pub async fn renewal_window(&self, id: &CertificateId) -> Result<RenewalWindow, AcmeError> {
        let operation = "read the renewal information";
        let Some(base) = &self.facts.renewal_info else {
            return Err(AcmeError::new(operation, self.url(), Cause::NoRenewalInfo));
        };
        let url = format!("{}/{id}", base.trim_end_matches('/'));
        let fail = |cause| AcmeError::new(operation, &url, cause);
        let answer = self.http.get(&url).await.map_err(fail)?;
        let exchange = answer.exchange();
        directory::renewal_window(answer).map_err(|cause| fail(cause).after(Some(&exchange)))
    }

    fn account_of(&self, inner: library::Account, key: EcdsaKeyPair) -> Account {
        let reader = Reader {
            key,
            account: inner.id().to_owned(),
            http: self.http.clone(),
            new_nonce: self.facts.new_nonce.clone(),
        };
        Account {
            reader: Arc::new(reader),
            inner,
            caller: self.caller.clone(),
            directory: self.url().into(),
            gives_renewal_information: self.has_renewal_information(),
        }
    }
}

/// An account (RFC 8555 section 7.1.2). Cheap to clone; its key is never shown.
#[derive(Clone)]
pub struct Account {
    inner: library::Account,
    caller: Caller,
    reader: Arc<Reader>,
    directory: Arc<str>,
    gives_renewal_information: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Account").field(&self.url()).finish()
    }
}

impl Account {
    /// The account's URL.
    pub fn url(&self) -> &str {
        self.inner.id()
    }

    /// The thumbprint of its key (RFC 7638), base64url: the second half of every answer to HTTP-01.
    pub fn thumbprint(&self) -> &str {
        self.inner.key_thumbprint()
    }

    /// Creates an order (RFC 8555 section 7.4), or gets a pending one of the same names, as the CA likes.
    ///
    /// `replaces` names the certificate that this one follows (RFC 9773 section 5). Where the CA refuses it,
    /// the order is made without: [`Order::replaces_refused`] says so.
    pub async fn order(
        &self,
        names: &[DnsName],
        profile: Option<&str>,
        replaces: Option<&CertificateId>,
    ) -> Result<Order, AcmeError> {
        let mut replaces = replaces.filter(|_| self.gives_renewal_information);
        let mut refused = None;
        let mut patience = Patience::brief();
        loop {
            match self.create_order(names, profile, replaces).await {
                Ok(mut order) => {
                    order.replaces_refused = refused;
                    return Ok(order);
                }
                Err(error) if replaces.is_some() && refuses_replaces(error.cause()) => {
                    replaces = None;
                    refused = Some(error);
                }
                // Where only the answer was lost, there is one order more: it ends by itself, and CAs give a pending one again.
                Err(error) => patience.rest(error).await?,
            }
        }
    }

    async fn create_order(
        &self,
        names: &[DnsName],
        profile: Option<&str>,
        replaces: Option<&CertificateId>,
    ) -> Result<Order, AcmeError> {
        let identifiers: Vec<_> = names
            .iter()
            .map(|name| library::Identifier::Dns(name.as_str().to_owned()))
            .collect();
        let mut new = library::NewOrder::new(&identifiers);
        if let Some(profile) = profile {
            new = new.profile(profile);
        }
        if let Some(id) = replaces {
            new = new.replaces(library::CertificateIdentifier {
                authority_key_identifier: URL_SAFE_NO_PAD.encode(&id.authority_key_identifier).into(),
                serial: URL_SAFE_NO_PAD.encode(&id.serial).into(),
            });
        }
        let operation = format!("create an order for {}", summary(names));
        let inner = call!(self.caller, &operation, &self.directory, self.inner.new_order(&new))?;
        Ok(Order::new(inner, self.caller.clone(), Arc::clone(&self.reader)))
    }

    /// Takes up an order by its URL, in whatever state it is. [`AcmeError::ends_the_order`] where there is none any more.
    pub async fn resume(&self, url: &str) -> Result<Order, AcmeError> {
        let inner = insist!(self.caller, "resume the order", url, self.inner.order(url.to_owned()))?;
        Ok(Order::new(inner, self.caller.clone(), Arc::clone(&self.reader)))
    }
}

/// Whether an order was refused for what it replaces, as far as one can know: the certificate was replaced already
/// (409), is unknown (Pebble: 500), another account's, or the answer does not repeat the field (RFC 9773 section 5).
fn refuses_replaces(cause: &Cause) -> bool {
    match cause {
        Cause::Problem(problem) => {
            problem.status == Some(409)
                || matches!(
                    problem.kind.as_str(),
                    "alreadyReplaced" | "malformed" | "serverInternal" | "unauthorized" | "conflict"
                )
        }
        Cause::Other(words) => words.contains("replaces field mismatch"),
        _ => false,
    }
}

/// How the library is called: what is common to all its calls.
#[derive(Clone)]
struct Caller {
    account_entry: Arc<str>,
}

impl Caller {
    /// What one round of [`call!`] came to; nothing where it is to be repeated.
    fn judge<T>(
        &self,
        round: usize,
        operation: &str,
        url: &str,
        (result, exchange): (Result<T, library::Error>, Option<Exchange>),
    ) -> Option<Result<T, AcmeError>> {
        let cause = match result {
            Ok(value) => return Some(Ok(value)),
            Err(error) => Cause::from(error),
        };
        let refused = matches!(&cause, Cause::Problem(problem) if problem.kind == "badNonce");
        if refused && round < NONCE_ROUNDS {
            log::debug!("asking again, the nonce was refused: cannot {operation}");
            return None;
        }
        let error = AcmeError::new(operation, url, cause).after(exchange.as_ref());
        Some(Err(error.of_account(&self.account_entry)))
    }
}

/// Names in a sentence: all of a few, else the first and how many more.
fn summary(names: &[DnsName]) -> String {
    let shown = listed(names.iter().take(3).map(DnsName::as_str));
    match names.len().saturating_sub(3) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
