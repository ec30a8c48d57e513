//! The Lease that keeps two runs apart, <https://kubernetes.io/docs/concepts/architecture/leases/>.
//!
//! Clocks of different machines are never compared: a holder counts as gone when its Lease did not change for as long as
//! it said it would hold, by the clock of the one who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::decide::name::{MANAGED_BY, RunId};
use crate::decide::observed::Read;

use super::error::Cause;
use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// The Lease's name in the home namespace.
const LEASE_NAME: &str = "kube-lego-once";
/// `leaseDurationSeconds`: how long a Lease holds without a renewal.
const DURATION: Duration = Duration::from_secs(30);
/// From one renewal to the next.
const RENEW_EVERY: Duration = Duration::from_secs(8);
/// After a renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// For one call: several must fit into the duration.
const RENEW_LIMIT: Duration = Duration::from_secs(5);
/// So much before others may take it, the holder no longer trusts it: time for a last write to arrive.
const MARGIN: Duration = Duration::from_secs(8);
/// Between two looks at another's Lease.
const POLL: Duration = Duration::from_secs(2);
/// Lost races in a row. Each means that somebody else won, so many never happen.
const RACES_LIMIT: usize = 20;
/// Versions that a write may miss while earlier renewals arrive late.
const CONFLICT_ROUNDS: usize = 3;

/// How long to wait for another's Lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseWait {
    /// From the first look on. Less than the other's duration can only wait for a release, not for an expiry.
    pub limit: Duration,
}

/// Why the Lease is not, or no longer, ours.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run kept it for all the time that we would wait.
    #[error("another run, `{holder}`, holds the Lease `{namespace}/{LEASE_NAME}`")]
    Held {
        /// Who.
        holder: String,
        /// The home namespace.
        namespace: String,
    },
    /// It was ours, and is not any more.
    #[error("the Lease `{namespace}/{LEASE_NAME}` was lost: {why}")]
    Lost {
        /// The home namespace.
        namespace: String,
        /// To whom, or how.
        why: String,
    },
    /// We were told to stop before we had it.
    #[error("stopped while waiting for the Lease `{namespace}/{LEASE_NAME}`")]
    Stopped {
        /// The home namespace.
        namespace: String,
    },
    /// The API server did not let us.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl LeaseError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held { namespace, .. } => Some(format!(
                "if that run is dead, wait a minute, or `kubectl delete lease -n {namespace} {LEASE_NAME}`"
            )),
            Self::Cluster(error) => error.hint(),
            Self::Lost { .. } => Some("once the run that has it now is over, the next one does what is left".into()),
            Self::Stopped { .. } => None,
        }
    }
}

/// The Lease in our hands. Dropping it ends the renewals and leaves the rest to expiry; [`Held::release`] gives it back.
#[derive(Debug)]
pub struct Held {
    cluster: Cluster,
    state: Arc<Mutex<State>>,
    run: RunId,
    renewals: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// When the last renewal that succeeded was sent: others count from no earlier.
    renewed: Moment,
    lost: Option<String>,
}

