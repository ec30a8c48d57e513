//! The only other HTTP client: it asks each route as the authority would, before the authority is asked to.
//!
//! An authority counts failed validations, and a route may be broken in many ways that have nothing to do with it. So
//! nothing is ordered before every host has given this run's answer to a random token, several times in a row. A probe
//! does what authorities do: plain HTTP on port 80, IPv6 before IPv4, redirects followed, certificates not checked.
//!
//! Where it may connect is part of that: the *public* way goes to the addresses in DNS and, while the authority is a
//! public one, to none that such an authority cannot reach; the *ingress* way goes only to addresses that a controller
//! wrote into an Ingress's status, for networks in which a cluster cannot reach its own public address.

mod failure;
mod rules;
mod wire;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_resolver::TokioResolver;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::{TlsConnector, rustls};

pub use self::failure::{ProbeFailure, Speaker};
use self::rules::{Answer, Target, Verdict, judge, may_fall_back, reachable};
use crate::decide::name::{DnsName, RunId};
use crate::decide::observed::CHALLENGE_PATH;

/// Good answers in a row that prove a route, and the least time between the first and the last: a reloading proxy
/// answers by its old and its new configuration in turn.
const ANSWERS_NEEDED: u32 = 4;
const ROW_MIN: Duration = Duration::from_secs(1);
const PAUSE_AFTER_GOOD: Duration = Duration::from_millis(350);
/// Controllers take up a route within 0.1 to 5 s.
const PAUSE_AFTER_BAD: Duration = Duration::from_millis(750);
const REDIRECTS_MAX: usize = 10;

/// How a probe reaches a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProbeMode {
    /// As the authority would; by the Ingress's status only where the cluster cannot reach its own public address
    #[default]
    Auto,
    /// Resolve the name and connect as the authority would
    Public,
    /// Connect to an address in the Ingress's status
    Ingress,
}

/// What holds for every probe of a run.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// How a host is reached.
    pub mode: ProbeMode,
    /// The DNS server to ask; `None` means those of `/etc/resolv.conf`.
    pub resolver: Option<SocketAddr>,
    /// The port in place of 80, for the probe and its redirects (private authorities only).
    pub http_port: u16,
    /// The port in place of 443, for redirects.
    pub https_port: u16,
    /// Whether a name may resolve to an address that only private networks have: false while the authority is public.
    pub allow_private: bool,
    /// How long a route may take until it answers.
    pub deadline: Duration,
}

/// Why there is no prober.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No resolver could be made.
    #[error("cannot read how names are resolved (`/etc/resolv.conf`; `--resolver` names a server instead): {0}")]
    Resolver(String),
    /// The system gave no random bytes.
    #[error("the system has no random bytes for a probe's token")]
    Random,
    /// The TLS provider lacks the protocol versions.
    #[error("cannot set up TLS for redirects to https: {0}")]
    Tls(rustls::Error),
}

/// By which of the two ways an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An address in DNS.
    Public,
    /// An address in an Ingress's status.
    Ingress,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "the address in DNS",
            Self::Ingress => "the address in the Ingress's status",
        })
    }
}

/// How a route was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The way of the last answer.
    pub way: Way,
    /// Who gave the last answer.
    pub address: SocketAddr,
    /// How many good answers there were in a row.
    pub answers: u32,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} good answers in a row, the last from {} `{}`",
            self.answers, self.way, self.address
        )
    }
}

/// Asks routes, any number at a time.
pub struct Prober {
    settings: ProbeSettings,
    run: RunId,
    thumbprint: String,
    resolver: TokioResolver,
    tls: TlsConnector,
    seed: [u8; 32],
    tokens: AtomicU64,
}

/// One good answer.
struct Answered {
    way: Way,
    address: SocketAddr,
}

