//! Accounts: a key is stored, then registered, so that a killed run leaves no account whose key is lost.
//!
//! Registering the same key again gives the same account (RFC 8555 section 7.3). instant-acme registers a key of its own
//! making or, without an external account, a given one. This needs both, so it signs this one request itself; all else is
//! the library's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme as library;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{AcmeError, Cause};
use super::exchange::watched;
use super::patience::Patience;
use super::{Account, Authority, ExternalAccount, NONCE_ROUNDS};

/// An account as it is stored: the library's own form, but `id` is missing until the account is registered.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    /// The account's URL (RFC 8555 section 7.1.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The private key: DER (PKCS#8) in base64url.
    key_pkcs8: String,
    /// The directory's URL.
    directory: Option<String>,
}

/// An account that the CA knows, and what became of the one that was stored.
#[derive(Debug)]
pub struct KnownAccount {
    /// The account.
    pub account: Account,
    /// What is to be stored from now on, where that is not what was stored. It holds the private key: not for logs.
    pub store: Option<Vec<u8>>,
    /// The URL of the account that was stored and that the CA does not know any more.
    pub lost: Option<String>,
}

impl Authority {
    /// A key for a new account, as it is to be stored before [`Authority::account`] registers it.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new_account_key(&self) -> Result<Vec<u8>, AcmeError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let key = key.map_err(|_| {
            self.fail(
                "make an account's key",
                Cause::Other("there are no random bytes".into()),
            )
        })?;
        self.written(None, URL_SAFE_NO_PAD.encode(key.as_ref()))
    }

    /// The account of a stored key. A key that the CA does not know is registered (RFC 8555 section 7.3), which agrees to
    /// its terms of service: the first time, and when the CA has lost the account.
    ///
    /// # Errors
    /// Where the CA refuses, or wants an external account that is not among the settings.
    pub async fn account(&self, stored: &[u8]) -> Result<KnownAccount, AcmeError> {
        let operation = "open the stored account";
        let fail = |cause| self.fail(operation, cause);
        let stored = StoredAccount::read(stored, self.url()).map_err(fail)?;
        let (der, key) = stored.key().map_err(fail)?;
        let found = match &stored.id {
            Some(_) => self.find(&key).await?,
            None => None,
        };
        let lost = stored.id.clone().filter(|_| found.is_none());
        let url = match found {
            Some(url) => url,
            None => self.register(&key).await?,
        };
        let inner = insist!(self.caller, operation, self.url(), {
            let builder = library::Account::builder_with_http(Box::new(self.http.clone()));
            builder.from_parts(
                url.clone(),
                PrivatePkcs8KeyDer::from(der.as_slice()),
                self.url().to_owned(),
            )
        })?;
        let store = match stored.id.as_ref() == Some(&url) {
            true => None,
            false => Some(self.written(Some(url), stored.key_pkcs8)?),
        };
        let account = self.account_of(inner, key);
        Ok(KnownAccount { account, store, lost })
    }

    /// The URL of the key's account, where the CA knows one (RFC 8555 section 7.3.1).
    async fn find(&self, key: &EcdsaKeyPair) -> Result<Option<String>, AcmeError> {
        let payload = json!({"onlyReturnExisting": true});
        match self.new_account("find the account", key, &payload).await {
            Ok(url) => Ok(Some(url)),
            Err(error) if error.is_account_unknown() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn register(&self, key: &EcdsaKeyPair) -> Result<String, AcmeError> {
        let operation = "register an account";
        let mut payload = json!({"termsOfServiceAgreed": true});
        if let Some(email) = &self.settings.email {
            payload["contact"] = json!([format!("mailto:{email}")]);
        }
        match &self.settings.external_account {
            Some(external) => payload["externalAccountBinding"] = binding(external, key, &self.facts.new_account),
            None if self.facts.meta.external_account_required => {
                return Err(self.fail(operation, Cause::ExternalAccountRequired));
            }
            None => {}
        }
        self.new_account(operation, key, &payload).await
    }

    /// Sends a `newAccount` request (RFC 8555 section 7.3): the account's URL. The same key gives the same account, so that it is
    /// sent again where the answer was lost.
    async fn new_account(&self, operation: &str, key: &EcdsaKeyPair, payload: &Value) -> Result<String, AcmeError> {
        let mut patience = Patience::brief();
        loop {
            match self.try_new_account(operation, key, payload).await {
                Ok(url) => return Ok(url),
                Err(failure) => patience.rest(failure).await?,
            }
        }
    }

    async fn try_new_account(&self, operation: &str, key: &EcdsaKeyPair, payload: &Value) -> Result<String, AcmeError> {
        let url = &self.facts.new_account;
        let mut round = 0;
        loop {
            round += 1;
            let asked = async {
                let nonce = self.http.nonce(&self.facts.new_nonce).await?;
                let body = signed(key, Identity::Key, &nonce, url, encoded(payload))?;
                let answer = self.http.post(url, body).await?;
                if !answer.parts.status.is_success() {
                    return Err(answer.into_cause());
                }
                let location = answer.parts.headers.get(http::header::LOCATION);
                let location = location.and_then(|location| location.to_str().ok());
                location.map(str::to_owned).ok_or_else(|| Cause::Unreadable {
                    reason: "the answer names no account".into(),
                    beginning: answer.beginning(),
                })
            };
            let (asked, exchange) = watched(asked).await;
            match asked {
                Ok(account) => return Ok(account),
                Err(Cause::Problem(problem)) if problem.kind == "badNonce" && round < 3 * NONCE_ROUNDS => {
                    log::debug!("asking again, the nonce was refused: cannot {operation}");
                }
                Err(cause) => {
                    return Err(AcmeError::new(operation, url, cause)
                        .after(exchange.as_ref())
                        .of_account(&self.settings.account_entry));
                }
            }
        }
    }

    fn written(&self, id: Option<String>, key_pkcs8: String) -> Result<Vec<u8>, AcmeError> {
        let directory = Some(self.url().to_owned());
        let stored = StoredAccount {
            id,
            key_pkcs8,
            directory,
        };
        serde_json::to_vec(&stored)
            .map_err(|_| self.fail("store the account", Cause::Other("it cannot be written".into())))
    }

    fn fail(&self, operation: &str, cause: Cause) -> AcmeError {
        AcmeError::new(operation, self.url(), cause).of_account(&self.settings.account_entry)
    }
}

impl StoredAccount {
    pub(super) fn read(bytes: &[u8], directory: &str) -> Result<Self, Cause> {
        // serde_json's words quote the text, and the text holds a key: only where.
        let stored: Self = serde_json::from_slice(bytes).map_err(|error| {
            Cause::Credentials(format!("no account at line {} column {}", error.line(), error.column()))
        })?;
        match &stored.directory {
            Some(other) if other != directory => Err(Cause::Credentials(format!("it belongs to `{other}`"))),
            _ => Ok(stored),
        }
    }

    /// The account's URL, once it is registered.
    pub(super) fn url(self) -> Option<String> {
        self.id
    }

    /// The private key in DER, and to sign with.
    pub(super) fn key(&self) -> Result<(Vec<u8>, EcdsaKeyPair), Cause> {
        let der = URL_SAFE_NO_PAD.decode(&self.key_pkcs8);
        let der = der.map_err(|_| Cause::Credentials("its key is not base64url".into()))?;
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &SystemRandom::new()) {
            Ok(key) => Ok((der, key)),
            Err(_) => Err(Cause::Credentials("its key is no P-256 key".into())),
        }
    }
}

