//! The same calls against a real API server: what a mock cannot know.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::decide::directory::Directory;
use crate::decide::inspection::{Inspection, Marker};
use crate::decide::ledger::{Entry, EntryKey, EntryKind, Ledger, Pending, PrivateKeyPem};
use crate::decide::name::{ClassName, RunId, SecretRef};
use crate::decide::observed::{LeftoverKind, Read, Secret};
use crate::decide::route::{Backend, Home, Route, RuleHost, Via};

use super::*;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

/// A namespace of our own on the test cluster, gone after the test.
struct Live {
    cluster: Cluster,
    namespace: String,
}

impl Live {
    async fn new(test: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = Cluster::connect(&settings()).await.expect("a client");
        let live = Self {
            cluster,
            namespace: format!("kube-live-{test}-{}", std::process::id()),
        };
        live.post("/api/v1/namespaces", json!({"metadata": {"name": live.namespace}}))
            .await;
        live
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let content_type = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(serde_json::to_vec(&body).expect("json"))
            .expect("a request");
        self.cluster.client.request(request).await.expect("an answer")
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.send("POST", path, body).await
    }

    /// A policy of the namespace, in the place of some controller's webhook.
    async fn refuse_ingresses_for_h4(&self) {
        let rule = json!({"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"], "operations": ["CREATE"]});
        let validation = json!({"expression": "object.spec.rules.all(r, r.host != 'h4.example')", "message": "not h4"});
        let constraints = json!({"resourceRules": [rule]});
        let spec = json!({"failurePolicy": "Fail", "matchConstraints": constraints, "validations": [validation]});
        let meta = json!({"name": self.namespace});
        self.post(POLICIES, json!({"metadata": meta, "spec": spec})).await;
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let resources = json!({"namespaceSelector": selector});
        let spec = json!({"policyName": self.namespace, "validationActions": ["Deny"], "matchResources": resources});
        self.post(BINDINGS, json!({"metadata": meta, "spec": spec})).await;
        // It is compiled in the background.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    async fn end(self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        self.send("DELETE", &path, json!({})).await;
    }

    async fn secret(&self, secret: &SecretRef) -> Secret {
        match self.cluster.read_secret(secret).await {
            Read::Found(secret) => Arc::unwrap_or_clone(secret),
            other => panic!("{other:?}"),
        }
    }
}

fn settings() -> ConnectSettings {
    let file = std::env::var("KUBE_LEGO_ONCE_CLUSTER").expect("KUBE_LEGO_ONCE_CLUSTER names the cluster's state");
    let state: Value = serde_json::from_slice(&std::fs::read(file).expect("the state")).expect("json");
    ConnectSettings {
        kubeconfig: state["kubeconfig"].as_str().map(Into::into),
        context: None,
    }
}

