use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::super::Cluster;
use super::super::testing::{Reply, Seen, Server, script, serve, status};
use crate::decide::name::{ClassName, RUN_LABEL, SecretRef};
use crate::decide::observed::{Leftover, LeftoverKind};
use crate::decide::route::JOB_LABEL;
use crate::decide::route::{Backend, Home, Route, RuleHost, Via};

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
        via: Via::Class(ClassName::Spec("nginx".into())),
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
    let routes = routes
        .map(|(route, class)| Route {
            via: Via::Class(class),
            ..route
        })
        .collect();
    cluster.present(&home(), &job(), &routes, &[]).await.expect("presented");
    let seen = server.seen().into_iter().map(|seen| seen.body.to_string());
    let created: Vec<String> = seen.filter(|body| body.contains(".example")).collect();
    assert_eq!(created.len(), count, "each is created, none is taken for another's");
    assert_eq!(kept.lock().expect("a lock").len(), 1 + count);
}

#[tokio::test]
async fn one_refused_host_fails_its_certificate_alone() {
    let (cluster, server, kept) = keeper("h4.example", Vec::new());
    let presented = cluster
        .present(&home(), &job(), &routes(8), &[])
        .await
        .expect("presented");
    let [(secret, why)] = presented.refused.as_slice() else {
        panic!("{presented:?}");
    };
    assert_eq!(secret.to_string(), "web/s4");
    let ingress_of = |n: usize| {
        routes(8)
            .into_iter()
            .nth(n)
            .and_then(|it| presented.object_of(&it).map(str::to_owned))
    };
    assert_eq!(ingress_of(0).as_deref(), Some("kube-lego-once-nginx"));
    assert_eq!(ingress_of(4), None);
    assert_eq!(ingress_of(7).as_deref(), Some("kube-lego-once-nginx-2"));
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
        Reply::new("DELETE", path, 400, status(400, "BadRequest", "etcd")),
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