/// Whose request it is.
pub(super) enum Identity<'a> {
    /// A key's that has no account yet.
    Key,
    /// An account's, by its URL.
    Account(&'a str),
}

/// A signed request (RFC 8555 section 6.2). The payload is base64url, or empty where something is only read.
pub(super) fn signed(
    key: &EcdsaKeyPair,
    identity: Identity<'_>,
    nonce: &str,
    url: &str,
    payload: String,
) -> Result<Vec<u8>, Cause> {
    let mut protected = json!({"alg": "ES256", "nonce": nonce, "url": url});
    match identity {
        Identity::Key => protected["jwk"] = jwk(key),
        Identity::Account(account) => protected["kid"] = account.into(),
    }
    let protected = encoded(&protected);
    let signature = key.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes());
    let signature = signature.map_err(|_| Cause::Other("it cannot be signed".into()))?;
    Ok(flattened(protected, payload, signature.as_ref())
        .to_string()
        .into_bytes())
}

/// What binds a key to an external account (RFC 8555 section 7.3.4).
fn binding(external: &ExternalAccount, key: &EcdsaKeyPair, url: &str) -> Value {
    let protected = json!({"alg": "HS256", "kid": external.key_id, "url": url});
    let (protected, payload) = (encoded(&protected), encoded(&jwk(key)));
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &external.hmac_key);
    let signature = hmac::sign(&hmac_key, format!("{protected}.{payload}").as_bytes());
    flattened(protected, payload, signature.as_ref())
}

/// The public key (RFC 7517; RFC 7518 section 6.2.1).
fn jwk(key: &EcdsaKeyPair) -> Value {
    // An uncompressed point: 4, then the two coordinates.
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    json!({"crv": "P-256", "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The flattened JSON form of a signature (RFC 7515 section 7.2.2).
fn flattened(protected: String, payload: String, signature: &[u8]) -> Value {
    json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)})
}
