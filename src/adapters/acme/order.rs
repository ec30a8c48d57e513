//! One order (RFC 8555 section 7.1.3), from whatever state it is in to its certificate.

use std::fmt;
use std::sync::Arc;

use instant_acme as library;
use library::{AuthorizationStatus, ChallengeStatus, ChallengeType, OrderStatus};
use tokio::time::Instant;

use super::Caller;
use super::alternate::Reader;
use super::error::{AcmeError, Cause, HostProblem, Problem, listed, one_line};
use super::exchange::{self, Exchange};
use super::patience::{Patience, may_pass};

/// The states of an order (RFC 8555 section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// Authorizations are missing.
    Pending,
    /// It can be finalized.
    Ready,
    /// It is finalized, and the certificate is being made.
    Processing,
    /// There is a certificate.
    Valid,
    /// It failed for good.
    Invalid,
}

impl From<OrderStatus> for OrderState {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Ready => Self::Ready,
            OrderStatus::Processing => Self::Processing,
            OrderStatus::Valid => Self::Valid,
            OrderStatus::Invalid => Self::Invalid,
        }
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        })
    }
}

/// An order of an [`Account`](super::Account).
pub struct Order {
    inner: library::Order,
    caller: Caller,
    reader: Arc<Reader>,
    url: String,
    /// The URLs of the other chains, once the certificate is there.
    alternates: Vec<String>,
    pub(super) replaces_refused: Option<AcmeError>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Order").field(&self.url).finish()
    }
}

impl Order {
    pub(super) fn new(inner: library::Order, caller: Caller, reader: Arc<Reader>) -> Self {
        Self {
            url: inner.url().to_owned(),
            inner,
            caller,
            reader,
            alternates: Vec::new(),
            replaces_refused: None,
        }
    }

    /// Its URL: what to keep, to resume it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The state as it was last seen. `&mut` is the library's wish.
    pub fn state(&mut self) -> OrderState {
        self.inner.state().status.into()
    }

    /// Why the CA refused `replaces`, where this order is one without it.
    pub fn replaces_refused(&self) -> Option<&AcmeError> {
        self.replaces_refused.as_ref()
    }

    /// Has every pending authorization validated by HTTP-01 (RFC 8555 sections 7.5.1 and 8.3), until the order is
    /// ready or beyond.
    ///
    /// The answers have to be in place. Where hosts fail, the error has each one's problem. A request that is under way
    /// at the deadline is not cut off: 30 s at most.
    pub async fn validate(&mut self, deadline: impl Into<Instant>) -> Result<(), AcmeError> {
        let deadline = deadline.into();
        if self.state() == OrderState::Pending {
            let failed = self.answer_all(deadline).await?;
            if !failed.is_empty() {
                let cause = Cause::Invalid {
                    hosts: failed,
                    order: None,
                };
                return Err(AcmeError::new(VALIDATE, &self.url, cause));
            }
            self.poll(VALIDATE, deadline, OrderState::Pending, None).await?;
        }
        match self.state() {
            OrderState::Invalid => Err(self.invalid(VALIDATE).await),
            _ => Ok(()),
        }
    }

    /// The certificate with the whole chain in PEM, as sent (RFC 8555 sections 7.4 and 7.4.2).
    ///
    /// Finalizes with the CSR where the order is `ready`; takes up one that is `processing` or `valid` where it is.
    ///
    /// `may_finalize` is asked before each finalize, since one whose answer was lost is sent again (I3).
    pub async fn certificate(
        &mut self,
        csr_der: &[u8],
        deadline: impl Into<Instant>,
        may_finalize: impl Fn() -> bool,
    ) -> Result<String, AcmeError> {
        let deadline = deadline.into();
        let mut heard = None;
        if self.state() == OrderState::Ready {
            heard = self.finalize(csr_der, deadline, may_finalize).await?;
        }
        if self.state() == OrderState::Processing {
            self.poll(CERTIFICATE, deadline, OrderState::Processing, heard).await?;
        }
        match self.state() {
            OrderState::Valid => self.download(deadline).await,
            OrderState::Invalid => Err(self.invalid(CERTIFICATE).await),
            state => Err(AcmeError::new(CERTIFICATE, &self.url, Cause::State(state))),
        }
    }

