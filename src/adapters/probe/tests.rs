use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;
use tokio_rustls::rustls;

use super::prober::REDIRECTS_MAX;
use super::*;
use crate::decide::name::DnsName;
use crate::decide::observed::CHALLENGE_PATH;
use crate::decide::route::Proof;
use crate::decide::route::RUN_HEADER;

const RUN: &str = "run-1";
/// No server listens here; the servers of these tests are on 127.0.0.1.
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
    dns_that_says(move |_| address).await
}

/// A DNS that is asked what it says to the first question for an IPv4 address, the second, ...
async fn dns_that_says(mut says: impl FnMut(usize) -> Option<Ipv4Addr> + Send + 'static) -> SocketAddr {
    let mut asked = 0;
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
                let about_four = query.query_type() == RecordType::A;
                let address = says(asked);
                asked += usize::from(about_four);
                match address {
                    Some(address) if about_four => {
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
        caa_identities: Vec::new(),
        deadline: Duration::from_secs(10),
    }
}

const RELOADS: Proof = Proof {
    answers: 4,
    over: Duration::from_secs(1),
};

async fn probe(settings: ProbeSettings, status: &[&str]) -> Result<Proved, ProbeFailure> {
    let prober = Prober::new(settings, RUN.parse().expect("a run's id"), "THUMB".into()).expect("a prober");
    let status: Vec<String> = status.iter().map(|text| (*text).to_owned()).collect();
    let probed = Probed {
        host: &"a.example".parse().expect("a name"),
        namespace: "web",
        status: &status,
    };
    prober.probe(probed, RELOADS).await
}

#[tokio::test]
async fn a_route_is_proved_by_several_answers_over_a_second() {
    let (port, count) = server(|_, path| good(path)).await;
    let start = Instant::now();
    let proof = probe(settings(dns(Some("127.0.0.1")).await, port), &[])
        .await
        .expect("a proof");
    assert_eq!((proof.way, proof.answers), (Way::Public, RELOADS.answers));
    assert_eq!(count.load(Ordering::SeqCst), 4);
    assert!(start.elapsed() >= RELOADS.over, "{:?}", start.elapsed());
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
        let hint = |of_gateway| {
            let name = "kube-lego-once-contour";
            failure.hint(ChallengeObject { of_gateway, name }).expect("a hint")
        };
        assert!(!hint(false).contains("CLASS"), "{}", hint(false));
        if expected.ends_with("another server") {
            assert!(
                hint(false).contains("the challenge Ingress `kube-lego-once-contour`"),
                "{}",
                hint(false)
            );
            assert!(
                hint(true).contains("the challenge HTTPRoute `kube-lego-once-contour`"),
                "{}",
                hint(true)
            );
        }
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
    let expected = "`a.example` resolves to a loopback address `127.0.0.1`, which a public CA cannot reach";
    assert_eq!(failure.to_string(), expected);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// DNS rebinding: the first answer passes, the next ones lead inside. No answer is used but those that were looked at.
#[tokio::test]
async fn a_name_that_changes_its_address_leads_nowhere_inside() {
    let (port, count) = server(|_, path| good(path)).await;
    let public = Ipv4Addr::new(192, 0, 2, 1);
    let resolver = dns_that_says(move |asked| Some(if asked == 0 { public } else { Ipv4Addr::LOCALHOST })).await;
    let mut settings = settings(resolver, port);
    (settings.allow_private, settings.mode) = (false, ProbeMode::Public);
    settings.deadline = Duration::from_secs(2);
    probe(settings, &[]).await.expect_err("no proof");
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
    // Also with a public CA, since a controller wrote the address.
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
async fn redirects_end_where_cas_end() {
    type Next = fn(usize, &str) -> String;
    let circle: Next = |_, path| path.to_owned();
    let ever_new: Next = |nth, _| format!("/{nth}");
    for (next, questions, words) in [
        (circle, 1, "the redirects go in a circle"),
        (ever_new, REDIRECTS_MAX + 1, "one redirect more than CAs follow"),
    ] {
        let (port, count) = server(move |nth, path| redirect(&next(nth, path))).await;
        let mut settings = settings(dns(Some("127.0.0.1")).await, port);
        settings.deadline = Duration::from_secs(1);
        let failure = probe(settings, &[]).await.expect_err("no proof");
        assert_eq!(failure.kind(), "BadRedirect");
        assert!(failure.to_string().contains(words), "{failure}");
        assert!(count.load(Ordering::SeqCst) >= questions);
    }
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

/// Hosts that take connections and say nothing, more of them than there are places, and one that answers.
#[tokio::test]
async fn whoever_says_nothing_keeps_nobody_waiting() {
    let (port, _) = server(|_, path| good(path)).await;
    let silent = TcpListener::bind(("127.0.0.3", port)).await.expect("a port");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            kept.push(stream);
        }
    });
    let settings = ProbeSettings {
        mode: ProbeMode::Ingress,
        ..settings(dns(None).await, port)
    };
    let prober = Prober::new(settings, RUN.parse().expect("a run's id"), "THUMB".into()).expect("a prober");
    let (silent, good) = (["127.0.0.3".to_owned()], ["127.0.0.1".to_owned()]);
    for (namespace, most) in [("other", 2), ("silent", 6)] {
        let host: DnsName = "a.example".parse().expect("a name");
        let of = |namespace, status| Probed {
            host: &host,
            namespace,
            status,
        };
        let others = (0..100).map(|_| prober.probe(of("silent", &silent), RELOADS));
        let others = futures::future::join_all(others);
        let begun = Instant::now();
        let healthy = async {
            tokio::task::yield_now().await;
            prober.probe(of(namespace, &good), RELOADS).await
        };
        let proved = match futures::future::select(Box::pin(others), Box::pin(healthy)).await {
            futures::future::Either::Left(..) => panic!("nobody answers there"),
            futures::future::Either::Right((proved, _)) => proved,
        };
        proved.expect("a proof");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(most), "{namespace}: {took:?}");
    }
}
