//! Events on Ingresses: a courtesy to their owners, which must never cost a certificate or hold up a run.

use std::fmt;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::decide::events::Event;
use crate::decide::name::RunId;

use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER, MANAGED_BY};

/// What all Events of a run may take, also of one that was told to stop.
const EVENTS_DEADLINE: Duration = Duration::from_secs(5);
/// Events that are written at the same time.
const CONCURRENT_EVENTS: usize = 16;
/// `reportingController`.
const CONTROLLER: &str = "kube-lego-once.dev/kube-lego-once";
/// `action`: what was done or not done.
const ACTION: &str = "Issue";

/// Events that could not be written.
#[derive(Debug)]
pub struct Unsaid {
    count: usize,
    all: usize,
    first: Option<ClusterError>,
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} Events were not written: ", self.count, self.all)?;
        match &self.first {
            Some(error) => error.fmt(f),
            None => write!(f, "the API server took longer than {} s", EVENTS_DEADLINE.as_secs()),
        }
    }
}

impl Cluster {
    /// Writes the Events, in their order, until all are written or the time is up. One that is there already was said
    /// before, and that is as good.
    pub async fn write_events(&self, events: &[Event], run: &RunId) -> Option<Unsaid> {
        let at = Timestamp::now();
        let deadline = Instant::now() + EVENTS_DEADLINE;
        let (mut written, mut first) = (0, None);
        let mut results = stream::iter(events)
            .map(|event| self.write_event(event, run, at))
            .buffered(CONCURRENT_EVENTS);
        while let Ok(Some(result)) = timeout_at(deadline, results.next()).await {
            match result {
                Ok(()) => written += 1,
                Err(error) => {
                    log::debug!("{error}");
                    first.get_or_insert(error);
                }
            }
        }
        (written < events.len()).then_some(Unsaid {
            count: events.len() - written,
            all: events.len(),
            first,
        })
    }

    async fn write_event(&self, event: &Event, run: &RunId, at: Timestamp) -> Result<(), ClusterError> {
        let target = Target::of::<events::Event>(Some(&event.ingress.namespace), Some(&event.name));
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let request = serde_json::to_vec(&object(event, run, at))
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        match self.call::<Value>(Verb::Create, &target, request).await {
            Err(error) if error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }
}

fn object(event: &Event, run: &RunId, at: Timestamp) -> events::Event {
    let (label, us) = MANAGED_BY;
    events::Event {
        metadata: ObjectMeta {
            namespace: Some(event.ingress.namespace.clone()),
            name: Some(event.name.clone()),
            labels: Some([(label.to_owned(), us.to_owned())].into()),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some("networking.k8s.io/v1".into()),
            kind: Some("Ingress".into()),
            namespace: Some(event.ingress.namespace.clone()),
            name: Some(event.ingress.name.clone()),
            uid: Some(event.uid.clone()),
            ..ObjectReference::default()
        }),
        type_: Some(if event.kind.is_warning() { "Warning" } else { "Normal" }.into()),
        reason: Some(event.kind.reason().into()),
        action: Some(ACTION.into()),
        note: Some(event.note.clone()),
        event_time: Some(MicroTime(at)),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(run.to_string()),
        ..events::Event::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, serve, status};
    use super::*;
    use crate::decide::events::EventKind;
    use crate::decide::name::IngressRef;

    const PATH: &str = "/apis/events.k8s.io/v1/namespaces/web/events?";

    fn event(name: &str) -> Event {
        Event {
            name: format!("{name}.0123456789abcdef"),
            ingress: IngressRef::new("web", name),
            uid: "7".into(),
            kind: EventKind::Failed,
            note: "no".into(),
        }
    }

    fn run() -> RunId {
        "r1".parse().expect("a run's id")
    }

    #[tokio::test]
    async fn an_event_is_about_its_ingress_and_has_all_that_the_api_server_asks_for() {
        let (cluster, server) = script([Reply::new("POST", PATH, 201, json!({}))]);
        let unsaid = cluster.write_events(&[event("a")], &run()).await;
        assert!(unsaid.is_none(), "{unsaid:?}");
        let mut body = server.finish().await.remove(0).body;
        // The API server's own form, `2006-01-02T15:04:05.000000Z07:00`, has six digits and no other number of them.
        let time = body["eventTime"].take();
        let time = time.as_str().expect("a time");
        assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "{time}");
        let expected = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {
                "namespace": "web", "name": "a.0123456789abcdef",
                "labels": {"app.kubernetes.io/managed-by": "kube-lego-once"},
            },
            "regarding": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "namespace": "web", "name": "a", "uid": "7"},
            "type": "Warning", "reason": "Failed", "action": "Issue", "note": "no", "eventTime": null,
            "reportingController": "kube-lego-once.dev/kube-lego-once", "reportingInstance": "r1",
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn what_was_said_before_is_not_said_again_and_a_refusal_stops_nothing() {
        let denied = r#"events.events.k8s.io is forbidden: User "u" cannot create resource "events""#;
        let (cluster, server) = serve(move |seen| match seen.body["regarding"]["name"].as_str() {
            Some("a") => (409, status(409, "AlreadyExists", "exists")),
            Some("b") => (403, status(403, "Forbidden", denied)),
            _ => (201, json!({})),
        });
        let events = ["a", "b", "c"].map(event);
        let unsaid = cluster.write_events(&events, &run()).await.expect("one is unsaid");
        assert_eq!(
            unsaid.to_string(),
            format!("1 of 3 Events were not written: could not create Event `web/b.0123456789abcdef`: {denied}")
        );
        assert_eq!(server.count("POST", "events"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_api_server_does_not_hold_up_the_run() {
        let (service, _never_asked) =
            tower_test::mock::pair::<http::Request<kube::client::Body>, http::Response<kube::client::Body>>();
        let cluster = Cluster::new(kube::Client::new(service, "default"));
        let unsaid = cluster.write_events(&[event("a")], &run()).await.expect("it is unsaid");
        assert_eq!(
            unsaid.to_string(),
            "1 of 1 Events were not written: the API server took longer than 5 s"
        );
    }
}
