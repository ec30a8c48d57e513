//! What the figures are held against: the same requests, and nothing else.

use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::scene::Scene;

fn runtime() -> tokio::runtime::Runtime {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A bare loop over so many orders, some at a time: the seconds until the last certificate is there.
pub fn acme(directory: &str, ca: &str, count: usize, at_a_time: usize) -> Option<f64> {
    runtime().block_on(async {
        let new = NewAccount {
            contact: &[],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let builder = Account::builder_with_root(ca).expect("a root");
        let (account, _) = builder
            .create(&new, directory.to_owned(), None)
            .await
            .expect("an account");
        let begun = Instant::now();
        let orders = stream::iter(0..count).map(|n| one(account.clone(), format!("f{n}.floor{count}.example")));
        let limit = crate::STANDS_STILL;
        let done = tokio::time::timeout(limit, orders.buffer_unordered(at_a_time).collect::<Vec<()>>()).await;
        match done {
            Ok(_) => Some(begun.elapsed().as_secs_f64()),
            Err(_) => {
                println!("the bare loop stood still for {} s and was ended", limit.as_secs());
                None
            }
        }
    })
}

async fn one(account: Account, host: String) {
    let identifiers = [Identifier::Dns(host.clone())];
    let new = NewOrder::new(&identifiers).profile("default");
    let mut order = account.new_order(&new).await.expect("an order");
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.expect("an authorization");
        if authorization.status == AuthorizationStatus::Pending {
            let mut challenge = authorization.challenge(ChallengeType::Http01).expect("http-01");
            challenge.set_ready().await.expect("ready");
        }
    }
    let retries = RetryPolicy::default();
    assert_eq!(order.poll_ready(&retries).await.expect("a state"), OrderStatus::Ready);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut request = rcgen::CertificateParams::new([host]).expect("a name");
    request.distinguished_name = rcgen::DistinguishedName::new();
    let request = request.serialize_request(&key).expect("a request");
    order.finalize_csr(request.der()).await.expect("finalized");
    order.poll_certificate(&retries).await.expect("a certificate");
}

/// The requests of a pass over Ingresses and Secrets, 16 at a time, whose answers are thrown away: the seconds they take.
pub fn list(scene: &Scene, namespace: &str, count: usize) -> f64 {
    runtime().block_on(async {
        let kubeconfig = Kubeconfig::read_from(scene.kubeconfig()).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Arc::new(kube::Client::try_from(config.expect("a configuration")).expect("a client"));
        let begun = Instant::now();
        let mut token = String::new();
        loop {
            let path = format!("/apis/networking.k8s.io/v1/ingresses?limit=500&continue={token}");
            let page = get(&client, &path).await;
            // The token is among the first bytes of a page.
            let head = &page[..page.len().min(2_000)];
            let next = head
                .split("\"continue\":\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            match next {
                Some(next) if !next.is_empty() => {
                    token = next.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
                }
                _ => break,
            }
        }
        let secrets = stream::iter(0..count).map(|n| {
            let client = Arc::clone(&client);
            async move {
                get(&client, &format!("/api/v1/namespaces/{namespace}/secrets/tls-{n}"))
                    .await
                    .len()
            }
        });
        let bytes: usize = secrets
            .buffer_unordered(16)
            .fold(0, |sum, it| async move { sum + it })
            .await;
        assert!(bytes > count * 1_000, "{bytes} bytes");
        begun.elapsed().as_secs_f64()
    })
}

async fn get(client: &kube::Client, path: &str) -> String {
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    client.request_text(request).await.expect("an answer")
}
