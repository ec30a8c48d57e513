//! The prober: it asks a route again and again until it is proved or the time is over.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::try_join;
use hickory_resolver::TokioResolver;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::{TlsConnector, rustls};

use super::caa::Caa;
use super::failure::{CIRCLE, ProbeFailure};
use super::places::Places;
use super::proof::{Answered, Proved, Row, Way};
use super::rules::{Answer, Target, Verdict, judge, may_fall_back, reachable};
use super::settings::{ProbeMode, ProbeSettings};
use super::wire;
use crate::decide::name::{DnsName, RunId};
use crate::decide::observed::CHALLENGE_PATH;
use crate::decide::route::Proof;

/// Controllers need 36 ms to 5 s to take up a route: the first looks follow at once, and the pauses between them double.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(750);
/// Attempts at the same time. A dead host has a turn while it is asked, not while it is waited for. It is a part of what the
/// usual limit of open files allows (1,024).
const ATTEMPTS_MAX: usize = 400;
/// Questions that are under way at the same time: each takes memory here, and in the challenge responder that it reaches.
const QUESTIONS_MAX: usize = 32;
/// What has no answer after so long has hardly reached a responder of ours, and no longer counts as one of these: then the attempts'
/// bound is its own.
const PATIENCE: Duration = Duration::from_millis(500);
pub(super) const REDIRECTS_MAX: usize = 10;

/// Why there is no prober.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No resolver could be made.
    #[error("cannot read the DNS configuration (`/etc/resolv.conf`; or give a server with `--resolver`): {0}")]
    Resolver(String),
    /// The system gave no random bytes.
    #[error("the system has no random bytes for a probe's token")]
    Random,
    /// The TLS provider lacks the protocol versions.
    #[error("cannot set up TLS for redirects to https: {0}")]
    Tls(rustls::Error),
}

/// Probes routes, any number at a time.
pub struct Prober {
    settings: ProbeSettings,
    caa: Caa,
    run: RunId,
    thumbprint: String,
    resolver: TokioResolver,
    tls: TlsConnector,
    seed: [u8; 32],
    tokens: AtomicU64,
    turns: Places,
    questions: Places,
}

/// Whose question it is.
#[derive(Clone, Copy, Debug)]
pub struct Probed<'a> {
    /// The host.
    pub host: &'a DnsName,
    /// The namespace that wants a certificate for it.
    pub namespace: &'a str,
    /// The IP addresses and host names that a controller wrote into the Ingress's status.
    pub status: &'a [String],
}

