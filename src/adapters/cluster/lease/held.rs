//! The Lease while this run holds it: renewed in the background, checked before each step, given back at the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::error::Cause;
use super::super::target::{Target, Verb};
use super::super::{Cluster, ClusterError};
use super::error::LeaseError;
use super::object::{DURATION, LEASE_NAME, holder, other_holder};
use crate::decide::name::RunId;

/// The pause between two renewals.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(8);
/// The pause after a renewal that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// The time for one call. Several must fit into the Lease's duration.
const RENEW_LIMIT: Duration = Duration::from_secs(5);
/// The holder stops relying on the Lease this long before others may take it, so that a last write has time to arrive.
const MARGIN: Duration = Duration::from_secs(8);
/// How often a write is tried again on a newer version, for instance after a renewal that arrived late.
const CONFLICT_ROUNDS: usize = 3;
/// The Lease while this run holds it. [`Held::release`] gives it back. If it is dropped instead, the renewals end and the
/// Lease expires.
#[derive(Debug)]
pub struct Held {
    cluster: Cluster,
    pub(super) state: Arc<Mutex<State>>,
    run: RunId,
    renewals: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct State {
    lease: Lease,
    /// When the last renewal that succeeded was sent. Other runs count from this moment or later.
    pub(super) renewed: Moment,
    lost: Option<String>,
}

/// A moment on both clocks. The monotonic clock stands still while a machine is suspended; the wall clock may be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) monotonic: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The larger of both ages, since other runs went on counting while this machine was suspended. If the wall clock was
    /// set forward, the only loss is the wait for the next renewal.
    fn age(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

impl Cluster {
    pub(super) fn hold(&self, lease: Lease, run: &RunId, renewed: Moment) -> Held {
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

    /// Renews once. After an outer error another try may succeed; an inner error says how the Lease was lost.
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
            // Ours in a newer version: the answer to a renewal was lost, or somebody set a label.
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
    /// Whether the Lease can still be relied on. This is asked before each step that must not be done twice.
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

    /// Gives the Lease back, so that the next run need not wait until it expires. A Lease of another run is not changed.
    pub async fn release(mut self) -> Result<(), ClusterError> {
        self.renewals.abort();
        // After this no renewal is sent.
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
            // A renewal may have arrived after this run stopped waiting for it.
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

/// No code panics while it holds the lock. If it did, the state would still be complete.
pub(super) fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
