//! The account's key: a data key per directory in one Secret of the home namespace.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use crate::decide::directory::{ACCOUNT_SECRET, Directory};
use crate::decide::observed::Read;

use super::keyed_secret::Write;
use super::{Cluster, ClusterError};

impl Cluster {
    /// What was stored for the account at this directory. It holds a private key: not for logs.
    pub async fn read_account(&self, home_namespace: &str, directory: &Directory) -> Read<Vec<u8>> {
        match self.read_data(home_namespace, ACCOUNT_SECRET).await {
            Read::Found(mut data) => match data.remove(&directory.account_key()) {
                Some(value) => Read::Found(value.0),
                None => Read::Absent,
            },
            Read::Absent => Read::Absent,
            Read::Unknown(why) => Read::Unknown(why),
        }
    }

    /// Stores it. Keys of other directories, and of other programs (kube-lego's `tls.key`), stay as they are.
    pub async fn store_account(
        &self,
        home_namespace: &str,
        directory: &Directory,
        credentials: Vec<u8>,
    ) -> Result<(), ClusterError> {
        let key = directory.account_key();
        let changes = BTreeMap::from([(key, Some(ByteString(credentials)))]);
        self.write_keys(home_namespace, ACCOUNT_SECRET, &changes, Write::Do)
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;

    const PATH: &str = "/api/v1/namespaces/home/secrets/kube-lego-account";

    fn directory() -> Directory {
        "https://ca.example/dir".parse().expect("a directory")
    }

    #[tokio::test]
    async fn an_account_is_absent_only_when_it_is_not_there() {
        let key = directory().account_key();
        let (cluster, server) = script([
            Reply::new("GET", PATH, 404, status(404, "NotFound", "none")),
            Reply::new("GET", PATH, 200, json!({"metadata": {}, "data": {"tls.key": "eA=="}})),
            Reply::new("GET", PATH, 403, status(403, "Forbidden", "no")),
            Reply::new("GET", PATH, 200, json!({"metadata": {}, "data": {key: "e30="}})),
        ]);
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(cluster.read_account("home", &directory()).await);
        }
        let unknown = "could not read Secret `home/kube-lego-account`: no".into();
        let expected = [
            Read::Absent,
            Read::Absent,
            Read::Unknown(unknown),
            Read::Found(b"{}".to_vec()),
        ];
        assert_eq!(answers, expected);
        server.finish().await;
    }

    #[tokio::test]
    async fn one_data_key_is_patched_and_the_secret_is_made_where_there_is_none() {
        let patch = &format!("{PATH}?");
        let (cluster, server) = script([
            Reply::new("PATCH", patch, 404, status(404, "NotFound", "none")),
            Reply::new(
                "POST",
                "/api/v1/namespaces/home/secrets?",
                409,
                status(409, "AlreadyExists", "is"),
            ),
            Reply::new("PATCH", patch, 200, json!({})),
        ]);
        let stored = cluster.store_account("home", &directory(), b"{}".to_vec()).await;
        stored.expect("stored");
        let seen = server.finish().await;
        assert_eq!(seen[2].body, json!({"data": {directory().account_key(): "e30="}}));
        assert_eq!(seen[1].body["type"], "Opaque");
    }
}
