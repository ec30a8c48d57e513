//! Against a Pebble.

use super::relay::{Relay, proxy};
use super::*;

/// A Pebble of its own, killed at the end.
pub(super) struct Pebble {
    process: Child,
    folder: PathBuf,
    url: String,
    root: String,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(super) async fn pebble(environment: &[(&str, &str)], external: bool) -> Pebble {
    let state = std::env::var("KUBE_LEGO_ONCE_CLUSTER").expect("the state file of `tests/cluster/cluster run`");
    let state = std::fs::read(state).expect("the cluster's state");
    let state: serde_json::Value = serde_json::from_slice(&state).expect("JSON");
    let binary = state["bin"]["pebble"].as_str().expect("a pebble binary").to_owned();
    let tls = tls();
    let ports = [0; 4].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let ports = ports.map(|listener| listener.local_addr().expect("an address").port());
    let folder = std::env::temp_dir().join(format!("kube-lego-once-pebble-{}", ports[0]));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let config = serde_json::json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{}", ports[0]),
        "managementListenAddress": format!("127.0.0.1:{}", ports[1]),
        "certificate": path("cert.pem"), "privateKey": path("key.pem"),
        "httpPort": ports[2], "tlsPort": ports[3], "ocspResponderURL": "",
        "externalAccountBindingRequired": external,
        "externalAccountMACKeys": {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
        "domainBlocklist": ["blocked.example"], "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {"classic": {"description": "90 days", "validityPeriod": 7_776_000}},
    }});
    std::fs::write(path("config.json"), config.to_string()).expect("a file");
    std::fs::write(path("cert.pem"), tls.certificate.pem()).expect("a file");
    std::fs::write(path("key.pem"), tls.key.serialize_pem()).expect("a file");
    let process = Command::new(binary)
        .args(["-strict", "-config", &path("config.json"), "-dnsserver", "127.0.0.1:1"])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_AUTHZREUSE", "0")
        .env("PEBBLE_CHAIN_LENGTH", "3")
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("pebble");
    let pebble = Pebble {
        process,
        folder,
        url: format!("https://127.0.0.1:{}/dir", ports[0]),
        root: tls.root,
    };
    for _ in 0..100 {
        match Authority::reach(settings(&pebble.url, Some(&pebble.root))).await {
            Ok(_) => return pebble,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("pebble does not answer");
}

fn csr(names: &[DnsName]) -> (String, Vec<u8>) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(DnsName::to_string).collect();
    let mut request = CertificateParams::new(names).expect("names");
    request.distinguished_name = rcgen::DistinguishedName::new();
    let der = request.serialize_request(&key).expect("a CSR").der().to_vec();
    (key.serialize_pem(), der)
}

fn names(names: &[&str]) -> Vec<DnsName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

