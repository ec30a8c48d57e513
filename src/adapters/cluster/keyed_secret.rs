//! Secrets of our own in the home namespace: a data key an entry, each read and written by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::decide::name::MANAGED_BY;
use crate::decide::observed::Read;

use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// How often something is written that others' writes get in the way of.
const CONFLICT_ROUNDS: u32 = 4;
/// The first pause before it is written again; each further one is as much longer.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);

/// Whether a write is done, or everything but its last step (`dryRun=All`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Rehearse,
    Do,
}

impl Cluster {
    /// All data of a Secret.
    pub(super) async fn read_data(&self, namespace: &str, name: &str) -> Read<BTreeMap<String, ByteString>> {
        let target = Target::of::<Secret>(Some(namespace), Some(name));
        match self.get::<Secret>(&target).await {
            Ok(secret) => Read::Found(secret.data.unwrap_or_default()),
            Err(error) if error.is_not_found() => Read::Absent,
            Err(error) => Read::Unknown(error.unread()),
        }
    }

    /// Writes these data keys, or removes those without a value, and touches no other. Makes the Secret if there is none.
    pub(super) async fn write_keys(
        &self,
        namespace: &str,
        name: &str,
        changes: &BTreeMap<String, Option<ByteString>>,
        write: Write,
    ) -> Result<(), ClusterError> {
        let patch = json!({"data": changes});
        let mut round = 1;
        loop {
            let mut done = self.patch_secret(namespace, name, &patch, write).await;
            if done.as_ref().is_err_and(ClusterError::is_not_found) {
                done = self.create_secret(namespace, name, changes, write).await;
            }
            match done {
                // Others wrote in between: it was made, or it changes faster than the API server can apply this.
                Err(error) if error.is_conflict() && round < CONFLICT_ROUNDS => round += 1,
                done => return done,
            }
            sleep(CONFLICT_PAUSE * round).await;
        }
    }

    async fn create_secret(
        &self,
        namespace: &str,
        name: &str,
        changes: &BTreeMap<String, Option<ByteString>>,
        write: Write,
    ) -> Result<(), ClusterError> {
        let values = changes
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let data: BTreeMap<String, ByteString> = values.collect();
        if data.is_empty() {
            return Ok(());
        }
        let target = Target::of::<Secret>(Some(namespace), None);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some([MANAGED_BY].map(|(key, value)| (key.into(), value.into())).into()),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".into()),
            data: Some(data),
            ..Secret::default()
        };
        let params = PostParams {
            dry_run: write == Write::Rehearse,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let request = serde_json::to_vec(&secret)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        self.call_text(Verb::Create, &target.named(name), request)
            .await
            .map(drop)
    }

    async fn patch_secret(&self, namespace: &str, name: &str, patch: &Value, write: Write) -> Result<(), ClusterError> {
        let target = Target::of::<Secret>(Some(namespace), Some(name));
        let params = PatchParams {
            dry_run: write == Write::Rehearse,
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let request = target.request().patch(name, &params, &Patch::Merge(patch));
        self.call_text(Verb::Patch, &target, request).await.map(drop)
    }
}
