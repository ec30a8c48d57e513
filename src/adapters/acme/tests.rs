//! Against a scripted TLS server, and against a real Pebble where there is one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::time::Instant;

use crate::decide::inspection::{Inspection, inspect};

use super::*;

mod live;
mod relay;

/// A private CA's TLS: its root in PEM, a certificate for 127.0.0.1 and its key.
struct Tls {
    root: String,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn tls() -> Tls {
    tls_of_year(4096)
}

/// A server's certificate that ends with a year begun.
fn tls_of_year(year: i32) -> Tls {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "test root");
    let root_key = KeyPair::generate().expect("a key");
    let root_certificate = root.self_signed(&root_key).expect("a root");
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut leaf = CertificateParams::new(names).expect("names");
    leaf.not_after = rcgen::date_time_ymd(year, 1, 1);
    Tls {
        root: root_certificate.pem(),
        certificate: leaf.signed_by(&key, &issuer).expect("a certificate"),
        key,
    }
}

fn settings(url: &str, root: Option<&str>) -> AuthoritySettings {
    AuthoritySettings {
        directory: url.parse().expect("a directory"),
        ca_bundle: root.map(|pem| CaBundle {
            name: "roots.pem".into(),
            // Two certificates, ours last: all of a bundle count.
            pem: format!("{}{pem}", tls().root).into(),
        }),
        proxy: None,
        profile: None,
        preferred_chain: None,
        email: None,
        external_account: None,
        account_entry: "`acme-1.json` from the Secret `home/kube-lego-account`".into(),
    }
}

