//! The ledger's Secret: what must outlive a run (I7).

use k8s_openapi::api::core::v1::Secret;

use crate::decide::ledger::{LEDGER_SECRET, Ledger, Pending};
use crate::decide::name::SecretRef;
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

    /// Writes an order's entry, or writes it anew; others stay as they are.
    pub async fn write_pending(&self, home_namespace: &str, pending: &Pending) -> Result<(), ClusterError> {
        let key = Ledger::pending_key(&pending.secret());
        let value = serde_json::to_vec(pending).map_err(|_| {
            let target = Target::of::<Secret>(Some(home_namespace), Some(LEDGER_SECRET));
            self.error(Verb::Patch, &target, Cause::Other("the entry is no JSON".into()))
        })?;
        self.write_key(home_namespace, LEDGER_SECRET, &key, value, Write::Do)
            .await
    }

    /// Does everything that [`Cluster::write_pending`] would do, short of writing: an order whose key cannot be kept must
    /// not be made.
    pub async fn rehearse_ledger(&self, home_namespace: &str) -> Result<(), ClusterError> {
        self.write_key(home_namespace, LEDGER_SECRET, "rehearsal", Vec::new(), Write::Rehearse)
            .await
    }

    /// Removes a certificate's entry. That there is none is success.
    pub async fn remove_pending(&self, home_namespace: &str, secret: &SecretRef) -> Result<(), ClusterError> {
        let key = Ledger::pending_key(secret);
        self.remove_key(home_namespace, LEDGER_SECRET, &key).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;

    const PATH: &str = "/api/v1/namespaces/home/secrets/kube-lego-once-ledger";

    #[tokio::test]
    async fn a_ledger_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_unknown() {
        let (cluster, server) = script([
            Reply::new("GET", PATH, 404, status(404, "NotFound", "none")),
            Reply::new("GET", PATH, 500, status(500, "InternalError", "etcd")),
        ]);
        assert_eq!(cluster.read_ledger("home").await, Read::Found(Ledger::default()));
        assert!(matches!(cluster.read_ledger("home").await, Read::Unknown(_)));
        server.finish().await;
    }

    #[tokio::test]
    async fn removing_an_entry_names_one_key_and_takes_its_absence_for_success() {
        let patch = &format!("{PATH}?");
        let (cluster, server) = script([
            Reply::new("PATCH", patch, 200, json!({})),
            Reply::new("PATCH", patch, 404, status(404, "NotFound", "none")),
        ]);
        let secret = SecretRef::new("web", "a-tls");
        for _ in 0..2 {
            cluster.remove_pending("home", &secret).await.expect("removed");
        }
        let seen = server.finish().await;
        assert_eq!(seen[0].body, json!({"data": {"pending.web.a-tls": null}}));
    }
}