impl Prober {
    /// A prober for the answers of `run`, whose account key has this thumbprint (RFC 7638, base64url).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] where the system lacks what every probe needs.
    pub fn new(settings: ProbeSettings, run: RunId, thumbprint: String) -> Result<Self, ProbeError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| ProbeError::Random)?;
        Ok(Self {
            resolver: wire::resolver(settings.resolver).map_err(|error| ProbeError::Resolver(error.to_string()))?,
            tls: wire::tls_connector().map_err(ProbeError::Tls)?,
            settings,
            run,
            thumbprint,
            seed,
            tokens: AtomicU64::new(0),
        })
    }

    /// Asks until `host` has given this run's answer several times in a row over at least a second.
    ///
    /// `status_addresses` are the IP addresses and host names that a controller wrote into the Ingress's status.
    /// Dropping the future ends the probe; it has no tasks of its own but the resolver's.
    ///
    /// # Errors
    ///
    /// What was seen last when the deadline had passed; at the second look what waiting does not change.
    pub async fn probe(&self, host: &DnsName, status_addresses: &[String]) -> Result<Proof, ProbeFailure> {
        let deadline = Instant::now() + self.settings.deadline.min(Duration::from_secs(86_400));
        let (mut seen, mut lasting) = (None, 0);
        let mut row = Row::default();
        loop {
            let attempt = timeout_at(deadline, self.attempt(host, status_addresses, row.way));
            let pause = match attempt.await {
                Ok(Ok(answered)) => {
                    if let Some(proof) = row.add(&answered, Instant::now()) {
                        return Ok(proof);
                    }
                    PAUSE_AFTER_GOOD
                }
                Ok(Err(failure)) => {
                    log::debug!("the route of `{host}` is not there yet: {failure}");
                    lasting = if failure.is_lasting(host) { lasting + 1 } else { 0 };
                    if lasting == 2 {
                        return Err(failure);
                    }
                    row = Row::default();
                    seen = Some(failure);
                    PAUSE_AFTER_BAD
                }
                Err(_) => Duration::ZERO,
            };
            if Instant::now() + pause >= deadline {
                return Err(seen.unwrap_or(ProbeFailure::TooSlow {
                    host: host.clone(),
                    answers: row.answers,
                    deadline: self.settings.deadline,
                }));
            }
            sleep(pause).await;
        }
    }

    /// Asks once, by the way that the row has gone so far or else by the mode's.
    async fn attempt(&self, host: &DnsName, status: &[String], way: Option<Way>) -> Result<Answered, ProbeFailure> {
        let mode = self.settings.mode;
        if mode == ProbeMode::Ingress || way == Some(Way::Ingress) {
            let addresses = self.status_addresses(status).await;
            if addresses.is_empty() {
                return Err(ProbeFailure::StatusMissing { host: host.clone() });
            }
            return self.ask(host, Some(&addresses)).await;
        }
        let failure = match self.ask(host, None).await {
            Err(failure @ ProbeFailure::ConnectFailed { .. }) if mode == ProbeMode::Auto => failure,
            done => return done,
        };
        let behind = self.status_addresses(status).await;
        if !may_fall_back(&failure, &behind) {
            return Err(failure);
        }
        log::debug!("asking at the Ingress's address instead: {failure}");
        match self.ask(host, Some(&behind)).await {
            // Neither way is there: the public one is the one that counts.
            Err(ProbeFailure::ConnectFailed { .. }) => Err(failure),
            done => done,
        }
    }

    /// Asks one question and follows redirects. `behind` is where the host itself is to be found, if not by DNS.
    async fn ask(&self, host: &DnsName, behind: Option<&[IpAddr]>) -> Result<Answered, ProbeFailure> {
        let token = self.token();
        let expected = format!("{token}.{}", self.thumbprint);
        let mut target = Target {
            secure: false,
            host: host.clone(),
            port: self.settings.http_port,
            path: format!("{CHALLENGE_PATH}/{token}"),
        };
        let mut redirects = 0;
        loop {
            let url = target.shown(&token);
            let addresses = match behind {
                Some(addresses) if target.host == *host => addresses.to_vec(),
                _ => self.public_addresses(&target.host).await?,
            };
            let (answer, address) = self.step(&target, addresses, &url, redirects).await?;
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
                Err("one redirect more than authorities follow")
            } else {
                target.follow(&location, self.settings.http_port, self.settings.https_port)
            };
            target = next.map_err(|problem| ProbeFailure::BadRedirect {
                url,
                address,
                location: location.replace(&token, "...").chars().take(200).collect(),
                problem,
            })?;
        }
    }

    /// One connection, one request, one answer.
    async fn step(
        &self,
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
        match wire::exchange(&self.tls, target, stream).await {
            Ok(answer) => Ok((answer, address)),
            Err(cause) => Err(ProbeFailure::NoAnswer { url, address, cause }),
        }
    }

    /// A token that nobody has seen before (RFC 8555 section 8.3: base64url), so that no cache can answer.
    fn token(&self) -> String {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        digest.update(&self.seed);
        digest.update(&self.tokens.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        URL_SAFE_NO_PAD.encode(digest.finish())
    }

    /// The addresses in DNS to which a probe may connect.
    async fn public_addresses(&self, host: &DnsName) -> Result<Vec<IpAddr>, ProbeFailure> {
        let addresses = wire::resolve(&self.resolver, host).await?;
        reachable(addresses, self.settings.allow_private).map_err(|(address, class)| ProbeFailure::PrivateAddress {
            host: host.clone(),
            address,
            class,
        })
    }

    /// The addresses of a status, its host names resolved.
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
                    Err(failure) => log::debug!("an Ingress's status is of no use: {failure}"),
                },
                Err(problem) => log::debug!("`{text}` in an Ingress's status {problem}"),
            }
        }
        addresses
    }
}