/// A moment on both clocks: a suspended machine's monotonic one stands still, and the wall clock may be set.
#[derive(Clone, Copy, Debug)]
struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The larger of both ages: others counted on while this machine slept, and a clock that was set forward costs no more
    /// than the wait for the next renewal.
    fn age(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// What must not change for a Lease to expire.
#[derive(PartialEq)]
struct Sight {
    holder: String,
    renew_time: Option<MicroTime>,
    resource_version: Option<String>,
}

impl Cluster {
    /// Takes the Lease: at once where nobody holds it, else when its holder releases it or lets it expire.
    ///
    /// `stop` ends the waiting, never a call that is under way.
    pub async fn acquire(
        &self,
        home_namespace: &str,
        run: &RunId,
        wait: LeaseWait,
        stop: impl Future<Output = ()>,
    ) -> Result<Held, LeaseError> {
        let namespace = home_namespace.to_owned();
        let begun = Instant::now();
        let mut stop = std::pin::pin!(stop);
        let mut seen: Option<(Sight, Instant)> = None;
        let mut races = 0;
        loop {
            let asked = Moment::now();
            let found = self.find_lease(home_namespace).await?;
            let other = other_holder(found.as_ref(), run);
            let expired = match (&seen, &found) {
                (Some((sight, since)), Some(lease)) => {
                    *sight == Sight::of(lease) && asked.monotonic.duration_since(*since) >= duration(lease)
                }
                _ => false,
            };
            let Some(holder) = other.filter(|_| !expired) else {
                match self.take(home_namespace, found, run).await {
                    Ok(lease) => return Ok(self.hold(lease, run, asked)),
                    Err(error) if error.is_conflict() && races < RACES_LIMIT => {
                        races += 1;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            };
            if seen.is_none() {
                log::info!("waiting for the Lease held by `{holder}`");
            }
            if begun.elapsed() >= wait.limit {
                return Err(LeaseError::Held { holder, namespace });
            }
            let sight = found.as_ref().map(Sight::of);
            if let Some(sight) = sight.filter(|sight| seen.as_ref().is_none_or(|(last, _)| last != sight)) {
                // Counted from the answer: the change happened no later.
                seen = Some((sight, Instant::now()));
            }
            tokio::select! {
                () = sleep(POLL) => {}
                () = &mut stop => return Err(LeaseError::Stopped { namespace }),
            }
        }
    }

    /// Who holds the Lease, expired or not; nobody, where there is none.
    pub async fn lease_holder(&self, home_namespace: &str) -> Read<Option<String>> {
        match self.find_lease(home_namespace).await {
            Ok(lease) => Read::Found(lease.as_ref().and_then(holder).map(str::to_owned)),
            Err(error) => Read::Unknown(error.unread()),
        }
    }

    async fn find_lease(&self, home_namespace: &str) -> Result<Option<Lease>, ClusterError> {
        let target = Target::of::<Lease>(Some(home_namespace), Some(LEASE_NAME));
        match self.get(&target).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the Lease, or replaces exactly the version that was found.
    async fn take(&self, home_namespace: &str, found: Option<Lease>, run: &RunId) -> Result<Lease, ClusterError> {
        let verb = if found.is_some() { Verb::Update } else { Verb::Create };
        let now = Some(MicroTime(Timestamp::now()));
        let mut lease = found.unwrap_or_else(|| new_lease(home_namespace));
        let before = holder(&lease).map(str::to_owned);
        let spec = lease.spec.get_or_insert_default();
        if verb == Verb::Update && before.as_deref() != Some(run.as_str()) {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        spec.holder_identity = Some(run.to_string());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.acquire_time = now.clone();
        spec.renew_time = now;
        self.write_lease(verb, &lease).await
    }

    /// A replacement carries the version that was read, so that the API server refuses it once there is a newer one.
    async fn write_lease(&self, verb: Verb, lease: &Lease) -> Result<Lease, ClusterError> {
        let target = Target::of::<Lease>(lease.metadata.namespace.as_deref(), Some(LEASE_NAME));
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(lease).map_err(kube::core::request::Error::SerializeBody);
        let request = body.and_then(|body| match verb {
            Verb::Create => target.request().create(&params, body),
            _ => target.request().replace(LEASE_NAME, &params, body),
        });
        self.call(verb, &target, request).await
    }

    fn hold(&self, lease: Lease, run: &RunId, renewed: Moment) -> Held {
        let state = Arc::new(Mutex::new(State {
            lease,
            renewed,
            lost: None,
        }));
        let renewals = tokio::spawn(keep(self.clone(), Arc::clone(&state), run.clone()));
        Held {
            cluster: self.clone(),
            state,
            run: run.clone(),
            renewals,
        }
    }

    /// Renews once. An error of the outer kind is worth another try; the inner one says that the Lease is lost.
    async fn renew(&self, lease: Lease, run: &RunId) -> Result<Result<Lease, String>, ClusterError> {
        let mut renewed = lease;
        for _ in 0..CONFLICT_ROUNDS {
            renewed.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
            let error = match self.write_lease(Verb::Update, &renewed).await {
                Ok(lease) => return Ok(Ok(lease)),
                Err(error) => error,
            };
            if !error.is_conflict() && !error.is_not_found() {
                return Err(error);
            }
            let namespace = renewed.metadata.namespace.as_deref().unwrap_or_default();
            let Some(now) = self.find_lease(namespace).await? else {
                return Ok(Err("it was deleted".into()));
            };
            // Ours in a newer version: a renewal whose answer was lost, or somebody's label.
            match other_holder(Some(&now), run) {
                None if holder(&now).is_some() => renewed = now,
                None => return Ok(Err("somebody released it".into())),
                Some(other) => return Ok(Err(format!("`{other}` holds it now"))),
            }
        }
        let target = Target::of::<Lease>(renewed.metadata.namespace.as_deref(), Some(LEASE_NAME));
        let why = "it changes faster than it can be written";
        Err(self.error(Verb::Update, &target, Cause::Other(why.into())))
    }
}

/// The renewals, until the Lease is lost or the task is aborted.
async fn keep(cluster: Cluster, state: Arc<Mutex<State>>, run: RunId) {
    let mut pause = RENEW_EVERY;
    loop {
        sleep(pause).await;
        let sent = Moment::now();
        let lease = locked(&state).lease.clone();
        pause = match tokio::time::timeout(RENEW_LIMIT, cluster.renew(lease, &run)).await {
            Ok(Ok(Ok(lease))) => {
                let mut state = locked(&state);
                state.lease = lease;
                state.renewed = sent;
                RENEW_EVERY
            }
            Ok(Ok(Err(why))) => {
                locked(&state).lost = Some(why);
                return;
            }
            Ok(Err(error)) => {
                log::debug!("{error}; trying again");
                RENEW_AGAIN
            }
            Err(_) => {
                log::debug!("no answer to the Lease's renewal; trying again");
                RENEW_AGAIN
            }
        };
    }
}

impl Held {
    /// Whether the Lease can still be relied on; asked before each step that must not be done twice.
    pub fn check(&self) -> Result<(), LeaseError> {
        let state = locked(&self.state);
        let age = state.renewed.age();
        let why = match &state.lost {
            Some(why) => why.clone(),
            None if age > DURATION - MARGIN => format!("no renewal succeeded for {} s", age.as_secs()),
            None => return Ok(()),
        };
        let namespace = state.lease.metadata.namespace.clone().unwrap_or_default();
        Err(LeaseError::Lost { namespace, why })
    }

    /// Gives the Lease back, so that the next run need not wait for its expiry. What is no longer ours stays as it is.
    pub async fn release(mut self) -> Result<(), ClusterError> {
        self.renewals.abort();
        // Whether it ended or was aborted: no renewal is sent after this.
        let _ = (&mut self.renewals).await;
        if locked(&self.state).lost.is_some() {
            return Ok(());
        }
        let mut lease = locked(&self.state).lease.clone();
        let mut round = 1;
        loop {
            lease.spec.get_or_insert_default().holder_identity = None;
            let error = match self.cluster.write_lease(Verb::Update, &lease).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => error,
            };
            if !error.is_conflict() || round == CONFLICT_ROUNDS {
                return Err(error);
            }
            round += 1;
            // A renewal may have arrived after it was given up here.
            let namespace = lease.metadata.namespace.clone().unwrap_or_default();
            match self.cluster.find_lease(&namespace).await? {
                Some(now) if holder(&now) == Some(self.run.as_str()) => lease = now,
                _ => return Ok(()),
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

impl Sight {
    fn of(lease: &Lease) -> Self {
        Self {
            holder: holder(lease).unwrap_or_default().to_owned(),
            renew_time: lease.spec.as_ref().and_then(|spec| spec.renew_time.clone()),
            resource_version: lease.metadata.resource_version.clone(),
        }
    }
}

/// Nothing panics while it holds the lock; and if it did, the state would still be whole.
fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}

fn other_holder(lease: Option<&Lease>, run: &RunId) -> Option<String> {
    let holder = lease.and_then(holder)?;
    Some(holder.to_owned()).filter(|holder| holder != run.as_str())
}

fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => DURATION,
    }
}

fn new_lease(home_namespace: &str) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(LEASE_NAME.into()),
            namespace: Some(home_namespace.to_owned()),
            labels: Some([MANAGED_BY].map(|(key, value)| (key.into(), value.into())).into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use serde_json::{Value, json};

    use super::super::testing::{Seen, Server, serve, status};
    use super::*;

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
        // Its renewTime is 25 years old, and nobody trusts that.
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
}