fn content() -> TlsContent {
    let marker = Marker {
        directory: "https://ca.example/dir".into(),
        account: "https://ca.example/acct/1".into(),
    };
    let remove = vec!["cert-manager.io/certificate-name".to_owned()];
    TlsContent::placeholder(vec!["a.example".into()], marker, remove).expect("a pair")
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn secrets_are_rehearsed_stored_and_left_alone() {
    let live = Live::new("secrets").await;
    let cluster = &live.cluster;
    let place = SecretRef::new(&live.namespace, "a-tls");
    let path = live.path("secrets/a-tls");
    let content = content();

    assert_eq!(cluster.read_secret(&place).await, Read::Absent);
    cluster.rehearse(&place, None, &content).await.expect("rehearsed");
    assert_eq!(cluster.read_secret(&place).await, Read::Absent);
    cluster.store(&place, None, &content).await.expect("stored");
    let found = live.secret(&place).await;
    let first = found.version;
    assert!(matches!(found.inspection, Inspection::Certificate(_)));
    // Sent once more it is the very Secret that was wanted.
    cluster.store(&place, None, &content).await.expect("stored already");

    // Labels and foreign data change: written all the same, and they stay.
    let annotations = json!({"cert-manager.io/certificate-name": "x", "theirs": "y"});
    let theirs = json!({"metadata": {"labels": {"team": "x"}, "annotations": annotations}, "data": {"ca.crt": "eA=="}});
    live.send("PATCH", &path, theirs).await;
    let next = self::content();
    cluster.rehearse(&place, Some(&first), &next).await.expect("rehearsed");
    cluster.store(&place, Some(&first), &next).await.expect("stored");
    let object: core::Secret = serde_json::from_value(live.send("GET", &path, json!({})).await).expect("a Secret");
    let data = object.data.expect("data");
    assert_eq!(data["tls.crt"].0, next.certificate.as_bytes());
    assert_eq!(data["ca.crt"], ByteString(b"x".to_vec()));
    assert_eq!(object.metadata.labels.expect("labels")["team"], "x");
    let annotations = object.metadata.annotations.expect("annotations");
    assert_eq!(annotations["theirs"], "y");
    assert!(!annotations.contains_key("cert-manager.io/certificate-name"));

    live.end().await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn a_secret_that_is_another_by_now_is_left_alone() {
    let live = Live::new("another").await;
    let cluster = &live.cluster;
    let place = SecretRef::new(&live.namespace, "a-tls");
    let path = live.path("secrets/a-tls");
    let next = content();
    cluster.store(&place, None, &content()).await.expect("stored");
    let stored = live.secret(&place).await.version;
    live.send("PATCH", &path, json!({"data": {"tls.crt": "eA=="}})).await;
    let error = cluster.store(&place, Some(&stored), &next).await;
    let error = error.expect_err("changed").to_string();
    assert!(error.contains("changed its `tls.crt` or `tls.key`"), "{error}");
    let before = live.secret(&place).await.version;
    live.send("DELETE", &path, json!({})).await;
    let error = cluster.store(&place, Some(&before), &next).await;
    let error = error.expect_err("deleted").to_string();
    assert!(error.contains("was deleted meanwhile"), "{error}");
    let data = json!({"tls.crt": "eA==", "tls.key": ByteString(next.key.0.clone().into_bytes())});
    let secret = json!({"metadata": {"name": "a-tls"}, "type": "kubernetes.io/tls", "data": data});
    live.post(&live.path("secrets"), secret).await;
    let error = cluster.store(&place, Some(&before), &next).await;
    let error = error.expect_err("made anew").to_string();
    assert!(error.contains("was deleted and made anew"), "{error}");
    let now = live.secret(&place).await.version;
    live.send("PATCH", &path, json!({"immutable": true})).await;
    let error = cluster.store(&place, Some(&now), &next).await;
    assert!(error.expect_err("immutable").to_string().contains("became immutable"));

    // A namespace that is not there.
    let nowhere = SecretRef::new("kube-live-nowhere", "a");
    let StoreError::Cluster(error) = cluster.rehearse(&nowhere, None, &next).await.expect_err("no namespace") else {
        panic!("a conflict");
    };
    assert_eq!(
        error.hint().as_deref(),
        Some("`kubectl create namespace kube-live-nowhere` makes it"),
        "{error}"
    );
    live.end().await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn the_ledger_and_accounts_keep_their_neighbours() {
    let live = Live::new("ledger").await;
    let (cluster, home) = (&live.cluster, live.namespace.as_str());
    let directory: Directory = "https://ca.example/dir".parse().expect("a directory");
    let theirs = json!({"metadata": {"name": "kube-lego-account"}, "data": {"tls.key": "eA=="}});
    live.post(&live.path("secrets"), theirs).await;
    assert_eq!(cluster.read_account(home, &directory).await, Read::Absent);
    cluster
        .store_account(home, &directory, b"{}".to_vec())
        .await
        .expect("stored");
    assert_eq!(
        cluster.read_account(home, &directory).await,
        Read::Found(b"{}".to_vec())
    );
    let secret = live
        .send("GET", &live.path("secrets/kube-lego-account"), json!({}))
        .await;
    assert_eq!(secret["data"]["tls.key"], "eA==");

    let pending = |name: &str| Pending {
        namespace: "web".into(),
        secret: name.into(),
        directory: directory.url().into(),
        account: "https://ca.example/acct/1".into(),
        order: "https://ca.example/order/1".into(),
        hosts: vec!["a.example".into()],
        profile: None,
        key: PrivateKeyPem("KEY".into()),
        certificate: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    assert_eq!(cluster.read_ledger(home).await, Read::Found(Ledger::default()));
    cluster
        .write_ledger(
            home,
            &BTreeMap::from([(EntryKey::new(EntryKind::Pending, SecretRef::new("web", "a")), None)]),
        )
        .await
        .expect("nothing to remove");
    let (a, b) = (pending("a"), pending("b"));
    let write = async |entry: &Pending| {
        let changes = BTreeMap::from([(Entry::Pending(entry.clone()).key(), Some(Entry::Pending(entry.clone())))]);
        cluster.write_ledger(home, &changes).await
    };
    let (one, two) = tokio::join!(write(&a), write(&b));
    one.and(two).expect("written");
    cluster
        .write_ledger(
            home,
            &BTreeMap::from([(EntryKey::new(EntryKind::Pending, SecretRef::new("web", "a")), None)]),
        )
        .await
        .expect("removed");
    let Read::Found(ledger) = cluster.read_ledger(home).await else {
        panic!("no ledger");
    };
    assert_eq!(ledger.pending, [b]);
    live.end().await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn the_lease_goes_from_run_to_run() {
    let live = Live::new("lease").await;
    let (cluster, home) = (&live.cluster, live.namespace.as_str());
    let run = |id: &str| id.parse::<RunId>().expect("a run's id");
    let wait = LeaseWait { limit: Duration::ZERO };
    assert_eq!(cluster.lease_holder(home).await, Read::Found(None));
    let held = cluster
        .acquire(home, &run("a"), wait, pending())
        .await
        .expect("the Lease");
    assert_eq!(cluster.lease_holder(home).await, Read::Found(Some("a".into())));
    let error = cluster
        .acquire(home, &run("b"), wait, pending())
        .await
        .expect_err("held");
    assert!(matches!(error, LeaseError::Held { .. }), "{error}");
    tokio::time::sleep(Duration::from_secs(17)).await;
    held.check().expect("renewed");
    held.release().await.expect("released");
    assert_eq!(cluster.lease_holder(home).await, Read::Found(None));
    let held = cluster
        .acquire(home, &run("b"), wait, pending())
        .await
        .expect("the Lease");
    held.release().await.expect("released");
    live.end().await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn a_batch_is_presented_but_for_what_a_policy_refuses_and_withdrawn() {
    let live = Live::new("challenge").await;
    let (cluster, namespace) = (&live.cluster, live.namespace.clone());
    live.refuse_ingresses_for_h4().await;
    let home = Home {
        namespace: namespace.clone(),
        run: "live".parse().expect("a run's id"),
        owner: None,
    };
    let routes = (0..8)
        .map(|n| Route {
            via: Via::Class(ClassName::Spec("contour".into())),
            host: format!("h{n}.example").parse().expect("a name"),
            rule: RuleHost::Named(format!("h{n}.example").parse().expect("a name")),
            secret: SecretRef::new("web", format!("s{n}")),
        })
        .collect();
    let backend = Backend::Address("192.0.2.1".parse().expect("an address"), 8080);
    let presented = cluster.present(&home, &backend, &routes, &[]).await.expect("presented");
    let [(secret, why)] = presented.refused.as_slice() else {
        panic!("{presented:?}");
    };
    assert_eq!(*secret, SecretRef::new("web", "s4"));
    println!("{}", why.message);
    let leftovers = cluster.list_leftovers(&namespace).await.expect("a list");
    let names: Vec<_> = leftovers.iter().map(|it| (it.kind, it.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (LeftoverKind::Ingress, "kube-lego-once-contour"),
            (LeftoverKind::Ingress, "kube-lego-once-contour-1"),
            (LeftoverKind::Ingress, "kube-lego-once-contour-2"),
            (LeftoverKind::Service, "kube-lego-once"),
            (LeftoverKind::EndpointSlice, "kube-lego-once"),
            (LeftoverKind::Endpoints, "kube-lego-once"),
        ]
    );
    let other = Home {
        run: "other".parse().expect("a run's id"),
        ..home.clone()
    };
    let error = cluster
        .present(&other, &backend, &routes, &[])
        .await
        .expect_err("taken");
    assert!(error.to_string().contains("is left from the run `live`"), "{error}");

    cluster.withdraw(&home).await.expect("withdrawn");
    assert_eq!(cluster.list_leftovers(&namespace).await.expect("a list"), []);
    cluster.delete_leftover(&leftovers[0]).await.expect("gone already");
    // A successor of the same name is not touched.
    let path = live.path("services");
    let port = json!({"ports": [{"port": 80}]});
    live.post(&path, json!({"metadata": {"name": "kube-lego-once"}, "spec": port}))
        .await;
    let service = leftovers.iter().find(|it| it.name == "kube-lego-once");
    cluster
        .delete_leftover(service.expect("the Service"))
        .await
        .expect("another");
    live.send("GET", &format!("{path}/kube-lego-once"), json!({})).await;
    let error = cluster
        .present(&home, &backend, &routes, &[])
        .await
        .expect_err("not ours");
    assert!(error.to_string().contains("is not ours"), "{error}");
    for path in [POLICIES, BINDINGS] {
        live.send("DELETE", &format!("{path}/{namespace}"), json!({})).await;
    }
    live.end().await;
}

#[tokio::test]
#[ignore = "needs the test cluster"]
async fn who_may_not_is_told_which_right_is_missing() {
    let live = Live::new("rights").await;
    let path = settings().kubeconfig.expect("a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("a configuration");
    config.auth_info.impersonate = Some("nobody".into());
    let nobody = Cluster::new(kube::Client::try_from(config.clone()).expect("a client"));
    let error = nobody
        .list_ingresses(&Scope::AllNamespaces, |_| {})
        .await
        .expect_err("no right");
    assert!(error.is_forbidden() && !error.is_refused_by_admission(), "{error}");
    println!("{error}\nhint: {}", error.hint().expect("a hint"));
    let place = SecretRef::new(&live.namespace, "a");
    let error = nobody.rehearse(&place, None, &content()).await.expect_err("no right");
    println!("{error}\nhint: {}", error.hint().expect("a hint"));

    live.cluster
        .list_ingresses(&Scope::AllNamespaces, |_| {})
        .await
        .expect("a list");
    live.cluster.list_classes().await.expect("a list");
    live.cluster.list_terminating_namespaces().await.expect("a list");

    config.auth_info = Default::default();
    config.auth_info.token = Some(String::from("wrong").into());
    let stranger = Cluster::new(kube::Client::try_from(config.clone()).expect("a client"));
    let error = stranger.list_classes().await.expect_err("unknown");
    assert!(error.is_unauthorized(), "{error}");
    config.cluster_url = "https://127.0.0.1:1".parse().expect("a URL");
    let nobody = Cluster::new(kube::Client::try_from(config).expect("a client"));
    let error = nobody.list_classes().await.expect_err("no answer");
    println!("{error}\nhint: {}", error.hint().expect("a hint"));
    assert!(error.to_string().contains("refused"), "{error}");
    live.end().await;
}
