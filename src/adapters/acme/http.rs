//! HTTP as ACME needs it, under instant-acme: what the library leaves to its client is done here.
//!
//! A deadline and a size bound for each exchange, roots of trust that do not come from the file system, a proxy,
//! and the facts that the library drops: status and Retry-After.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::alternate::alternates;
use super::error::{Cause, one_line};
use super::exchange::{Exchange, remember};

/// For one request and its whole answer, connecting included.
const REQUEST_SECONDS: u64 = 30;
/// For connecting alone: a packet filter that drops must not eat the whole deadline of an address list.
const CONNECT_SECONDS: u64 = 10;
/// Shorter than servers keep an idle connection: a request on one that just closed would fail.
const IDLE_SECONDS: u64 = 15;
/// A chain of certificates has some 10 KB, an order of 100 names as much.
const BODY_BYTES: usize = 1 << 20;
/// How much of an unexpected body is shown.
const EXCERPT_CHARACTERS: usize = 120;

const AGENT: &str = concat!(
    "kube-lego-once/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    ")"
);

type Body = BodyWrapper<Bytes>;

/// Certificates to trust instead of the compiled-in roots: every one of a PEM file. Its `Debug` is the name alone.
#[derive(Clone)]
pub struct CaBundle {
    /// The file's name, for messages.
    pub name: String,
    /// Its content.
    pub pem: Vec<u8>,
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaBundle").field(&self.name).finish()
    }
}

/// An HTTP proxy, spoken to with CONNECT. Its `Debug` shows no password.
#[derive(Clone)]
pub struct Proxy {
    /// Where it is, as in `HTTPS_PROXY`: `http://[user:password@]host:port`.
    pub url: String,
    /// Hosts that need none, as in `NO_PROXY`.
    pub exempt: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.rsplit('@').next().unwrap_or_default();
        f.debug_struct("Proxy")
            .field("url", &url)
            .field("exempt", &self.exempt)
            .finish()
    }
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Http {
    direct: Client<HttpsConnector<HttpConnector>, Body>,
    proxied: Option<Proxied>,
}

#[derive(Clone)]
struct Proxied {
    matcher: Arc<Matcher>,
    client: Client<HttpsConnector<Tunnel<HttpConnector>>, Body>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) parts: response::Parts,
    pub(super) body: Bytes,
}

