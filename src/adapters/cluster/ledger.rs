//! The ledger's Secret: what must outlive a run (I7).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::decide::ledger::{Entry, EntryKey, LEDGER_SECRET, Ledger};
use crate::decide::observed::Read;

use super::error::Cause;
use super::keyed_secret::Write;
use super::target::{Target, Verb};
use super::{Cluster, ClusterError};

impl Cluster {
    /// The whole ledger. Without the Secret it is an empty one, and that was read: `Absent` is never returned.
    pub async fn read_ledger(&self, home_namespace: &str) -> Read<Ledger> {
        match self.read_data(home_namespace, LEDGER_SECRET).await {
            Read::Found(data) => {
                let entries = data.iter().map(|(key, value)| (key.as_str(), value.0.as_slice()));
                Read::Found(Ledger::from_data(entries))
            }
            Read::Absent => Read::Found(Ledger::default()),
            Read::Unknown(why) => Read::Unknown(why),
        }
    }

    /// Writes entries, or removes those that are to go, in one request; others stay as they are. That an entry is gone already
    /// is success.
    pub async fn write_ledger(
        &self,
        home_namespace: &str,
        changes: &BTreeMap<EntryKey, Option<Entry>>,
    ) -> Result<(), ClusterError> {
        let json = |entry: &Entry| serde_json::to_vec(entry).map(ByteString);
        let changes: Result<BTreeMap<_, _>, _> = changes
            .iter()
            .map(|(key, entry)| Ok((key.data_key(), entry.as_ref().map(json).transpose()?)))
            .collect();
        let changes = changes.map_err(|_: serde_json::Error| {
            let target = Target::of::<Secret>(Some(home_namespace), Some(LEDGER_SECRET));
            self.error(Verb::Patch, &target, Cause::Other("an entry is no JSON".into()))
        })?;
        self.write_keys(home_namespace, LEDGER_SECRET, &changes, Write::Do)
            .await
    }

    /// Does everything that [`Cluster::write_ledger`] would do, short of writing: an order whose key cannot be kept must not
    /// be made.
    pub async fn rehearse_ledger(&self, home_namespace: &str) -> Result<(), ClusterError> {
        let changes = BTreeMap::from([("rehearsal".to_owned(), Some(ByteString(Vec::new())))]);
        self.write_keys(home_namespace, LEDGER_SECRET, &changes, Write::Rehearse)
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;
    use crate::decide::ledger::{EntryKind, Pending};
    use crate::decide::name::SecretRef;

    const PATH: &str = "/api/v1/namespaces/home/secrets/kube-lego-once-ledger";

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_unknown() {
        let (cluster, server) = script([
            Reply::new("GET", PATH, 404, status(404, "NotFound", "none")),
            Reply::new("GET", PATH, 400, status(400, "BadRequest", "etcd")),
        ]);
        assert_eq!(cluster.read_ledger("home").await, Read::Found(Ledger::default()));
        assert!(matches!(cluster.read_ledger("home").await, Read::Unknown(_)));
        server.finish().await;
    }

    #[tokio::test]
    async fn changes_that_come_together_are_one_request_and_touch_no_other_key() {
        let patch = &format!("{PATH}?");
        let (cluster, server) = script([
            Reply::new("PATCH", patch, 200, json!({})),
            Reply::new("PATCH", patch, 404, status(404, "NotFound", "none")),
        ]);
        let pending: Pending = serde_json::from_value(json!({
            "namespace": "web", "secret": "b-tls", "directory": "d", "account": "a", "order": "o", "hosts": [], "key": "K",
            "at": "2026-11-24T12:00:00Z",
        }))
        .expect("an entry");
        let gone = EntryKey::new(EntryKind::Pending, SecretRef::new("web", "a-tls"));
        let new = Entry::Pending(pending);
        let both = BTreeMap::from([(gone.clone(), None), (new.key(), Some(new))]);
        cluster.write_ledger("home", &both).await.expect("written");
        // Where there is no ledger, nothing has to be removed from it.
        let removal = BTreeMap::from([(gone, None)]);
        cluster.write_ledger("home", &removal).await.expect("removed");
        let seen = server.finish().await;
        let data = &seen[0].body["data"];
        assert!(
            data["pending.web.a-tls"].is_null() && data["pending.web.b-tls"].is_string(),
            "{data}"
        );
        assert_eq!(data.as_object().map(serde_json::Map::len), Some(2));
        assert_eq!(seen[1].body, json!({"data": {"pending.web.a-tls": null}}));
    }
}