impl Prober {
    /// A prober for the answers of `run`, whose account key has this thumbprint (RFC 7638, base64url).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system lacks something that every probe needs.
    pub fn new(settings: ProbeSettings, run: RunId, thumbprint: String) -> Result<Self, ProbeError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| ProbeError::Random)?;
        Ok(Self {
            resolver: wire::resolver(settings.resolver).map_err(|error| ProbeError::Resolver(error.to_string()))?,
            tls: wire::tls_connector().map_err(ProbeError::Tls)?,
            caa: Caa::new(settings.caa_identities.clone()),
            settings,
            run,
            thumbprint,
            seed,
            tokens: AtomicU64::new(0),
            turns: Places::new(ATTEMPTS_MAX),
            questions: Places::new(QUESTIONS_MAX),
        })
    }

    /// Asks until the host has given this run's answer as often in a row, and over as long a time, as `proof` demands; meanwhile asks
    /// whether the CA may sign for it.
    ///
    /// If the future is dropped, the probe ends. Only the resolver has tasks of its own.
    ///
    /// # Errors
    ///
    /// The last failure before the deadline. A failure that waiting does not change is returned when it is seen twice, a CAA record
    /// that forbids the CA at once.
    pub async fn probe(&self, probed: Probed<'_>, proof: Proof) -> Result<Proved, ProbeFailure> {
        let may_sign = self.caa.check(&self.resolver, probed);
        let ((), proved) = try_join(may_sign, self.prove(probed, proof)).await?;
        Ok(proved)
    }

    async fn prove(&self, probed: Probed<'_>, proof: Proof) -> Result<Proved, ProbeFailure> {
        let Probed { host, namespace, .. } = probed;
        let deadline = Instant::now() + self.settings.deadline.min(Duration::from_secs(86_400));
        let (mut seen, mut lasting) = (None, 0);
        let mut row = Row::default();
        let mut pause_after_bad = FIRST_PAUSE;
        loop {
            let attempt = async {
                let _turn = self.turns.take(namespace).await;
                self.attempt(probed, row.way).await
            };
            let pause = match timeout_at(deadline, attempt).await {
                Ok(Ok(answered)) => {
                    if let Some(proved) = row.add(&answered, Instant::now(), proof) {
                        return Ok(proved);
                    }
                    proof.over / proof.answers.saturating_sub(1).max(1)
                }
                Ok(Err(failure)) => {
                    log::debug!("the route of `{host}` does not answer yet: {failure}");
                    lasting = if failure.is_lasting(host) { lasting + 1 } else { 0 };
                    if lasting == 2 {
                        return Err(failure);
                    }
                    row = Row::default();
                    seen = Some(failure);
                    let pause = if lasting > 0 { LONGEST_PAUSE } else { pause_after_bad };
                    pause_after_bad = (pause_after_bad * 2).min(LONGEST_PAUSE);
                    pause
                }
                Err(_) => Duration::ZERO,
            };
            if Instant::now() + pause >= deadline {
                return Err(seen.unwrap_or(ProbeFailure::TooSlow {
                    host: host.clone(),
                    answers: row.answers,
                    needed: proof.answers,
                    deadline: self.settings.deadline,
                }));
            }
            sleep(pause).await;
        }
    }

    /// Asks once: by the row's way or, at its start, by the mode's.
    async fn attempt(&self, probed: Probed<'_>, way: Option<Way>) -> Result<Answered, ProbeFailure> {
        let Probed { host, status, .. } = probed;
        let mode = self.settings.mode;
        if mode == ProbeMode::Ingress || way == Some(Way::Ingress) {
            let addresses = self.status_addresses(status).await;
            if addresses.is_empty() {
                return Err(ProbeFailure::StatusMissing { host: host.clone() });
            }
            return self.ask(probed, Some(&addresses)).await;
        }
        let failure = match self.ask(probed, None).await {
            Err(failure @ ProbeFailure::ConnectFailed { .. }) if mode == ProbeMode::Auto => failure,
            done => return done,
        };
        let behind = self.status_addresses(status).await;
        if !may_fall_back(&failure, &behind) {
            return Err(failure);
        }
        log::debug!("asking at the Ingress's address instead: {failure}");
        match self.ask(probed, Some(&behind)).await {
            // Both ways failed. The public one is the one that the CA uses.
            Err(ProbeFailure::ConnectFailed { .. }) => Err(failure),
            done => done,
        }
    }

    /// Asks once and follows redirects. `behind` has the addresses of the host if they are not taken from DNS.
    async fn ask(&self, probed: Probed<'_>, behind: Option<&[IpAddr]>) -> Result<Answered, ProbeFailure> {
        let Probed { host, namespace, .. } = probed;
        let token = self.token();
        let expected = format!("{token}.{}", self.thumbprint);
        let mut target = Target {
            secure: false,
            host: host.clone(),
            port: self.settings.http_port,
            path: format!("{CHALLENGE_PATH}/{token}"),
        };
        let mut redirects = 0;
        let mut asked: Vec<Target> = Vec::new();
        loop {
            let url = target.shown(&token);
            let addresses = match behind {
                Some(addresses) if target.host == *host => addresses.to_vec(),
                _ => self.public_addresses(&target.host).await?,
            };
            let (answer, address) = self.step(namespace, &target, addresses, &url, redirects).await?;
            let location = match judge(&answer, &expected, &self.run) {
                Verdict::Good => {
                    let way = if behind.is_some() { Way::Ingress } else { Way::Public };
                    return Ok(Answered { way, address });
                }
                Verdict::Wrong(speaker) => {
                    return Err(ProbeFailure::WrongAnswer {
                        url,
                        address,
                        status: answer.status,
                        speaker,
                    });
                }
                Verdict::Redirect(location) => location,
            };
            redirects += 1;
            let next = if redirects > REDIRECTS_MAX {
                Err("one redirect more than CAs follow")
            } else {
                target.follow(&location, self.settings.http_port, self.settings.https_port)
            };
            let next = next.and_then(|next| match next == target || asked.contains(&next) {
                true => Err(CIRCLE),
                false => Ok(next),
            });
            let next = next.map_err(|problem| ProbeFailure::BadRedirect {
                url,
                address,
                location: location.replace(&token, "...").chars().take(200).collect(),
                problem,
            })?;
            asked.push(std::mem::replace(&mut target, next));
        }
    }

    /// One connection, one request, one answer.
    async fn step(
        &self,
        namespace: &str,
        target: &Target,
        addresses: Vec<IpAddr>,
        url: &str,
        redirects: usize,
    ) -> Result<(Answer, SocketAddr), ProbeFailure> {
        let url = url.to_owned();
        let (stream, address) = match wire::dial(&addresses, target.port).await {
            Ok(connected) => connected,
            Err(cause) => {
                return Err(ProbeFailure::ConnectFailed {
                    url,
                    addresses,
                    redirects,
                    cause,
                });
            }
        };
        let mut exchange = Box::pin(wire::exchange(&self.tls, target, stream));
        let within_patience = {
            let _question = self.questions.take(namespace).await;
            timeout(PATIENCE, &mut exchange).await
        };
        let exchanged = match within_patience {
            Ok(exchanged) => exchanged,
            Err(_) => exchange.await,
        };
        match exchanged {
            Ok(answer) => Ok((answer, address)),
            Err(cause) => Err(ProbeFailure::NoAnswer { url, address, cause }),
        }
    }

    /// A new token (RFC 8555 section 8.3: base64url), so that no cache can answer.
    fn token(&self) -> String {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        digest.update(&self.seed);
        digest.update(&self.tokens.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        URL_SAFE_NO_PAD.encode(digest.finish())
    }

    /// The addresses in DNS that a probe may connect to.
    async fn public_addresses(&self, host: &DnsName) -> Result<Vec<IpAddr>, ProbeFailure> {
        let addresses = wire::resolve(&self.resolver, host).await?;
        reachable(addresses, self.settings.allow_private).map_err(|(address, class)| ProbeFailure::PrivateAddress {
            host: host.clone(),
            address,
            class,
        })
    }

    /// The IP addresses in a status. Host names in it are resolved.
    async fn status_addresses(&self, status: &[String]) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for text in status.iter().take(8) {
            if let Ok(address) = text.parse() {
                addresses.push(address);
                continue;
            }
            match text.to_ascii_lowercase().parse::<DnsName>() {
                Ok(name) => match wire::resolve(&self.resolver, &name).await {
                    Ok(found) => addresses.extend(found),
                    Err(failure) => log::debug!("a host name in an Ingress's status cannot be resolved: {failure}"),
                },
                Err(problem) => log::debug!("`{text}` in an Ingress's status {problem}"),
            }
        }
        addresses
    }
}