impl Http {
    /// Reads the bundle and the proxy; connects to nothing yet.
    pub(super) fn new(bundle: Option<&CaBundle>, proxy: Option<&Proxy>) -> Result<Self, Cause> {
        let tls = tls_config(roots(bundle)?)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(CONNECT_SECONDS)));
        let proxied = match proxy {
            None => None,
            Some(proxy) => {
                let (matcher, intercept) = matcher(proxy)?;
                let mut tunnel = Tunnel::new(intercept.uri().clone(), tcp.clone());
                if let Some(auth) = intercept.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone());
                let connector = connector.https_only().enable_http1().wrap_connector(tunnel);
                Some(Proxied {
                    matcher: Arc::new(matcher),
                    client: pool().build(connector),
                })
            }
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = connector.https_only().enable_http1().wrap_connector(tcp);
        Ok(Self {
            direct: pool().build(connector),
            proxied,
        })
    }

    /// Asks for a document that needs no signature: the directory, renewal information.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, Cause> {
        let request = Request::builder().uri(url).body(Body::default());
        self.exchange(request.map_err(|error| no_url(&error))?).await
    }

    /// A fresh nonce (RFC 8555 section 7.2).
    pub(super) async fn nonce(&self, url: &str) -> Result<String, Cause> {
        let request = Request::head(url).body(Body::default());
        let answer = self.exchange(request.map_err(|error| no_url(&error))?).await?;
        if !answer.parts.status.is_success() {
            return Err(answer.into_cause());
        }
        let nonce = answer
            .parts
            .headers
            .get("replay-nonce")
            .and_then(|nonce| nonce.to_str().ok());
        nonce.map(str::to_owned).ok_or_else(|| Cause::Unreadable {
            reason: "the answer has no nonce".into(),
            beginning: String::new(),
        })
    }

    /// Sends a signed request (RFC 8555 section 6.2).
    pub(super) async fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, Cause> {
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/jose+json")
            .body(Body::from(body));
        self.exchange(request.map_err(|error| no_url(&error))?).await
    }

    /// One request and its whole answer, whatever its status.
    async fn exchange(&self, mut request: Request<Body>) -> Result<Answer, Cause> {
        remember(None);
        let agent = agent(request.headers());
        request.headers_mut().insert(USER_AGENT, agent);
        let exchange = async {
            let (parts, body) = self.send(request).await?.into_parts();
            let body = Limited::new(body, BODY_BYTES).collect().await.map_err(body_cause)?;
            let body = body.to_bytes();
            Ok(Answer { parts, body })
        };
        let timed = tokio::time::timeout(Duration::from_secs(REQUEST_SECONDS), exchange).await;
        let answer: Answer = timed.unwrap_or(Err(Cause::TimedOut(REQUEST_SECONDS)))?;
        remember(Some(answer.exchange()));
        Ok(answer)
    }

    async fn send(&self, request: Request<Body>) -> Result<http::Response<hyper::body::Incoming>, Cause> {
        let intercepted = self.proxied.as_ref().and_then(|proxied| {
            let intercept = proxied.matcher.intercept(request.uri())?;
            Some((&proxied.client, intercept.uri().clone()))
        });
        match intercepted {
            Some((client, proxy)) => client
                .request(request)
                .await
                .map_err(|error| cause(&error, Some(proxy))),
            None => self.direct.request(request).await.map_err(|error| cause(&error, None)),
        }
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<Body>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let headless = request.method() == Method::HEAD;
            let exchange = async {
                let answer = http.exchange(request).await?;
                // The library would parse what a load balancer says as a problem document.
                if answer.parts.status.is_success() || (!headless && answer.problem().is_some()) {
                    Ok(answer)
                } else {
                    Err(answer.into_cause())
                }
            };
            match exchange.await {
                Ok(answer) => Ok(BytesResponse {
                    parts: answer.parts,
                    body: Box::new(answer.body),
                }),
                Err(cause) => Err(instant_acme::Error::Other(Box::new(cause))),
            }
        })
    }
}

impl Answer {
    /// The facts beside the body.
    pub(super) fn exchange(&self) -> Exchange {
        Exchange {
            status: self.parts.status,
            retry_after: retry_after(&self.parts.headers, Timestamp::now()),
            alternates: alternates(&self.parts.headers),
        }
    }

    /// The body as a problem document (RFC 8555 section 6.7), whatever its media type says.
    pub(super) fn problem(&self) -> Option<instant_acme::Problem> {
        let problem: instant_acme::Problem = serde_json::from_slice(&self.body).ok()?;
        (problem.r#type.is_some() || problem.detail.is_some()).then_some(problem)
    }

    /// The body's beginning, on one line.
    pub(super) fn beginning(&self) -> String {
        // Longer than what is shown, so that indentation does not count; never the whole.
        let head = &self.body[..self.body.len().min(8 * EXCERPT_CHARACTERS)];
        let line = one_line(&String::from_utf8_lossy(head));
        match line.char_indices().nth(EXCERPT_CHARACTERS) {
            Some((end, _)) => format!("{}...", &line[..end]),
            None => line,
        }
    }

    /// The error that an answer without success is.
    pub(super) fn into_cause(self) -> Cause {
        if let Some(problem) = self.problem() {
            return Cause::Problem(super::error::Problem::new(&problem));
        }
        let location = self.parts.headers.get(http::header::LOCATION);
        match location.filter(|_| self.parts.status.is_redirection()) {
            // Signatures cover the URL (RFC 8555 section 6.4): a redirect is never followed.
            Some(location) => Cause::Answered {
                status: self.parts.status,
                beginning: one_line(&String::from_utf8_lossy(location.as_bytes())),
            },
            None => Cause::Answered {
                status: self.parts.status,
                beginning: self.beginning(),
            },
        }
    }
}

fn no_url(error: &http::Error) -> Cause {
    Cause::Setting(format!("this is no URL: {error}"))
}

fn pool() -> legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(IDLE_SECONDS));
    builder
}