/// Serves one answer over TLS to everybody; returns the directory's URL.
fn serve(tls: &Tls, answer: Vec<u8>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from(tls.certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(tls.key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(connection, tcp);
            let mut request = [0; 4096];
            // The client may go away in the middle of anything.
            if stream.read(&mut request).is_ok() {
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    format!("https://127.0.0.1:{port}/dir")
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

const DIRECTORY: &str = r#"{"newNonce":"https://127.0.0.1:1/n","newAccount":"https://127.0.0.1:1/a","newOrder":"https://127.0.0.1:1/o","meta":{"externalAccountRequired":true,"profiles":{"short":"s","classic":"c"}}}"#;

/// An account by a new key, and how it is stored.
async fn registered(authority: &Authority) -> Result<(Account, Vec<u8>), AcmeError> {
    let known = authority.account(&authority.new_account_key()?).await?;
    Ok((known.account, known.store.expect("a new account is to be stored")))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_thought_of() {
    let tls = tls_of_year(2001);
    let url = serve(&tls, answer("200 OK", DIRECTORY));
    let error = Authority::reach(settings(&url, Some(&tls.root)))
        .await
        .expect_err("over");
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(error.hint().expect("a hint").contains("clock"));
}

#[tokio::test]
async fn reaching_an_authority_or_saying_why_not() {
    let tls = tls();
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(2 << 20)).into_bytes();
    for (answer, words, hint) in [
        (
            answer("503 Service Unavailable\r\nRetry-After: 120", "<html>\n down"),
            "the server answered 503 Service Unavailable: `<html> down`",
            Some("not to come back before 20"),
        ),
        (
            answer("200 OK", "<!doctype html>"),
            "the answer is not JSON: `<!doctype html>`",
            Some("the URL of an ACME directory"),
        ),
        (
            answer("404 Not Found", ""),
            "the server answered 404 Not Found",
            Some("the URL of an ACME directory"),
        ),
        (
            answer("301 Moved Permanently\r\nLocation: https://b.example/", ""),
            "301 Moved Permanently: `https://b.example/`",
            Some("the URL of an ACME directory"),
        ),
        (endless, "the answer is longer than 1048576 bytes", None),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec(),
            "the answer broke off",
            Some("way out"),
        ),
        (b"SSH-2.0\r\n".to_vec(), "invalid HTTP", Some("way out")),
    ] {
        let url = serve(&tls, answer);
        let error = Authority::reach(settings(&url, Some(&tls.root)))
            .await
            .expect_err(words);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("cannot read the directory at `{url}`: ")),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
        match (error.hint(), hint) {
            (Some(said), Some(words)) => assert!(said.contains(words), "{text}: {said}"),
            (said, wanted) => assert_eq!(said.as_deref(), wanted, "{text}"),
        }
    }
    let url = serve(&tls, answer("200 OK", DIRECTORY));
    let mut settings = settings(&url, Some(&tls.root));
    let authority = Authority::reach(settings.clone()).await.expect("a directory");
    authority.check_profile().expect("no profile is asked for");
    let error = registered(&authority).await.map(drop).expect_err("no external account");
    assert!(matches!(error.cause(), Cause::ExternalAccountRequired), "{error}");
    settings.profile = Some("long".into());
    let authority = Authority::reach(settings).await.expect("a directory");
    let error = authority.check_profile().expect_err("no such profile").to_string();
    assert!(error.contains("no profile `long`, but `classic`, `short`"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_not_there() {
    let tls = tls();
    let url = serve(&tls, answer("200 OK", DIRECTORY));
    let error = Authority::reach(settings(&url, None)).await.expect_err("no bundle");
    assert!(
        error.to_string().contains("is not trusted: its issuer is not known"),
        "{error}"
    );
    assert!(
        error.hint().is_some_and(|hint| hint.contains("`--ca-bundle`")),
        "{error}"
    );
    assert!(error.is_permanent());

    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/dir", free.local_addr().expect("an address"));
    drop(free);
    let error = Authority::reach(settings(&url, None)).await.expect_err("nobody there");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(!error.is_permanent());
}

#[test]
fn an_external_account_is_read_and_not_shown() {
    for text in ["-_-_", " +/+/\n", "-_-_=="] {
        let account = ExternalAccount::parse("kid", text).expect(text);
        assert_eq!(account.hmac_key, [0xfb, 0xff, 0xbf]);
        assert_eq!(format!("{account:?}"), r#"ExternalAccount { key_id: "kid", .. }"#);
    }
    for text in ["", "SECRET!"] {
        let message = ExternalAccount::parse("kid", text).expect_err(text);
        assert!(!message.contains("SECRET"), "{message}");
    }
}

#[test]
fn stored_credentials_are_refused_without_being_shown() {
    for (bytes, words) in [
        ("\"SECRET\"", "no account at line 1"),
        (r#"{"id":"u","key_pkcs8":["SECRET!"]}"#, "no account at line 1"),
        (r#"{"id":"u","key_pkcs8":"SECRET!"}"#, "its key is not base64url"),
        (r#"{"id":"u","key_pkcs8":"AAAA"}"#, "its key is no P-256 key"),
        (
            r#"{"id":"u","key_pkcs8":"AAAA","directory":"https://b.example/"}"#,
            "belongs to `https://b.example/`",
        ),
    ] {
        let cause = registration::StoredAccount::read(bytes.as_bytes(), "https://a.example/")
            .and_then(|stored| stored.key())
            .map(drop)
            .expect_err(bytes);
        assert!(
            cause.to_string().contains(words) && !cause.to_string().contains("SECRET"),
            "{cause}"
        );
    }
}

/// Orders are worked on at the same time, in tasks of their own.
#[test]
fn everything_can_be_spawned() {
    fn spawnable<T: Send>(_: &T) {}
    // Never called: it is enough that it compiles.
    #[allow(dead_code)]
    fn all(authority: &Authority, account: &Account, order: &mut Order, id: &CertificateId) {
        spawnable(&authority.account(b""));
        spawnable(&authority.renewal_window(id));
        spawnable(&account.order(&[], None, Some(id)));
        spawnable(&account.resume(""));
        spawnable(&order.validate(Instant::now()));
        spawnable(&order.certificate(b"", Instant::now(), || true));
    }
}
