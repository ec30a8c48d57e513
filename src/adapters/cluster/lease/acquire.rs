//! Taking the Lease, and waiting while another run holds it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::{Instant, sleep};

use super::super::Cluster;
use super::error::LeaseError;
use super::held::{Held, Moment};
use super::object::{duration, holder, other_holder};
use crate::decide::name::RunId;
use crate::decide::observed::Read;

/// The pause between two looks at another run's Lease.
const POLL: Duration = Duration::from_secs(2);
/// The most races that may be lost in a row. In each, another run wins, so this many do not happen.
const RACES_LIMIT: usize = 20;
/// How long to wait while another run holds the Lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseWait {
    /// Counted from the first look. If it is shorter than the Lease's duration, only a release ends the wait, not an expiry.
    pub limit: Duration,
}

/// What was seen of a Lease. A Lease expires if this does not change.
#[derive(PartialEq)]
struct Sight {
    holder: String,
    renew_time: Option<MicroTime>,
    resource_version: Option<String>,
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

impl Cluster {
    /// Takes the Lease: at once if no run holds it, otherwise when its holder releases it or it expires.
    ///
    /// `stop` ends the waiting, but not a call that was sent.
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
                // Counted from the answer, since the change happened before it.
                seen = Some((sight, Instant::now()));
            }
            tokio::select! {
                () = sleep(POLL) => {}
                () = &mut stop => return Err(LeaseError::Stopped { namespace }),
            }
        }
    }

    /// The holder of the Lease, expired or not; `None` if there is no Lease or no holder.
    pub async fn lease_holder(&self, home_namespace: &str) -> Read<Option<String>> {
        match self.find_lease(home_namespace).await {
            Ok(lease) => Read::Found(lease.as_ref().and_then(holder).map(str::to_owned)),
            Err(error) => Read::Unknown(error.unread()),
        }
    }
}
