//! The challenge objects: made for one run, found again by their label, and taken away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::PartialObjectMeta;
use serde::Serialize;
use tokio::time::sleep;

use crate::decide::name::{ClassName, RUN_LABEL, SecretRef};
use crate::decide::observed::{IngressClass, Leftover, LeftoverKind};
use crate::decide::outcome::Failure;
use crate::decide::route::{
    Backend, CHALLENGE_NAME, Chunk, Home, Route, RuleHost, backend_objects, challenge_ingress, chunks, ingress_name,
};

use super::error::Cause;
use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// In the order in which they go: first what routes, then what it routes to.
const KINDS: [LeftoverKind; 5] = [
    LeftoverKind::Ingress,
    LeftoverKind::Service,
    LeftoverKind::EndpointSlice,
    LeftoverKind::Endpoints,
    LeftoverKind::Pod,
];
/// Looks at what is left while withdrawing.
const WITHDRAW_ROUNDS: usize = 40;
/// Between two of them.
const WITHDRAW_PAUSE: Duration = Duration::from_secs(1);
/// Rounds in which calls may fail before withdrawing gives up.
const WITHDRAW_FAILURES: usize = 5;
/// How often a name is tried that vanishes while we ask whose it is.
const CREATE_ROUNDS: usize = 3;

/// Why an object of a challenge could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// The name is taken by an object without our label, or by another run's.
    #[error("{kind} `{namespace}/{name}` {whose}; it was left alone")]
    Taken {
        /// Of this kind.
        kind: String,
        /// The home namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// `is not ours`, or of which run it is.
        whose: String,
        /// The command that takes it away.
        command: String,
    },
    /// The API server did not let us.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl PresentError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { command, .. } => Some(format!("`{command}` removes it")),
            Self::Cluster(error) => error.hint(),
        }
    }
}

impl Cluster {
    /// What carries our label in the home namespace, of any run, in the order in which it is to be deleted.
    pub async fn list_leftovers(&self, home_namespace: &str) -> Result<Vec<Leftover>, ClusterError> {
        self.list_labelled(home_namespace, RUN_LABEL).await
    }

    async fn list_labelled(&self, namespace: &str, selector: &str) -> Result<Vec<Leftover>, ClusterError> {
        let mut found = Vec::new();
        for kind in KINDS {
            let keep = |object: PartialObjectMeta| leftover(kind, namespace, object.metadata);
            found.extend(self.list(&target(kind, namespace), Some(selector), true, keep).await?);
        }
        found.sort();
        Ok(found)
    }

    /// Deletes this very object. That it is gone, or that another one has its name now, is success.
    pub async fn delete_leftover(&self, leftover: &Leftover) -> Result<(), ClusterError> {
        let target = target(leftover.kind, &leftover.namespace).named(&leftover.name);
        let params = DeleteParams {
            // A solver has nothing to finish, and a node that is gone would never say that it has.
            grace_period_seconds: (leftover.kind == LeftoverKind::Pod).then_some(0),
            ..DeleteParams::background().preconditions(Preconditions {
                uid: Some(leftover.uid.clone()),
                resource_version: None,
            })
        };
        let request = target.request().delete(&leftover.name, &params);
        match self.call_text(Verb::Delete, &target, request).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }

