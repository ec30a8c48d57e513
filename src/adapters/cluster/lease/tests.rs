use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::Cluster;
use super::super::testing::{Seen, Server, serve, status};
use super::held::{RENEW_EVERY, locked};
use super::object::LEASE_NAME;
use super::*;
use crate::decide::name::RunId;
use crate::decide::observed::Read;

/// A Lease as an API server keeps it: replaced only in its own version.
struct Kept(Arc<Mutex<Option<Value>>>);

impl Kept {
    fn serve(lease: Option<Value>) -> (Self, Cluster, Server) {
        let kept = Arc::new(Mutex::new(lease));
        let inside = Arc::clone(&kept);
        let (cluster, server) = serve(move |seen| answer(&mut inside.lock().expect("a lock"), seen));
        (Self(kept), cluster, server)
    }

    fn edit(&self, edit: impl FnOnce(&mut Option<Value>)) {
        edit(&mut self.0.lock().expect("a lock"));
    }

    fn spec(&self, field: &str) -> Value {
        let kept = self.0.lock().expect("a lock");
        kept.as_ref()
            .map(|lease| lease["spec"][field].clone())
            .unwrap_or_default()
    }
}

fn answer(kept: &mut Option<Value>, seen: &Seen) -> (u16, Value) {
    let version = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    match (seen.method.as_str(), &kept) {
        ("GET", Some(lease)) => return (200, lease.clone()),
        ("GET" | "PUT", None) => return (404, status(404, "NotFound", "none")),
        ("POST", Some(_)) => return (409, status(409, "AlreadyExists", "is")),
        ("PUT", Some(lease)) if version(lease) != version(&seen.body) => {
            return (409, status(409, "Conflict", "newer"));
        }
        _ => {}
    }
    let number: u64 = kept
        .as_ref()
        .and_then(version)
        .map_or(0, |text| text.parse().expect("a number"));
    let mut lease = seen.body.clone();
    lease["metadata"]["resourceVersion"] = (number + 1).to_string().into();
    *kept = Some(lease.clone());
    (200, lease)
}

fn held_by(holder: &str) -> Value {
    json!({
        "metadata": {"name": LEASE_NAME, "namespace": "home", "resourceVersion": "7", "labels": {"team": "x"}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60, "leaseTransitions": 3, "renewTime": "2001-01-01T00:00:00.000000Z"},
    })
}

fn run() -> RunId {
    "ours".parse().expect("a run's id")
}

const LONG: LeaseWait = LeaseWait {
    limit: Duration::from_secs(300),
};

#[tokio::test(start_paused = true)]
async fn a_free_lease_is_taken_renewed_and_given_back() {
    for (lease, transitions) in [(None, 0), (Some(held_by("")), 4)] {
        let (kept, cluster, server) = Kept::serve(lease);
        assert_eq!(cluster.lease_holder("home").await, Read::Found(None));
        let held = cluster
            .acquire("home", &run(), LONG, pending())
            .await
            .expect("the Lease");
        assert_eq!(kept.spec("holderIdentity"), "ours");
        assert_eq!(kept.spec("leaseTransitions"), transitions);
        assert_eq!(cluster.lease_holder("home").await, Read::Found(Some("ours".into())));
        sleep(Duration::from_secs(100)).await;
        held.check().expect("still ours");
        let renewals = server.count("PUT", "leases");
        assert!(renewals >= 6, "{renewals}");
        held.release().await.expect("released");
        assert_eq!(kept.spec("holderIdentity"), Value::Null);
        let puts = server.count("PUT", "leases");
        sleep(Duration::from_secs(100)).await;
        assert_eq!(server.count("PUT", "leases"), puts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_holders_lease_is_taken_after_its_duration_by_our_own_clock() {
    let (kept, cluster, server) = Kept::serve(Some(held_by("dead")));
    let begun = Instant::now();
    // Its renewTime is 25 years old; the clock that wrote it is not trusted.
    let held = cluster
        .acquire("home", &run(), LONG, pending())
        .await
        .expect("the Lease");
    assert!((60..65).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(kept.spec("leaseTransitions"), 4);
    assert_eq!(
        server.seen().last().expect("a request").body["metadata"]["labels"]["team"],
        "x"
    );
    held.check().expect("ours");
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_keeps_it_and_waiting_ends() {
    let (kept, cluster, server) = Kept::serve(Some(held_by("alive")));
    tokio::spawn(async move {
        for number in 8.. {
            sleep(Duration::from_secs(15)).await;
            kept.edit(|lease| {
                lease.as_mut().expect("a Lease")["metadata"]["resourceVersion"] = number.to_string().into();
            });
        }
    });
    let error = cluster
        .acquire("home", &run(), LONG, pending())
        .await
        .expect_err("held");
    assert_eq!(
        error.to_string(),
        "another run, `alive`, holds the Lease `home/kube-lego-once`"
    );
    let stop = sleep(Duration::from_secs(5));
    let error = cluster.acquire("home", &run(), LONG, stop).await.expect_err("stopped");
    assert!(matches!(error, LeaseError::Stopped { .. }), "{error}");
    assert_eq!(server.count("PUT", "leases"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_took_or_deleted_is_lost() {
    for (now, words) in [
        (Some(held_by("other")), "`other` holds it now"),
        (None, "it was deleted"),
    ] {
        let (kept, cluster, server) = Kept::serve(None);
        let held = cluster
            .acquire("home", &run(), LONG, pending())
            .await
            .expect("the Lease");
        kept.edit(|lease| *lease = now);
        held.check().expect("nobody knows yet");
        sleep(Duration::from_secs(20)).await;
        let error = held.check().expect_err("lost").to_string();
        assert!(error.ends_with(words), "{error}");
        let puts = server.count("PUT", "leases");
        held.release().await.expect("nothing to release");
        assert_eq!(server.count("PUT", "leases"), puts);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_is_not_relied_on() {
    let (cluster, _server) = serve(|seen| match seen.method.as_str() {
        "GET" => (404, status(404, "NotFound", "none")),
        "POST" => (201, seen.body.clone()),
        _ => (500, status(500, "InternalError", "etcd")),
    });
    let held = cluster
        .acquire("home", &run(), LONG, pending())
        .await
        .expect("the Lease");
    sleep(Duration::from_secs(21)).await;
    held.check().expect("within the duration");
    sleep(Duration::from_secs(10)).await;
    let error = held.check().expect_err("too old").to_string();
    assert!(error.contains("no renewal succeeded for 31 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_relies_on_nothing_before_its_next_renewal() {
    let (_kept, cluster, _server) = Kept::serve(None);
    let held = cluster
        .acquire("home", &run(), LONG, pending())
        .await
        .expect("the Lease");
    locked(&held.state).renewed.wall -= Duration::from_secs(60);
    let error = held.check().expect_err("it slept a minute").to_string();
    assert!(error.contains("no renewal succeeded for 60 s"), "{error}");
    sleep(RENEW_EVERY + Duration::from_secs(1)).await;
    held.check().expect("nobody took it meanwhile");
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_one_gets_it() {
    let (_kept, cluster, _server) = Kept::serve(None);
    let other: RunId = "theirs".parse().expect("a run's id");
    let now = LeaseWait { limit: Duration::ZERO };
    let (a, b) = (run(), other);
    let (ours, theirs) = tokio::join!(
        cluster.acquire("home", &a, now, pending()),
        cluster.acquire("home", &b, now, pending()),
    );
    assert!(ours.is_ok() ^ theirs.is_ok(), "{ours:?} {theirs:?}");
}