/// Pebble 2.10.1 notes an order for its `replaces` after the certificate is there to be fetched (`wfe.FinalizeOrder`), and says
/// nowhere that it has: until then a replacement is refused for want of the order, or not refused although it is a second one.
async fn noted() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn a_certificate_is_ordered_resumed_and_replaced() {
    // Refused nonces on most of the calls: one in two.
    let pebble = pebble(
        &[("PEBBLE_VA_ALWAYS_VALID", "1"), ("PEBBLE_WFE_NONCEREJECT", "50")],
        false,
    )
    .await;
    let mut settings = settings(&pebble.url, Some(&pebble.root));
    settings.email = Some("admin@a.test".into());
    let authority = Authority::reach(settings).await.expect("a directory");
    let (first, stored) = registered(&authority).await.expect("an account");
    let known = authority.account(&stored).await.expect("the account");
    assert_eq!((known.store, known.lost), (None, None), "it is as it was stored");
    let account = known.account;
    assert_eq!(account.url(), first.url());
    assert_eq!(account.thumbprint().len(), 43);

    let names = names(&["a.test", "b.test", "c.test"]);
    let mut order = account.order(&names, Some("classic"), None).await.expect("an order");
    assert_eq!(order.state(), OrderState::Pending);
    order.validate(soon()).await.expect("ready");
    let mut resumed = account.resume(order.url()).await.expect("the order");
    assert_eq!(resumed.state(), OrderState::Ready);
    resumed.validate(soon()).await.expect("still ready");
    let (key, csr) = csr(&names);
    let chain = resumed.certificate(&csr, soon(), || true).await.expect("a certificate");
    // The leaf and three above it, as sent.
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 4);
    // The other one still believes that the order is ready: finalizing again is refused, and the state decides.
    assert_eq!(
        order
            .certificate(&csr, soon(), || true)
            .await
            .expect("the same certificate"),
        chain
    );
    let mut again = account.resume(order.url()).await.expect("the order");
    assert_eq!(again.state(), OrderState::Valid);
    again.validate(soon()).await.expect("long valid");
    assert_eq!(
        again.certificate(&csr, soon(), || true).await.expect("the certificate"),
        chain
    );

    let facts = |chain: &str| match inspect(chain.as_bytes(), key.as_bytes()) {
        Inspection::Certificate(facts) => facts,
        _ => panic!("no certificate: {chain}"),
    };
    let mut found = facts(&chain);
    // Of a serial number whose DER begins with a zero byte, one in 256, Pebble 2.10.1 does not find the order again: it keeps
    // the number without that byte and looks for it with.
    while found.id.as_ref().is_some_and(|id| id.serial.starts_with(&[0])) {
        let mut order = account.order(&names, Some("classic"), None).await.expect("an order");
        order.validate(soon()).await.expect("ready");
        let chain = order.certificate(&csr, soon(), || true).await.expect("a certificate");
        found = facts(&chain);
    }
    let id = found.id.expect("an id");
    let window = authority.renewal_window(&id).await.expect("a window");
    assert!(found.not_before < window.start && window.end < found.not_after);
    noted().await;
    let mut first = account
        .order(&names, Some("classic"), Some(&id))
        .await
        .expect("an order");
    if let Some(why) = first.replaces_refused() {
        panic!("{why}: {id:?}");
    }
    first.validate(soon()).await.expect("ready");
    let lost = first
        .certificate(&csr, soon(), || false)
        .await
        .expect_err("no right to finalize");
    assert!(lost.to_string().contains("taken over"), "{lost}");
    first.certificate(&csr, soon(), || true).await.expect("a certificate");
    noted().await;
    let mut second = account
        .order(&names, Some("classic"), Some(&id))
        .await
        .expect("an order");
    let refused = second.replaces_refused().expect("replaced already").to_string();
    assert!(refused.contains("alreadyReplaced"), "{refused}");
    second.validate(soon()).await.expect("ready");
    let unknown = CertificateId {
        serial: vec![1, 2, 3].into(),
        ..id
    };
    let third = account
        .order(&names, Some("classic"), Some(&unknown))
        .await
        .expect("an order");
    println!("{refused}\n{}", third.replaces_refused().expect("unknown certificate"));
    println!(
        "{}",
        authority
            .renewal_window(&unknown)
            .await
            .expect_err("unknown certificate")
    );
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn what_an_authority_refuses_is_said_in_full() {
    let pebble = pebble(&[("PEBBLE_WFE_NONCEREJECT", "15")], false).await;
    let authority = Authority::reach(settings(&pebble.url, Some(&pebble.root)))
        .await
        .expect("a directory");
    let (account, stored) = registered(&authority).await.expect("an account");

    // Nobody resolves these: validation fails for each.
    let mut order = account
        .order(&names(&["a.test", "b.test"]), Some("classic"), None)
        .await
        .expect("an order");
    let error = order.validate(soon()).await.expect_err("no DNS");
    let Cause::Invalid { hosts, .. } = error.cause() else {
        panic!("{error}");
    };
    assert!(!hosts.is_empty() && error.is_permanent(), "{error}");
    println!("{error}");
    let (_, request) = csr(&names(&["a.test"]));
    println!(
        "{}",
        order
            .certificate(&request, soon(), || true)
            .await
            .expect_err("an invalid order")
    );

    for (hosts, profile, kind) in [
        (names(&["blocked.example"]), "classic", "rejectedIdentifier"),
        (names(&["a.test"]), "long", "invalidProfile"),
    ] {
        let error = account
            .order(&hosts, Some(profile), None)
            .await
            .map(drop)
            .expect_err(kind);
        assert!(error.to_string().contains(kind) && error.is_permanent(), "{error}");
        println!("{error}");
    }
    let lost = format!("{}-lost", order.url());
    let error = account.resume(&lost).await.map(drop).expect_err("no such order");
    assert!(error.ends_the_order(), "{error}");
    println!("{error}");
    let error = account.order(&names(&["*.a.test"]), Some("classic"), None).await;
    let error = error.expect("an order").validate(soon()).await.expect_err("a wildcard");
    assert!(matches!(error.cause(), Cause::NoHttpChallenge { .. }), "{error}");
    println!("{error}");

    // Another Pebble knows nothing of the account: as one that was restarted.
    let text = String::from_utf8(stored).expect("JSON");
    let other = self::pebble(&[], false).await;
    let authority = Authority::reach(settings(&other.url, Some(&other.root)))
        .await
        .expect("a directory");
    let moved = text.replace(pebble.url.trim_end_matches("/dir"), other.url.trim_end_matches("/dir"));
    let known = authority.account(moved.as_bytes()).await.expect("registered again");
    let lost = account
        .url()
        .replace(pebble.url.trim_end_matches("/dir"), other.url.trim_end_matches("/dir"));
    assert_eq!(known.lost, Some(lost));
    assert_eq!(known.account.thumbprint(), account.thumbprint(), "by the same key");
    let order = known.account.order(&names(&["a.test"]), Some("classic"), None).await;
    order.expect("an order of the account that was registered again");
    let again = authority
        .account(&known.store.expect("what is to be stored"))
        .await
        .expect("the account");
    assert_eq!((again.lost, again.account.url()), (None, known.account.url()));
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn a_key_that_was_stored_and_perhaps_registered_gives_one_account() {
    let pebble = pebble(&[("PEBBLE_WFE_NONCEREJECT", "50")], false).await;
    let authority = Authority::reach(settings(&pebble.url, Some(&pebble.root)))
        .await
        .expect("a directory");
    let key = authority.new_account_key().expect("a key");
    let mut urls = Vec::new();
    for _ in 0..2 {
        let known = authority.account(&key).await.expect("an account");
        assert_eq!(known.lost, None);
        urls.push(known.account.url().to_owned());
    }
    assert_eq!(urls[0], urls[1]);
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn an_external_account_is_bound() {
    let pebble = pebble(&[], true).await;
    let mut settings = settings(&pebble.url, Some(&pebble.root));
    let authority = Authority::reach(settings.clone()).await.expect("a directory");
    let error = registered(&authority).await.map(drop).expect_err("no external account");
    assert!(matches!(error.cause(), Cause::ExternalAccountRequired), "{error}");
    for (key, works) in [
        ("zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W", true),
        ("AAAA", false),
    ] {
        settings.external_account = Some(ExternalAccount::parse("kid-1", key).expect("a key"));
        let authority = Authority::reach(settings.clone()).await.expect("a directory");
        match registered(&authority).await {
            Ok((_, stored)) => {
                assert!(works);
                // A CA that has lost the account wants the binding again, and tells nobody's key without it.
                let text = String::from_utf8(stored).expect("JSON");
                let unbound = AuthoritySettings {
                    external_account: None,
                    ..settings.clone()
                };
                let authority = Authority::reach(unbound).await.expect("a directory");
                authority
                    .account(text.as_bytes())
                    .await
                    .expect("a known account needs no binding");
                let lost = text.replace(
                    &text_of(&text, "key_pkcs8"),
                    &text_of(&new_key(&authority), "key_pkcs8"),
                );
                let error = authority
                    .account(lost.as_bytes())
                    .await
                    .expect_err("no binding is at hand");
                assert!(matches!(error.cause(), Cause::ExternalAccountRequired), "{error}");
            }
            Err(error) => {
                assert!(!works);
                println!("{error}");
            }
        }
    }
}

fn new_key(authority: &Authority) -> String {
    String::from_utf8(authority.new_account_key().expect("a key")).expect("JSON")
}

fn text_of(stored: &str, key: &str) -> String {
    let stored: serde_json::Value = serde_json::from_str(stored).expect("JSON");
    stored[key].as_str().expect("text").to_owned()
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn whichever_answer_is_lost_the_certificate_arrives() {
    let pebble = pebble(
        &[("PEBBLE_VA_ALWAYS_VALID", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")],
        false,
    )
    .await;
    let mut settings = settings(&pebble.url, Some(&pebble.root));
    let authority = Authority::reach(settings.clone()).await.expect("a directory");
    let (account, stored) = registered(&authority).await.expect("an account");
    let names = names(&["a.test", "b.test"]);
    let (_, csr) = csr(&names);
    for lost in 0..12 {
        let created = account.order(&names, Some("classic"), None).await.expect("an order");
        let left = Arc::new(AtomicI64::new(i64::MAX));
        settings.proxy = Some(proxy(Relay::But(left.clone())).0);
        let authority = Authority::reach(settings.clone()).await.expect("a directory");
        let account = authority.account(&stored).await.expect("the account").account;
        let mut order = account.resume(created.url()).await.expect("the order");
        left.store(lost, Ordering::SeqCst);
        order.validate(soon()).await.expect("ready");
        let chain = order.certificate(&csr, soon(), || true).await.expect("a certificate");
        let unused = left.load(Ordering::SeqCst);
        println!("answer {lost} lost, {unused} left: {} bytes", chain.len());
    }
}
