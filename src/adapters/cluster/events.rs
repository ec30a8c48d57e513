//! Events on Ingresses: a courtesy to their owners, which must never cost a certificate or hold up a run.

use std::fmt;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// What all Events of a run may take, also of one that was told to stop.
const EVENTS_DEADLINE: Duration = Duration::from_secs(5);
/// Events that are written at the same time.
const CONCURRENT_EVENTS: usize = 16;
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
    pub async fn write_events(&self, events: &[Event]) -> Option<Unsaid> {
        let deadline = Instant::now() + EVENTS_DEADLINE;
        let (mut written, mut first) = (0, None);
        let mut results = stream::iter(events)
            .map(|event| self.write_event(event))
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

    async fn write_event(&self, event: &Event) -> Result<(), ClusterError> {
        let metadata = &event.metadata;
        let target = Target::of::<Event>(metadata.namespace.as_deref(), metadata.name.as_deref());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let request = serde_json::to_vec(event)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        match self.call::<Value>(Verb::Create, &target, request).await {
            Err(error) if error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{serve, status};
    use super::*;

    fn event(name: &str) -> Event {
        let metadata = json!({"namespace": "web", "name": format!("{name}.0123456789abcdef")});
        serde_json::from_value(json!({"metadata": metadata, "regarding": {"name": name}, "eventTime": null}))
            .expect("an Event")
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
        let unsaid = cluster.write_events(&events).await.expect("one is unsaid");
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
        let unsaid = cluster.write_events(&[event("a")]).await.expect("it is unsaid");
        assert_eq!(
            unsaid.to_string(),
            "1 of 1 Events were not written: the API server took longer than 5 s"
        );
    }
}
