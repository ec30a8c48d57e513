//! Ingresses, their classes, and the namespaces that are going away.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1 as networking;
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;

use crate::decide::observed::{Ingress, IngressClass};

use super::target::Target;
use super::{Cluster, ClusterError};

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere: needs a ClusterRole.
    AllNamespaces,
    /// In these, one list each.
    Namespaces(BTreeSet<String>),
}

impl Cluster {
    /// Every Ingress in scope, annotated or not. `strip` takes away at once what is not to be kept of it.
    pub async fn list_ingresses(
        &self,
        scope: &Scope,
        strip: impl Fn(&mut Ingress),
    ) -> Result<Vec<Arc<Ingress>>, ClusterError> {
        let keep = |object: networking::Ingress| {
            let mut ingress = Ingress::from(object);
            strip(&mut ingress);
            Some(Arc::new(ingress))
        };
        let target = |namespace: Option<&str>| Target::of::<networking::Ingress>(namespace, None);
        self.list_scope(scope, target, keep).await
    }

    /// What of a kind is in scope.
    pub(super) async fn list_scope<K: DeserializeOwned, T>(
        &self,
        scope: &Scope,
        target: impl Fn(Option<&str>) -> Target,
        keep: impl Fn(K) -> Option<T>,
    ) -> Result<Vec<T>, ClusterError> {
        match scope {
            Scope::AllNamespaces => self.list(&target(None), None, false, keep).await,
            Scope::Namespaces(namespaces) => {
                let mut found = Vec::new();
                for namespace in namespaces {
                    found.extend(self.list(&target(Some(namespace)), None, false, &keep).await?);
                }
                Ok(found)
            }
        }
    }

    /// Every IngressClass.
    pub async fn list_classes(&self) -> Result<Vec<IngressClass>, ClusterError> {
        let target = Target::of::<networking::IngressClass>(None, None);
        let keep = |object: networking::IngressClass| Some(IngressClass::from(object));
        self.list(&target, None, false, keep).await
    }

    /// The namespaces that are being deleted: nothing can be created there any more.
    pub async fn list_terminating_namespaces(&self) -> Result<Vec<String>, ClusterError> {
        // The phase `Terminating` follows from the deletion timestamp, and that is metadata.
        let target = Target::of::<Namespace>(None, None);
        self.list(&target, None, true, |object: PartialObjectMeta<Namespace>| {
            object.metadata.deletion_timestamp.and(object.metadata.name)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;

    fn ingress(namespace: &str, name: &str) -> serde_json::Value {
        json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"tls": [{"hosts": ["a.example"], "secretName": "a"}]}})
    }

    const PATH: &str = "/apis/networking.k8s.io/v1/ingresses?&limit=500";

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let (cluster, server) = script([
            Reply::new(
                "GET",
                PATH,
                200,
                json!({"metadata": {"continue": "t/1"}, "items": [ingress("a", "1")]}),
            ),
            Reply::new(
                "GET",
                &format!("{PATH}&continue=t%2F1"),
                200,
                json!({"metadata": {"continue": ""}, "items": [ingress("a", "2")]}),
            ),
        ]);
        let ingresses = cluster
            .list_ingresses(&Scope::AllNamespaces, |_| {})
            .await
            .expect("a list");
        let names: Vec<String> = ingresses.iter().map(|ingress| ingress.name.to_string()).collect();
        assert_eq!(names, ["a/1", "a/2"]);
        server.finish().await;
    }

    #[tokio::test]
    async fn an_expired_continue_token_starts_the_list_anew() {
        let first = json!({"metadata": {"continue": "t"}, "items": [ingress("a", "1")]});
        let (cluster, server) = script([
            Reply::new("GET", PATH, 200, first),
            Reply::new(
                "GET",
                &format!("{PATH}&continue=t"),
                410,
                status(410, "Expired", "too old"),
            ),
            Reply::new(
                "GET",
                PATH,
                200,
                json!({"metadata": {}, "items": [ingress("a", "1"), ingress("b", "1")]}),
            ),
        ]);
        let ingresses = cluster
            .list_ingresses(&Scope::AllNamespaces, |_| {})
            .await
            .expect("a list");
        assert_eq!(ingresses.len(), 2);
        server.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_heal_is_asked_again_and_no_page_counts_twice() {
        let page = json!({"metadata": {"continue": "t"}, "items": [ingress("a", "1")]});
        let second = format!("{PATH}&continue=t");
        let garbled = json!({"metadata": {}, "items": [ingress("a", "2"), 7]});
        let (cluster, server) = script([
            Reply::new("GET", PATH, 500, status(500, "InternalError", "etcd")),
            Reply::new("GET", PATH, 429, status(429, "TooManyRequests", "later")),
            Reply::new("GET", PATH, 200, page),
            Reply::new("GET", &second, 200, garbled),
            Reply::new("GET", &second, 504, status(504, "Timeout", "etcd")),
            Reply::new(
                "GET",
                &second,
                200,
                json!({"metadata": {}, "items": [ingress("a", "2")]}),
            ),
        ]);
        let listed = cluster.list_ingresses(&Scope::AllNamespaces, |_| {}).await;
        let listed = listed.expect("a list");
        let names: Vec<String> = listed.iter().map(|ingress| ingress.name.to_string()).collect();
        assert_eq!(names, ["a/1", "a/2"]);
        server.finish().await;
    }

    #[tokio::test]
    async fn named_namespaces_are_listed_one_by_one() {
        let path = |namespace: &str| format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses?&limit=500");
        let denied = r#"ingresses is forbidden: User "u" cannot list resource "ingresses""#;
        let (cluster, server) = script([
            Reply::new(
                "GET",
                &path("a"),
                200,
                json!({"metadata": {}, "items": [ingress("a", "1")]}),
            ),
            Reply::new("GET", &path("b"), 403, status(403, "Forbidden", denied)),
        ]);
        let scope = Scope::Namespaces(["b".to_owned(), "a".to_owned()].into());
        let error = cluster.list_ingresses(&scope, |_| {}).await.expect_err("no list");
        assert!(error.is_forbidden());
        assert_eq!(error.to_string(), format!("could not list Ingresses in `b`: {denied}"));
        server.finish().await;
    }

    #[tokio::test]
    async fn a_namespace_is_terminating_once_its_deletion_was_asked_for() {
        let (cluster, server) = script([Reply::new(
            "GET",
            "/api/v1/namespaces?&limit=500",
            200,
            json!({"metadata": {}, "items": [
                {"metadata": {"name": "a"}},
                {"metadata": {"name": "b", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            ]}),
        )]);
        assert_eq!(cluster.list_terminating_namespaces().await.expect("a list"), ["b"]);
        server.finish().await;
    }
}