/// Our name first, then the library's (RFC 8555 section 6.1).
fn agent(headers: &HeaderMap) -> HeaderValue {
    let library = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let whole = library.and_then(|library| HeaderValue::from_str(&format!("{AGENT} {library}")).ok());
    whole.unwrap_or(HeaderValue::from_static(AGENT))
}

/// Every certificate of the bundle and no other; without one, Mozilla's as compiled in: an image need not hold any.
fn roots(bundle: Option<&CaBundle>) -> Result<RootCertStore, Cause> {
    let Some(CaBundle { name, pem }) = bundle else {
        return Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
    };
    let mut store = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let refuse = |error: &dyn fmt::Display| {
            Cause::Setting(format!(
                "certificate {} of the CA bundle `{name}` cannot be read: {error}",
                index + 1
            ))
        };
        let certificate = certificate.map_err(|error| refuse(&error))?;
        store.add(certificate).map_err(|error| refuse(&error))?;
    }
    match store.is_empty() {
        true => Err(Cause::Setting(format!("the CA bundle `{name}` has no certificate"))),
        false => Ok(store),
    }
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, Cause> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Cause::Other(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The matcher ignores what it cannot use; a proxy that was configured must not be bypassed in silence.
fn matcher(proxy: &Proxy) -> Result<(Matcher, Intercept), Cause> {
    let everything = Matcher::builder().https(proxy.url.as_str()).build();
    let intercept = everything
        .intercept(&Uri::from_static("https://authority.invalid/"))
        .ok_or_else(|| Cause::Setting("the proxy's URL cannot be read".into()))?;
    if intercept.uri().scheme_str() != Some("http") {
        let scheme = intercept.uri().scheme_str().unwrap_or_default();
        return Err(Cause::Setting(format!("a proxy must be `http://`, not `{scheme}://`")));
    }
    let matcher = Matcher::builder()
        .https(proxy.url.as_str())
        .no(proxy.exempt.as_str())
        .build();
    Ok((matcher, intercept))
}

/// Retry-After (RFC 9110 section 10.2.3): seconds or a date. More seconds than there is time are all the time that there is.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(i64::MAX);
        return now.saturating_add(SignedDuration::from_secs(seconds)).ok();
    }
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn body_cause(error: Box<dyn Error + Send + Sync>) -> Cause {
    if error.is::<LengthLimitError>() {
        return Cause::TooLong(BODY_BYTES);
    }
    Cause::Unreachable {
        proxy: None,
        reason: format!("the answer broke off: {}", one_line(&error.to_string())),
    }
}

fn cause(error: &legacy::Error, proxy: Option<Uri>) -> Cause {
    let mut words: Vec<String> = Vec::new();
    let mut link = error.source();
    while let Some(error) = link {
        if let Some(rustls::Error::InvalidCertificate(reason)) = tls_error(error) {
            return untrusted(reason);
        }
        let said = one_line(&error.to_string());
        if words.last() != Some(&said) {
            words.push(said);
        }
        link = error.source();
    }
    if words.is_empty() {
        words.push(one_line(&error.to_string()));
    }
    Cause::Unreachable {
        proxy,
        reason: words.join(": "),
    }
}

/// An I/O error keeps its inner error out of the chain of sources, and hyper-rustls wraps one in another.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<std::io::Error>() {
        Some(outer) => tls_error(outer.get_ref()?),
        None => error.downcast_ref(),
    }
}

fn untrusted(reason: &CertificateError) -> Cause {
    // A self-signed server certificate is a CA's or is unknown, as it was made.
    let unknown_issuer = match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => true,
        CertificateError::Other(other) => other.to_string().contains("CaUsedAsEndEntity"),
        _ => false,
    };
    let reason = match reason {
        CertificateError::UnknownIssuer => "its issuer is not known".to_owned(),
        other => one_line(&other.to_string()),
    };
    Cause::Untrusted { unknown_issuer, reason }
}

#[cfg(test)]
mod tests;