    /// The chains that the CA offers beside the one that [`Order::certificate`] returned (RFC 8555 section 7.4.2).
    pub async fn other_chains(&self) -> Result<Vec<String>, AcmeError> {
        let mut chains = Vec::new();
        for url in &self.alternates {
            chains.push(self.reader.chain(url).await?);
        }
        Ok(chains)
    }

    /// Answers the challenge of every authorization; returns the hosts whose validation failed right there.
    async fn answer_all(&mut self, deadline: Instant) -> Result<Vec<HostProblem>, AcmeError> {
        let mut failed = Vec::new();
        for index in 0..self.inner.state().authorizations.len() {
            failed.extend(self.answer(index, deadline).await?);
        }
        Ok(failed)
    }

    async fn answer(&mut self, index: usize, deadline: Instant) -> Result<Option<HostProblem>, AcmeError> {
        let mut patience = Patience::until(deadline);
        // Where an answer was lost, the challenge may be under way: its state is read before it is answered again.
        let mut refresh = false;
        loop {
            let answered = call!(self.caller, VALIDATE, &self.url, {
                let refresh = std::mem::replace(&mut refresh, true);
                answer_one(&mut self.inner, index, refresh)
            });
            match answered {
                Ok(failed) => return Ok(failed),
                Err(failure) => patience.rest(failure).await?,
            }
        }
    }

    /// Finalizes. A lost answer may hide an order that moved on: its state decides what comes next.
    async fn finalize(
        &mut self,
        csr_der: &[u8],
        deadline: Instant,
        may_finalize: impl Fn() -> bool,
    ) -> Result<Option<Exchange>, AcmeError> {
        let mut patience = Patience::until(deadline);
        loop {
            if !may_finalize() {
                let cause = Cause::Other("another run may have taken over".into());
                return Err(AcmeError::new(FINALIZE, &self.url, cause));
            }
            let finalized = call!(self.caller, FINALIZE, &self.url, async {
                self.inner.finalize_csr(csr_der).await?;
                Ok(exchange::last())
            });
            let failure = match finalized {
                Ok(exchange) => return Ok(exchange),
                Err(failure) => failure,
            };
            let not_ready = matches!(failure.cause(), Cause::Problem(problem) if problem.kind == "orderNotReady");
            if !may_pass(&failure) && !not_ready {
                return Err(failure);
            }
            match self.refresh(FINALIZE).await {
                Ok(exchange) if self.state() != OrderState::Ready => return Ok(exchange),
                Ok(_) => patience.rest(failure).await?,
                Err(failure) => patience.rest(failure).await?,
            }
        }
    }

    async fn download(&mut self, deadline: Instant) -> Result<String, AcmeError> {
        let mut patience = Patience::until(deadline);
        loop {
            let downloaded = call!(self.caller, CERTIFICATE, &self.url, async {
                Ok((self.inner.certificate().await?, exchange::last()))
            });
            match downloaded {
                Ok((Some(chain), exchange)) if chain.contains("-----BEGIN CERTIFICATE-----") => {
                    self.alternates = exchange.map(|exchange| exchange.alternates).unwrap_or_default();
                    return Ok(chain);
                }
                Ok((Some(other), _)) => {
                    let cause = Cause::Unreadable {
                        reason: "the answer is no certificate".into(),
                        beginning: one_line(&other.chars().take(120).collect::<String>()),
                    };
                    patience.rest(AcmeError::new(CERTIFICATE, &self.url, cause)).await?;
                }
                Ok((None, _)) => patience.rest(self.waiting(CERTIFICATE)).await?,
                Err(failure) => patience.rest(failure).await?,
            }
        }
    }

