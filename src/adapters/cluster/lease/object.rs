//! The Lease object in the home namespace: how it is read and written, and what it says.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;

use super::super::target::{Target, Verb};
use super::super::{Cluster, ClusterError, FIELD_MANAGER};
use crate::decide::name::{MANAGED_BY, RunId};

/// The Lease's name in the home namespace.
pub(super) const LEASE_NAME: &str = "kube-lego-once";
/// `leaseDurationSeconds`: how long a Lease holds without a renewal.
pub(super) const DURATION: Duration = Duration::from_secs(30);
impl Cluster {
    pub(super) async fn find_lease(&self, home_namespace: &str) -> Result<Option<Lease>, ClusterError> {
        let target = Target::of::<Lease>(Some(home_namespace), Some(LEASE_NAME));
        match self.get(&target).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the Lease, or replaces it in the version that was found.
    pub(super) async fn take(
        &self,
        home_namespace: &str,
        found: Option<Lease>,
        run: &RunId,
    ) -> Result<Lease, ClusterError> {
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

    /// A replacement has the version that was read, so the API server refuses it if there is a newer one.
    pub(super) async fn write_lease(&self, verb: Verb, lease: &Lease) -> Result<Lease, ClusterError> {
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
}

pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    Some(holder).filter(|holder| !holder.is_empty())
}

pub(super) fn other_holder(lease: Option<&Lease>, run: &RunId) -> Option<String> {
    let holder = lease.and_then(holder)?;
    Some(holder.to_owned()).filter(|holder| holder != run.as_str())
}

pub(super) fn duration(lease: &Lease) -> Duration {
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
