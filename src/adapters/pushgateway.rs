//! A Pushgateway of Prometheus: metrics of a run go there, since the run is gone when somebody would scrape it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// For the whole exchange: a run that did its work must not wait long to say so.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much is read of an answer, which says something only where it refuses.
const BODY_BYTES: usize = 64 << 10;
/// How much of it is shown.
const EXCERPT_CHARACTERS: usize = 200;
/// What a path has that names a group.
const GROUP: &str = "/metrics/job/";

/// Where metrics are pushed to: the URL of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushgateway(Uri);

/// Why metrics could not be pushed.
#[derive(Debug, thiserror::Error)]
#[error("could not push the metrics to `{url}`: {why}")]
pub struct PushError {
    url: Uri,
    why: String,
}

impl FromStr for Pushgateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_url = || "not a URL such as `http://pushgateway.monitoring:9091`".to_owned();
        let uri: Uri = text.parse().map_err(|_| no_url())?;
        let authority = uri.authority().ok_or_else(no_url)?;
        if !["http", "https"].contains(&uri.scheme_str().unwrap_or_default()) || uri.query().is_some() {
            return Err(no_url());
        }
        if authority.as_str().contains('@') {
            return Err("a URL with a password would be seen in the list of processes: leave it out".into());
        }
        let text = text.trim_end_matches('/');
        let group = match uri.path().contains(GROUP) {
            true => text.to_owned(),
            false => format!("{text}{GROUP}kube-lego-once"),
        };
        group.parse().map(Self).map_err(|_| no_url())
    }
}

impl Pushgateway {
    /// Pushes metrics. What the group had under other names goes if `replace`, and stays if not.
    ///
    /// # Errors
    /// If the gateway did not take them within ten seconds.
    pub async fn push(&self, metrics: String, replace: bool) -> Result<(), PushError> {
        let fail = |why| PushError {
            url: self.0.clone(),
            why,
        };
        match tokio::time::timeout(DEADLINE, self.send(metrics, replace)).await {
            Ok(sent) => sent.map_err(fail),
            Err(_) => Err(fail(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    async fn send(&self, metrics: String, replace: bool) -> Result<(), String> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = connector.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::builder()
            .method(if replace { Method::PUT } else { Method::POST })
            .uri(self.0.clone())
            .header(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .body(Full::new(Bytes::from(metrics)))
            .map_err(|error| error.to_string())?;
        let answer = client.request(request).await;
        // With what caused it.
        let answer = answer.map_err(|error| format!("{:#}", anyhow::Error::new(error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(answer.into_body(), BODY_BYTES).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let said = String::from_utf8_lossy(&body);
        let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said
            .chars()
            .filter(|letter| !letter.is_control())
            .take(EXCERPT_CHARACTERS)
            .collect();
        Err(format!("the server answered {status}: {said}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_ours_unless_the_url_names_another() {
        for (text, expected) in [
            ("http://gateway:9091", "http://gateway:9091/metrics/job/kube-lego-once"),
            (
                "https://gateway/below/",
                "https://gateway/below/metrics/job/kube-lego-once",
            ),
            (
                "http://gateway/metrics/job/certificates/cluster/a",
                "http://gateway/metrics/job/certificates/cluster/a",
            ),
        ] {
            assert_eq!(
                text.parse::<Pushgateway>().map(|it| it.0.to_string()),
                Ok(expected.into())
            );
        }
        for text in [
            "gateway:9091",
            "ftp://gateway",
            "http://u:p@gateway",
            "http://gateway/?x=1",
            "/metrics",
        ] {
            assert!(text.parse::<Pushgateway>().is_err(), "{text}");
        }
    }
}