    /// Asks for the order until it has left a state. The library's own polling does not end for an order that is
    /// further than it expects, and gives up where one answer is missing.
    ///
    /// `heard` is an answer that had the order in that state: what it says of when to ask again is obeyed (RFC 8555 section
    /// 7.4).
    async fn poll(
        &mut self,
        operation: &str,
        deadline: Instant,
        leave: OrderState,
        heard: Option<Exchange>,
    ) -> Result<(), AcmeError> {
        let mut patience = Patience::until(deadline);
        if heard.is_some() {
            let failure = self.waiting(operation).after(heard.as_ref());
            patience.rest(failure).await?;
        }
        loop {
            match self.refresh(operation).await {
                Ok(_) if self.state() != leave => return Ok(()),
                Ok(exchange) => {
                    let failure = self.waiting(operation).after(exchange.as_ref());
                    patience.rest(failure).await?;
                }
                Err(failure) => patience.rest(failure).await?,
            }
        }
    }

    fn waiting(&mut self, operation: &str) -> AcmeError {
        let state = self.state();
        AcmeError::new(operation, &self.url, Cause::Waiting(state))
    }

    async fn refresh(&mut self, operation: &str) -> Result<Option<Exchange>, AcmeError> {
        call!(self.caller, operation, &self.url, async {
            self.inner.refresh().await?;
            Ok(exchange::last())
        })
    }

    /// The error that an invalid order is: each host's problem, where the authorizations can still be read.
    async fn invalid(&mut self, operation: &str) -> AcmeError {
        let order = self.inner.state().error.as_ref().map(Problem::new);
        let read = insist!(self.caller, operation, &self.url, host_problems(&mut self.inner));
        let hosts = read.unwrap_or_else(|error| {
            log::debug!("the failed order's authorizations stay unread: {error}");
            Vec::new()
        });
        AcmeError::new(operation, &self.url, Cause::Invalid { hosts, order })
    }
}

/// Completes "cannot ...".
const VALIDATE: &str = "have the hosts validated";
const FINALIZE: &str = "finalize the order";
const CERTIFICATE: &str = "get the certificate";

/// Answers the challenge of one authorization, where that is still to be done. A problem of its host is no error
/// here: others have theirs, and all are wanted.
async fn answer_one(
    order: &mut library::Order,
    index: usize,
    refresh: bool,
) -> Result<Option<HostProblem>, library::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..index {
        // Those before were read already: this asks for nothing.
        authorizations.next().await.transpose()?;
    }
    let Some(mut authorization) = authorizations.next().await.transpose()? else {
        return Ok(None);
    };
    if refresh {
        authorization.refresh().await?;
    }
    if authorization.status != AuthorizationStatus::Pending {
        return Ok(None);
    }
    let host = authorization.identifier().to_string();
    let offered = listed(authorization.challenges.iter().map(|challenge| kind(&challenge.r#type)));
    let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
        return Err(library::Error::Other(Box::new(Cause::NoHttpChallenge {
            host,
            offered,
        })));
    };
    if challenge.status != ChallengeStatus::Pending {
        return Ok(None);
    }
    match challenge.set_ready().await {
        Ok(()) => Ok(None),
        // A success whose challenge has an error: a CA that validates while one waits (step-ca).
        Err(library::Error::Api(problem)) if exchange::last().is_some_and(|exchange| exchange.status.is_success()) => {
            Ok(Some(Problem::new(&problem).of_host(&host)))
        }
        Err(error) => Err(error),
    }
}

fn kind(challenge: &ChallengeType) -> &str {
    match challenge {
        ChallengeType::Http01 => "http-01",
        ChallengeType::Dns01 => "dns-01",
        ChallengeType::TlsAlpn01 => "tls-alpn-01",
        ChallengeType::DeviceAttest01 => "device-attest-01",
        ChallengeType::Unknown(name) => name,
        _ => "another",
    }
}

/// What was said of each host of an order that failed.
async fn host_problems(order: &mut library::Order) -> Result<Vec<HostProblem>, library::Error> {
    let mut problems = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await.transpose()? {
        let host = authorization.identifier().to_string();
        let said = authorization
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.as_ref());
        let problem = match (authorization.status, said) {
            (AuthorizationStatus::Valid | AuthorizationStatus::Pending, None) => continue,
            (AuthorizationStatus::Valid, Some(_)) => continue,
            (_, Some(problem)) => Problem::new(problem).of_host(&host),
            (status, None) => HostProblem {
                host,
                kind: String::new(),
                detail: format!("the authorization is `{}`", format!("{status:?}").to_lowercase()),
            },
        };
        problems.push(problem);
    }
    Ok(problems)
}
