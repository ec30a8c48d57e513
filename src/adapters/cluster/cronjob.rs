//! The installation's CronJob, for a run from elsewhere, and the ConfigMaps and Secrets that its Pods read.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::decide::cronjob::{CRONJOB, Keeper};

use super::target::Target;
use super::{Cluster, ClusterError};

impl Cluster {
    /// The CronJob of the home namespace; nothing where there is none.
    ///
    /// # Errors
    /// Where it could not be read.
    pub async fn read_cronjob(&self, home_namespace: &str) -> Result<Option<CronJob>, ClusterError> {
        let target = Target::of::<CronJob>(Some(home_namespace), Some(CRONJOB));
        match self.get(&target).await {
            Ok(cronjob) => Ok(Some(cronjob)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a ConfigMap or a Secret of the home namespace holds, by key.
    ///
    /// # Errors
    /// Where it could not be read: [`ClusterError::is_not_found`] where there is none.
    pub async fn read_kept(
        &self,
        home_namespace: &str,
        keeper: &Keeper,
    ) -> Result<BTreeMap<String, Vec<u8>>, ClusterError> {
        let (namespace, name) = (Some(home_namespace), Some(keeper.name.as_str()));
        if keeper.secret {
            let secret: Secret = self.get(&Target::of::<Secret>(namespace, name)).await?;
            let data = secret.data.unwrap_or_default();
            return Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect());
        }
        let config_map: ConfigMap = self.get(&Target::of::<ConfigMap>(namespace, name)).await?;
        let text = config_map.data.unwrap_or_default().into_iter();
        let bytes = config_map.binary_data.unwrap_or_default().into_iter();
        let text = text.map(|(key, value)| (key, value.into_bytes()));
        Ok(text.chain(bytes.map(|(key, value)| (key, value.0))).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;

    #[tokio::test]
    async fn there_is_one_or_none_and_what_cannot_be_read_is_neither() {
        let path = "/apis/batch/v1/namespaces/home/cronjobs/kube-lego-once";
        let denied = r#"cronjobs is forbidden: User "u" cannot get"#;
        let (cluster, server) = script([
            Reply::new("GET", path, 200, json!({"metadata": {"name": "kube-lego-once"}})),
            Reply::new("GET", path, 404, status(404, "NotFound", "none")),
            Reply::new("GET", path, 403, status(403, "Forbidden", denied)),
        ]);
        assert!(cluster.read_cronjob("home").await.expect("read").is_some());
        assert!(cluster.read_cronjob("home").await.expect("read").is_none());
        assert!(cluster.read_cronjob("home").await.expect_err("denied").is_forbidden());
        server.finish().await;
    }

    #[tokio::test]
    async fn config_maps_and_secrets_are_read_alike() {
        let (cluster, server) = script([
            Reply::new(
                "GET",
                "/api/v1/namespaces/home/configmaps/a",
                200,
                json!({"data": {"text": "root"}, "binaryData": {"bytes": "a2V5"}}),
            ),
            Reply::new(
                "GET",
                "/api/v1/namespaces/home/secrets/a",
                200,
                json!({"data": {"bytes": "a2V5"}}),
            ),
            Reply::new(
                "GET",
                "/api/v1/namespaces/home/secrets/a",
                404,
                status(404, "NotFound", "none"),
            ),
        ]);
        let keeper = |secret| Keeper {
            secret,
            name: "a".into(),
        };
        let config_map = cluster.read_kept("home", &keeper(false)).await.expect("read");
        assert_eq!(
            (&config_map["text"][..], &config_map["bytes"][..]),
            (&b"root"[..], &b"key"[..])
        );
        let secret = cluster.read_kept("home", &keeper(true)).await.expect("read");
        assert_eq!(secret["bytes"], b"key");
        let none = cluster.read_kept("home", &keeper(true)).await.expect_err("none");
        assert!(none.is_not_found(), "{none}");
        server.finish().await;
    }
}
