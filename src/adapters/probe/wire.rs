//! The sockets of a probe: names, connections, TLS, HTTP; each bounded in time and bytes.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{self, Either};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, rustls};

use super::failure::ProbeFailure;
use super::rules::{Answer, Target};
use crate::decide::caa::CaaRecord;
use crate::decide::name::DnsName;

/// For one address; Let's Encrypt gives up about as soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the connection to the end of the answer, TLS included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one family that are dialled in one attempt.
const ADDRESSES_PER_FAMILY: usize = 2;
const BODY_BYTES_MAX: usize = 1024;
/// Hundreds of these may be under way, and a Pod has 64 MiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connects to the first address that takes it, IPv6 before IPv4 as CAs do; otherwise the error of each address.
pub(super) async fn dial(addresses: &[IpAddr], port: u16) -> Result<(TcpStream, SocketAddr), String> {
    let of_family = |six: bool| {
        addresses
            .iter()
            .filter(move |address| address.is_ipv6() == six)
            .take(ADDRESSES_PER_FAMILY)
    };
    let mut causes = Vec::new();
    for address in of_family(true).chain(of_family(false)) {
        let address = SocketAddr::new(*address, port);
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => causes.push(format!("`{address}`: {}", sentence(&error))),
            Err(_) => causes.push(format!(
                "`{address}`: no connection within {} s",
                CONNECT_TIMEOUT.as_secs()
            )),
        };
    }
    Err(causes.join("; "))
}

/// Asks over a connection: the answer, or why there is none.
pub(super) async fn exchange(tls: &TlsConnector, target: &Target, stream: TcpStream) -> Result<Answer, String> {
    let exchange = async {
        if !target.secure {
            return talk(stream, target).await;
        }
        let name =
            rustls::pki_types::ServerName::try_from(target.host.to_string()).map_err(|error| sentence(&error))?;
        match tls.connect(name, stream).await {
            Ok(stream) => talk(stream, target).await,
            Err(error) => Err(format!("no TLS: {}", sentence(&error))),
        }
    };
    timeout(ANSWER_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("nothing within {} s", ANSWER_TIMEOUT.as_secs())))
}

/// One HTTP/1.1 exchange. The connection is driven in here, so dropping the future drops it too.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, target: &Target) -> Result<Answer, String> {
    let request = Request::get(target.path.as_str())
        .header(header::HOST, target.authority())
        .header(
            header::USER_AGENT,
            concat!("kube-lego-once/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| sentence(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| sentence(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| sentence(&error))?;
        let (parts, body) = answer.into_parts();
        let body = match parts.status {
            StatusCode::OK => match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => Some(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => None,
                Err(error) => return Err(sentence(&*error)),
            },
            _ => None,
        };
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    };
    match future::select(std::pin::pin!(exchange), std::pin::pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // The server has closed; what it said before is still to be picked up.
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// An error with its causes, the innermost last.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// All addresses of a name in DNS, IPv6 first.
pub(super) async fn resolve(resolver: &TokioResolver, host: &DnsName) -> Result<Vec<IpAddr>, ProbeFailure> {
    // With the root's dot no search list is tried: CAs have none.
    let name = format!("{host}.");
    let lookup = |kind| resolver.lookup(name.as_str(), kind);
    let (six, four) = future::join(lookup(RecordType::AAAA), lookup(RecordType::A)).await;
    let mut addresses = Vec::new();
    let mut errors = Vec::new();
    for answer in [six, four] {
        match answer {
            Ok(answer) => addresses.extend(answer.answers().iter().filter_map(|record| match &record.data {
                RData::A(four) => Some(IpAddr::V4(four.0)),
                RData::AAAA(six) => Some(IpAddr::V6(six.0)),
                _ => None,
            })),
            Err(error) => errors.push(error),
        }
    }
    if !addresses.is_empty() {
        return Ok(addresses);
    }
    let host = host.clone();
    if errors.iter().any(NetError::is_nx_domain) {
        return Err(ProbeFailure::NameMissing { host });
    }
    let no_records = |error: &NetError| matches!(error, NetError::Dns(DnsError::NoRecordsFound(_)));
    Err(match errors.iter().find(|error| !no_records(error)) {
        Some(error) => ProbeFailure::ResolveFailed {
            host,
            cause: error.to_string(),
        },
        None => ProbeFailure::AddressMissing { host },
    })
}

/// The CAA records of a name, or of what it is an alias of. None is an answer too; a server that fails gives no answer.
pub(super) async fn caa(resolver: &TokioResolver, name: &str) -> Result<Vec<CaaRecord>, String> {
    match resolver.lookup(format!("{name}."), RecordType::CAA).await {
        Ok(answer) => Ok(answer.answers().iter().filter_map(caa_record).collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn caa_record(record: &Record) -> Option<CaaRecord> {
    let RData::CAA(caa) = &record.data else { return None };
    Some(CaaRecord {
        owner: record.name.to_utf8().trim_end_matches('.').to_owned(),
        critical: caa.issuer_critical,
        tag: caa.tag.clone(),
        value: String::from_utf8_lossy(&caa.value).into_owned(),
    })
}

/// A resolver that remembers nothing.
pub(super) fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.timeout = Duration::from_secs(3);
    options.attempts = 2;
    // A CA does not read this machine's hosts file, and a second look must not come from a cache.
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.positive_max_ttl = Some(Duration::ZERO);
    options.negative_max_ttl = Some(Duration::ZERO);
    builder.build()
}

/// TLS that checks nothing.
pub(super) fn tls_connector() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes every certificate, as CAs do when a redirect leads to https (the host's may be the very one that has
/// expired). Nothing secret is sent and nothing that is received is trusted: the answer is compared, no more.
#[derive(Debug)]
struct AnyCertificate(Vec<rustls::SignatureScheme>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls::pki_types::CertificateDer<'_>,
        _intermediates: &[rustls::pki_types::CertificateDer<'_>],
        _server_name: &rustls::pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &rustls::pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &rustls::pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.clone()
    }
}