/// Good answers in a row.
#[derive(Default)]
struct Row {
    answers: u32,
    since: Option<Instant>,
    /// A row keeps to its way, so that a fallback does not wait for the public address each time.
    way: Option<Way>,
}

impl Row {
    fn add(&mut self, answered: &Answered, now: Instant) -> Option<Proof> {
        self.answers += 1;
        self.way = Some(answered.way);
        let since = *self.since.get_or_insert(now);
        (self.answers >= ANSWERS_NEEDED && now.duration_since(since) >= ROW_MIN).then_some(Proof {
            way: answered.way,
            address: answered.address,
            answers: self.answers,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::A;
    use hickory_resolver::proto::rr::{RData, Record, RecordType};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::decide::route::RUN_HEADER;

    const RUN: &str = "run-1";
    /// Nobody listens there; the servers of these tests are on 127.0.0.1.
    const DEAF: &str = "127.0.0.2";

    /// What a server says to its n-th request, by path.
    type Script = Arc<dyn Fn(usize, &str) -> String + Send + Sync>;

    fn answer(status: &str, run: Option<&str>, body: &str) -> String {
        let run = run.map(|run| format!("{RUN_HEADER}: {run}\r\n")).unwrap_or_default();
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{run}Content-Length: {length}\r\n\r\n{body}")
    }

    fn good(path: &str) -> String {
        let token = path.rsplit('/').next().unwrap_or_default();
        answer("200 OK", Some(RUN), &format!("{token}.THUMB"))
    }

    fn redirect(location: &str) -> String {
        format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
    }

    async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Script, count: &AtomicUsize) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let text = script(count.fetch_add(1, Ordering::SeqCst), path);
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    /// A server on 127.0.0.1 that plays a script: its port, and how often it was asked.
    async fn server(script: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let count = Arc::new(AtomicUsize::new(0));
        let (script, counted): (Script, _) = (Arc::new(script), Arc::clone(&count));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                respond(stream, &script, &counted).await;
            }
        });
        (port, count)
    }

    async fn https_server(script: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> u16 {
        let signed = rcgen::generate_simple_self_signed(vec!["expired.example".into()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("a configuration");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let script: Script = Arc::new(script);
        tokio::spawn(async move {
            let count = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    respond(stream, &script, &count).await;
                }
            }
        });
        port
    }

    /// A DNS server for `*.example`: an A record with this address, or NXDOMAIN.
    async fn dns(address: Option<&str>) -> SocketAddr {
        let address: Option<Ipv4Addr> = address.map(|text| text.parse().expect("an address"));
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let local = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    continue;
                };
                let mut reply = Message::response(question.metadata.id, OpCode::Query);
                for query in question.queries {
                    match address {
                        Some(address) if query.query_type() == RecordType::A => {
                            let record = Record::from_rdata(query.name().clone(), 60, RData::A(A(address)));
                            reply.add_answer(record);
                        }
                        Some(_) => {}
                        None => reply.metadata.response_code = ResponseCode::NXDomain,
                    }
                    reply.add_query(query);
                }
                let bytes = reply.to_vec().expect("a reply");
                let _ = socket.send_to(&bytes, peer).await;
            }
        });
        local
    }

    fn settings(resolver: SocketAddr, http_port: u16) -> ProbeSettings {
        ProbeSettings {
            mode: ProbeMode::Auto,
            resolver: Some(resolver),
            http_port,
            https_port: 443,
            allow_private: true,
            deadline: Duration::from_secs(10),
        }
    }

    async fn probe(settings: ProbeSettings, status: &[&str]) -> Result<Proof, ProbeFailure> {
        let prober = Prober::new(settings, RUN.parse().expect("a run's id"), "THUMB".into()).expect("a prober");
        let status: Vec<String> = status.iter().map(|text| (*text).to_owned()).collect();
        prober.probe(&"a.example".parse().expect("a name"), &status).await
    }

    #[tokio::test]
    async fn a_route_is_proved_by_several_answers_over_a_second() {
        let (port, count) = server(|_, path| good(path)).await;
        let start = Instant::now();
        let proof = probe(settings(dns(Some("127.0.0.1")).await, port), &[])
            .await
            .expect("a proof");
        assert_eq!((proof.way, proof.answers), (Way::Public, ANSWERS_NEEDED));
        assert_eq!(count.load(Ordering::SeqCst), 4);
        assert!(start.elapsed() >= ROW_MIN, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_bad_answer_begins_the_row_again() {
        let script = |nth, path: &str| match nth {
            0 | 3 => answer("404 Not Found", None, ""),
            _ => good(path),
        };
        let (port, count) = server(script).await;
        probe(settings(dns(Some("127.0.0.1")).await, port), &[])
            .await
            .expect("a proof");
        assert_eq!(count.load(Ordering::SeqCst), 8);
    }

    #[tokio::test]
    async fn what_was_seen_last_is_reported_at_the_deadline() {
        for (status, run, body, expected) in [
            (
                "404 Not Found",
                None,
                "",
                "answered `404 Not Found` without the header `kube-lego-once-run`, so from another server",
            ),
            (
                "200 OK",
                Some("run-2"),
                "x",
                "answered `200 OK` from another run, `run-2`",
            ),
            (
                "200 OK",
                Some(RUN),
                "x",
                "answered `200 OK` from this run but with another text",
            ),
        ] {
            let (port, count) = server(move |_, _| answer(status, run, body)).await;
            let mut settings = settings(dns(Some("127.0.0.1")).await, port);
            settings.deadline = Duration::from_millis(1800);
            let failure = probe(settings, &["127.0.0.1"]).await.expect_err("no proof");
            let text = failure.to_string();
            let url = format!("`http://a.example:{port}{CHALLENGE_PATH}/...` at `127.0.0.1:{port}` ");
            assert_eq!(text, format!("{url}{expected}"));
            assert_eq!(failure.kind(), "WrongAnswer");
            assert!(failure.hint().is_some());
            assert!(count.load(Ordering::SeqCst) >= 2, "it is asked again");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_fails_at_the_second_look() {
        let start = Instant::now();
        let failure = probe(settings(dns(None).await, 1), &["127.0.0.1"])
            .await
            .expect_err("no proof");
        assert_eq!(failure.to_string(), "`a.example` does not exist in DNS (NXDOMAIN)");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_public_probe_does_not_connect_to_a_private_address() {
        let (port, count) = server(|_, path| good(path)).await;
        let mut settings = settings(dns(Some("127.0.0.1")).await, port);
        settings.allow_private = false;
        let failure = probe(settings, &["127.0.0.1"]).await.expect_err("no proof");
        let expected = "`a.example` resolves to a loopback address `127.0.0.1`, which a public authority cannot reach";
        assert_eq!(failure.to_string(), expected);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn auto_goes_by_the_status_only_where_connecting_failed() {
        let (port, _) = server(|_, path| good(path)).await;
        let proof = probe(settings(dns(Some(DEAF)).await, port), &["127.0.0.1"])
            .await
            .expect("a proof");
        assert_eq!(proof.way, Way::Ingress);

        let mut public = settings(dns(Some(DEAF)).await, port);
        public.mode = ProbeMode::Public;
        public.deadline = Duration::from_millis(500);
        let failure = probe(public, &["127.0.0.1"]).await.expect_err("no proof");
        assert_eq!(failure.kind(), "ConnectFailed");
        assert!(failure.to_string().contains(&format!("`{DEAF}:{port}`: ")), "{failure}");
    }

    #[tokio::test]
    async fn the_ingress_way_asks_no_dns_but_for_names_in_the_status() {
        let (port, _) = server(|_, path| good(path)).await;
        let mut ingress = settings(dns(None).await, port);
        ingress.mode = ProbeMode::Ingress;
        // Even while the authority is public: a controller wrote it.
        ingress.allow_private = false;
        let proof = probe(ingress.clone(), &["127.0.0.1"]).await.expect("a proof");
        assert_eq!(proof.way, Way::Ingress);
        let failure = probe(ingress.clone(), &["lb.example"]).await.expect_err("no proof");
        assert_eq!(failure.kind(), "StatusMissing");
        ingress.resolver = Some(dns(Some("127.0.0.1")).await);
        assert!(probe(ingress, &["lb.example"]).await.is_ok());
    }

    #[tokio::test]
    async fn redirects_are_followed_to_https_with_any_certificate() {
        let https_port = https_server(|_, path| good(path)).await;
        let (port, _) = server(|_, path| redirect(&format!("https://A.example{path}"))).await;
        let mut settings = settings(dns(Some("127.0.0.1")).await, port);
        settings.https_port = https_port;
        let proof = probe(settings, &[]).await.expect("a proof");
        assert_eq!(proof.address.port(), https_port);
    }

    #[tokio::test]
    async fn a_circle_of_redirects_ends() {
        let (port, count) = server(|_, path| redirect(path)).await;
        let mut settings = settings(dns(Some("127.0.0.1")).await, port);
        settings.deadline = Duration::from_millis(500);
        let failure = probe(settings, &[]).await.expect_err("no proof");
        assert_eq!(failure.kind(), "BadRedirect");
        assert_eq!(count.load(Ordering::SeqCst), REDIRECTS_MAX + 1);
    }

    #[tokio::test]
    async fn an_endless_body_and_a_silent_server_are_not_waited_for() {
        let (port, _) = server(|_, _| answer("200 OK", Some(RUN), &"x".repeat(1 << 20))).await;
        let mut long = settings(dns(Some("127.0.0.1")).await, port);
        long.deadline = Duration::from_millis(500);
        assert_eq!(probe(long, &[]).await.expect_err("no proof").kind(), "WrongAnswer");

        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut mute = settings(
            dns(Some("127.0.0.1")).await,
            silent.local_addr().expect("an address").port(),
        );
        mute.deadline = Duration::from_millis(500);
        let failure = probe(mute, &[]).await.expect_err("no proof");
        assert_eq!(failure.kind(), "TooSlow");
    }
}