    /// Asks whether what will be created may be deleted again: an object that cannot be taken away must not be made.
    ///
    /// A dry run on names of ours: whether such an object exists is of no matter, since nothing is deleted.
    pub async fn rehearse_withdrawal(&self, home_namespace: &str) -> Result<(), ClusterError> {
        for kind in KINDS {
            let target = target(kind, home_namespace).named(CHALLENGE_NAME);
            let request = target
                .request()
                .delete(CHALLENGE_NAME, &DeleteParams::default().dry_run());
            match self.call_text(Verb::Delete, &target, request).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Creates the backend and, class by class, the challenge Ingresses. Returns the certificates whose hosts the API server
    /// refuses in one, and why.
    ///
    /// It may be dropped at any time: [`Cluster::withdraw`] finds what was made, the object that was being made included.
    pub async fn present(
        &self,
        home: &Home,
        backend: &Backend,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Vec<(SecretRef, Failure)>, PresentError> {
        let objects = backend_objects(home, backend);
        self.make(LeftoverKind::Service, home, &objects.service).await?;
        if let Some(slice) = &objects.endpoint_slice {
            self.make(LeftoverKind::EndpointSlice, home, slice).await?;
        }
        if let Some(endpoints) = &objects.endpoints {
            self.make(LeftoverKind::Endpoints, home, endpoints).await?;
        }
        self.present_ingresses(home, routes, classes).await
    }

    /// A chunk that is refused is halved until the certificate that it is refused for stands alone.
    async fn present_ingresses(
        &self,
        home: &Home,
        routes: &BTreeSet<Route>,
        classes: &[IngressClass],
    ) -> Result<Vec<(SecretRef, Failure)>, PresentError> {
        let mut refused = Vec::new();
        let mut used = BTreeSet::new();
        // By the class's name, however the Ingresses say it.
        let mut made: BTreeMap<Option<String>, BTreeSet<RuleHost>> = BTreeMap::new();
        let mut left: VecDeque<Chunk> = chunks(routes).into();
        while let Some(chunk) = left.pop_front() {
            let name = free_name(&chunk.class, &used);
            // One rule serves all certificates that need it, and some webhooks refuse a second one of the same host and path.
            let made = made.entry(chunk.class.as_str().map(str::to_owned)).or_default();
            let rules: BTreeSet<RuleHost> = chunk.rules().difference(made).cloned().collect();
            if rules.is_empty() {
                continue;
            }
            let ingress = challenge_ingress(home, name.clone(), &chunk.class, &rules, classes);
            match self.make(LeftoverKind::Ingress, home, &ingress).await {
                Ok(_) => {
                    used.insert(name);
                    made.extend(rules);
                }
                Err(PresentError::Cluster(error)) if error.is_refused_by_admission() => match chunk.halve() {
                    Some((first, second)) => {
                        left.push_front(second);
                        left.push_front(first);
                    }
                    None => {
                        let failure = Failure::new(error.to_string(), error.hint());
                        let secrets = chunk.secrets().into_iter().cloned();
                        refused.extend(secrets.map(|secret| (secret, failure.clone())));
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Creates one object under a name that is ours or free.
    pub(super) async fn make<K: Resource<DynamicType = ()> + Serialize>(
        &self,
        kind: LeftoverKind,
        home: &Home,
        object: &K,
    ) -> Result<Leftover, PresentError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let target = target(kind, &home.namespace).named(&name);
        let mut round = 1;
        loop {
            let error = match self.create_whole(&target, object).await {
                Ok(made) => return Ok(made_leftover(kind, home, made.metadata)),
                Err(error) => error,
            };
            if !error.is_conflict() || round == CREATE_ROUNDS {
                return Err(error.into());
            }
            round += 1;
            // A list where a get would do: that right is needed anyway, and one right less is one less to give.
            let named =
                |object: PartialObjectMeta| Some(object.metadata).filter(|it| it.name.as_deref() == Some(&name));
            let mut found = self
                .list(&self::target(kind, &home.namespace), None, true, named)
                .await?;
            let Some(metadata) = found.pop() else { continue };
            let run = metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
            let whose = match run {
                // Our own creation, sent again by the client after its first answer was lost.
                Some(run) if *run == home.run.as_str() => return Ok(made_leftover(kind, home, metadata)),
                Some(run) => format!("is left from the run `{run}`"),
                None => "is not ours".to_owned(),
            };
            return Err(taken(&target, whose, run.is_some()));
        }
    }

    /// The call goes on when its caller is dropped, and whoever withdraws waits for it: no object appears afterwards.
    async fn create_whole<K: Resource<DynamicType = ()> + Serialize>(
        &self,
        target: &Target,
        object: &K,
    ) -> Result<PartialObjectMeta, ClusterError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let request = serde_json::to_vec(object)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        let creating = self.creating.clone().read_owned().await;
        let (cluster, about) = (self.clone(), target.clone());
        let call = tokio::spawn(async move {
            let _creating = creating;
            cluster.call(Verb::Create, &about, request).await
        });
        call.await
            .unwrap_or_else(|error| Err(self.error(Verb::Create, target, Cause::Other(error.to_string()))))
    }

    /// Takes away everything that carries this run's id, and returns once nothing of it is left.
    pub async fn withdraw(&self, home: &Home) -> Result<(), ClusterError> {
        // What is being created now will be there to find; each creation has its own bound on time.
        drop(self.creating.write().await);
        let selector = format!("{RUN_LABEL}={}", home.run);
        let mut failures = 0;
        for round in 0..WITHDRAW_ROUNDS {
            if round > 0 {
                sleep(WITHDRAW_PAUSE.min(Duration::from_millis(100) * u32::try_from(round).unwrap_or(u32::MAX))).await;
            }
            match self.withdraw_once(home, &selector).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    failures += 1;
                    if failures == WITHDRAW_FAILURES {
                        return Err(error);
                    }
                    log::debug!("{error}; trying again");
                }
            }
        }
        let left = self.list_labelled(&home.namespace, &selector).await?;
        let Some(first) = left.first() else { return Ok(()) };
        let target = target(first.kind, &first.namespace).named(&first.name);
        let why = format!(
            "it and {} more are still there: do they have finalizers?",
            left.len() - 1
        );
        Err(self.error(Verb::Delete, &target, Cause::Other(why)))
    }

    /// Lists, and deletes what was listed. Whether there was nothing.
    async fn withdraw_once(&self, home: &Home, selector: &str) -> Result<bool, ClusterError> {
        let left = self.list_labelled(&home.namespace, selector).await?;
        let mut outcome = Ok(left.is_empty());
        for object in &left {
            // One that cannot be deleted keeps none of the others here.
            if let Err(error) = self.delete_leftover(object).await {
                outcome = Err(error);
            }
        }
        outcome
    }
}

/// The first of a class's names that no other chunk has. Classes may share one: the field and the annotation say the same
/// word, or two words make the same label; an object of that name would pass for this chunk's own, made a moment ago.
fn free_name(class: &ClassName, used: &BTreeSet<String>) -> String {
    let mut index = 0;
    loop {
        let name = ingress_name(class, index);
        if !used.contains(&name) {
            return name;
        }
        index += 1;
    }
}

#[allow(deprecated, reason = "haproxy-ingress v0.14 reads nothing but Endpoints")]
fn target(kind: LeftoverKind, namespace: &str) -> Target {
    let namespace = Some(namespace);
    match kind {
        LeftoverKind::Ingress => Target::of::<Ingress>(namespace, None),
        LeftoverKind::Service => Target::of::<core::Service>(namespace, None),
        LeftoverKind::EndpointSlice => Target::of::<EndpointSlice>(namespace, None),
        LeftoverKind::Endpoints => Target::of::<core::Endpoints>(namespace, None),
        LeftoverKind::Pod => Target::of::<core::Pod>(namespace, None),
    }
}

/// Kubernetes' controllers copy a Service's labels to what they make of it, and take that away with the Service: it is not
/// ours to delete, and no right of ours.
fn is_a_controllers(metadata: &ObjectMeta) -> bool {
    let managed = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key));
    managed("endpointslice.kubernetes.io/managed-by").is_some_and(|by| by != CHALLENGE_NAME)
        || managed("endpoints.kubernetes.io/managed-by").is_some()
}

fn leftover(kind: LeftoverKind, namespace: &str, metadata: ObjectMeta) -> Option<Leftover> {
    if is_a_controllers(&metadata) {
        return None;
    }
    Some(Leftover {
        kind,
        namespace: namespace.to_owned(),
        name: metadata.name?,
        uid: metadata.uid?,
        run: metadata.labels?.remove(RUN_LABEL)?,
    })
}

fn made_leftover(kind: LeftoverKind, home: &Home, metadata: ObjectMeta) -> Leftover {
    Leftover {
        kind,
        namespace: home.namespace.clone(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        run: home.run.to_string(),
    }
}

fn taken(target: &Target, whose: String, is_leftover: bool) -> PresentError {
    let namespace = target.namespace.clone().unwrap_or_default();
    let name = target.name().to_owned();
    let command = if is_leftover {
        "kube-lego-once clean".to_owned()
    } else {
        format!("kubectl delete {} -n {namespace} {name}", target.kind.to_lowercase())
    };
    PresentError::Taken {
        kind: target.kind.clone(),
        namespace,
        name,
        whose,
        command,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    use super::super::testing::{Reply, Seen, Server, script, serve, status};
    use super::*;
    use crate::decide::route::JOB_LABEL;

    const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/home/ingresses";

    fn home() -> Home {
        Home {
            namespace: "home".into(),
            run: "ours".parse().expect("a run's id"),
            owner: None,
        }
    }

    fn address() -> Backend {
        Backend::Address("192.0.2.1".parse().expect("an address"), 8080)
    }

    fn job() -> Backend {
        Backend::Pod {
            label: (JOB_LABEL, "j".into()),
            port: 8080,
        }
    }

    fn routes(count: usize) -> BTreeSet<Route> {
        let route = |n: usize| Route {
            class: ClassName::Spec("nginx".into()),
            host: format!("h{n}.example").parse().expect("a name"),
            rule: RuleHost::Named(format!("h{n}.example").parse().expect("a name")),
            secret: SecretRef::new("web", format!("s{n}")),
        };
        (0..count).map(route).collect()
    }

    /// An API server that keeps what is created, but for Ingresses with a host that its webhook dislikes.
    fn keeper(disliked: &'static str, objects: Vec<Value>) -> (Cluster, Server, Arc<Mutex<Vec<Value>>>) {
        let kept = Arc::new(Mutex::new(objects));
        let inside = Arc::clone(&kept);
        let (cluster, server) = serve(move |seen| keep(&mut inside.lock().expect("a lock"), disliked, seen));
        (cluster, server, kept)
    }

    fn keep(kept: &mut Vec<Value>, disliked: &str, seen: &Seen) -> (u16, Value) {
        let path = seen.uri.split('?').next().unwrap_or_default().to_owned();
        let (collection, name) = path.rsplit_once('/').expect("a path");
        let of = |object: &Value, path: &str| object["path"] == path;
        match seen.method.as_str() {
            "POST" => {
                let named = format!("{path}/{}", seen.body["metadata"]["name"].as_str().expect("a name"));
                if !disliked.is_empty() && seen.body.to_string().contains(disliked) {
                    return (400, status(400, "", "admission webhook \"w\" denied the request: no"));
                }
                if kept.iter().any(|object| of(object, &named)) {
                    return (409, status(409, "AlreadyExists", "exists"));
                }
                let mut metadata = seen.body["metadata"].clone();
                metadata["uid"] = format!("uid-{}", kept.len()).into();
                kept.push(json!({"path": named, "collection": path, "metadata": metadata}));
                (201, json!({"metadata": metadata}))
            }
            "DELETE" => {
                let uid = &seen.body["preconditions"]["uid"];
                kept.retain(|object| !(of(object, &path) && object["metadata"]["uid"] == *uid));
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => match kept.iter().find(|object| of(object, &path)) {
                Some(object) => (200, object.clone()),
                None if collection.ends_with("/home") => {
                    let mine: Vec<&Value> = kept.iter().filter(|object| object["collection"] == path).collect();
                    (200, json!({"metadata": {}, "items": mine}))
                }
                None => (404, status(404, "NotFound", name)),
            },
        }
    }

    #[tokio::test]
    async fn a_batch_is_presented_and_withdrawn_without_a_trace() {
        let (cluster, server, kept) = keeper("", Vec::new());
        cluster
            .present(&home(), &address(), &routes(3), &[])
            .await
            .expect("presented");
        let mut left = cluster.list_leftovers("home").await.expect("a list");
        left.sort_by_key(|it| it.uid.clone());
        let names: Vec<_> = left.iter().map(|it| (it.kind, it.name.as_str())).collect();
        assert_eq!(
            names,
            [
                (LeftoverKind::Service, "kube-lego-once"),
                (LeftoverKind::EndpointSlice, "kube-lego-once"),
                (LeftoverKind::Endpoints, "kube-lego-once"),
                (LeftoverKind::Ingress, "kube-lego-once-nginx"),
            ]
        );
        cluster.withdraw(&home()).await.expect("withdrawn");
        assert!(kept.lock().expect("a lock").is_empty());
        let deleted = server.seen().into_iter().filter(|seen| seen.method == "DELETE");
        let first = deleted.map(|seen| seen.uri).next().expect("a deletion");
        assert!(first.starts_with(INGRESSES), "{first}");
    }

    #[tokio::test]
    async fn classes_whose_names_make_one_label_get_an_ingress_each() {
        let (cluster, server, kept) = keeper("", Vec::new());
        let classes = [
            ClassName::Spec("nginx".into()),
            ClassName::Spec("nginx-1".into()),
            ClassName::Annotation("nginx".into()),
            ClassName::Annotation("nginx_1".into()),
        ];
        let count = classes.len();
        let routes = routes(count).into_iter().zip(classes);
        let routes = routes.map(|(route, class)| Route { class, ..route }).collect();
        cluster.present(&home(), &job(), &routes, &[]).await.expect("presented");
        let seen = server.seen().into_iter().map(|seen| seen.body.to_string());
        let created: Vec<String> = seen.filter(|body| body.contains(".example")).collect();
        assert_eq!(created.len(), count, "each is created, none is taken for another's");
        assert_eq!(kept.lock().expect("a lock").len(), 1 + count);
    }

    #[tokio::test]
    async fn one_refused_host_fails_its_certificate_alone() {
        let (cluster, server, kept) = keeper("h4.example", Vec::new());
        let refused = cluster
            .present(&home(), &job(), &routes(8), &[])
            .await
            .expect("presented");
        let [(secret, why)] = refused.as_slice() else {
            panic!("{refused:?}");
        };
        assert_eq!(secret.to_string(), "web/s4");
        assert!(why.message.contains("admission webhook"), "{}", why.message);
        let kept = kept.lock().expect("a lock");
        let names: Vec<_> = kept
            .iter()
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect();
        let expected = [
            "kube-lego-once",
            "kube-lego-once-nginx",
            "kube-lego-once-nginx-1",
            "kube-lego-once-nginx-2",
        ];
        assert_eq!(names, expected);
        assert_eq!(server.count("POST", INGRESSES), 7);
    }

    #[tokio::test]
    async fn a_missing_right_is_no_refusal_of_a_host() {
        let denied = r#"ingresses is forbidden: User "u" cannot create resource "ingresses""#;
        let services = "/api/v1/namespaces/home/services?";
        let (cluster, server) = script([
            Reply::new(
                "POST",
                services,
                201,
                json!({"metadata": {"name": "kube-lego-once", "uid": "1"}}),
            ),
            Reply::new("POST", &format!("{INGRESSES}?"), 403, status(403, "Forbidden", denied)),
        ]);
        let error = cluster
            .present(&home(), &job(), &routes(8), &[])
            .await
            .expect_err("no right");
        assert!(
            error
                .to_string()
                .starts_with("could not create Ingress `home/kube-lego-once-nginx`"),
            "{error}"
        );
        assert!(error.hint().expect("a hint").contains("kubectl auth can-i"));
        server.finish().await;
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_left_alone_unless_it_is_ours() {
        for (labels, expected) in [
            (
                json!({}),
                Err("`kubectl delete ingress -n home kube-lego-once-nginx` removes it"),
            ),
            (json!({RUN_LABEL: "other"}), Err("`kube-lego-once clean` removes it")),
            (json!({RUN_LABEL: "ours"}), Ok(())),
        ] {
            let name = "kube-lego-once-nginx";
            let metadata = json!({"name": name, "uid": "theirs", "labels": labels});
            let taken = json!({"path": format!("{INGRESSES}/{name}"), "collection": INGRESSES, "metadata": metadata});
            let (cluster, server, _kept) = keeper("", vec![taken]);
            let presented = cluster.present(&home(), &job(), &routes(1), &[]).await;
            let outcome = presented.map(drop).map_err(|error| error.hint().expect("a hint"));
            assert_eq!(outcome, expected.map_err(str::to_owned));
            assert_eq!(server.count("DELETE", ""), 0);
        }
    }

    #[tokio::test]
    async fn what_is_gone_or_another_by_now_is_deleted_already() {
        let object = Leftover {
            kind: LeftoverKind::Service,
            namespace: "home".into(),
            name: "kube-lego-once".into(),
            uid: "u".into(),
            run: "old".into(),
        };
        let path = "/api/v1/namespaces/home/services/kube-lego-once?";
        let (cluster, server) = script([
            Reply::new("DELETE", path, 404, status(404, "NotFound", "none")),
            Reply::new("DELETE", path, 409, status(409, "Conflict", "uid")),
            Reply::new("DELETE", path, 500, status(500, "InternalError", "etcd")),
        ]);
        cluster.delete_leftover(&object).await.expect("gone");
        cluster.delete_leftover(&object).await.expect("another");
        cluster.delete_leftover(&object).await.expect_err("unknown");
        let seen = server.finish().await;
        assert_eq!(
            seen[0].body,
            json!({"propagationPolicy": "Background", "preconditions": {"uid": "u"}})
        );
    }

    #[tokio::test(start_paused = true)]
    async fn withdrawing_outlasts_errors_and_says_what_stays() {
        let finalized = json!({"name": "x", "uid": "u", "labels": {RUN_LABEL: "ours"}});
        let mut failures = 3;
        let (cluster, _server) = serve(move |seen| {
            if failures > 0 {
                failures -= 1;
                return (500, status(500, "InternalError", "etcd"));
            }
            let found = seen.method == "GET" && seen.uri.starts_with(INGRESSES);
            let items = if found {
                json!([{"metadata": finalized}])
            } else {
                json!([])
            };
            (200, json!({"metadata": {}, "items": items}))
        });
        let error = cluster.withdraw(&home()).await.expect_err("it stays");
        assert!(
            error
                .to_string()
                .starts_with("could not delete Ingress `home/x`: it and 0 more"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_creation_whose_caller_was_dropped_is_withdrawn_too() {
        let (cluster, _server, kept) = keeper("", Vec::new());
        {
            let (home, backend, routes) = (home(), job(), routes(1));
            let mut present = std::pin::pin!(cluster.present(&home, &backend, &routes, &[]));
            // Polled until the call is on its way, then dropped.
            let polled = futures::poll!(present.as_mut());
            assert!(polled.is_pending());
        }
        cluster.withdraw(&home()).await.expect("withdrawn");
        assert!(kept.lock().expect("a lock").is_empty());
    }
}
