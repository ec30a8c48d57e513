//! The installation's CronJob, for a run from elsewhere, and the files of its Pod.

use std::path::Path;

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::decide::installation::{CRONJOB, Installation, KeptFile};

use super::error::Cause;
use super::target::{Target, Verb};
use super::{Cluster, ClusterError};

impl Cluster {
    /// What the CronJob of the home namespace says; nothing where there is none.
    ///
    /// # Errors
    /// Where it could not be read, or is none of ours.
    pub async fn read_installation(&self, home_namespace: &str) -> Result<Option<Installation>, ClusterError> {
        let target = Target::of::<CronJob>(Some(home_namespace), Some(CRONJOB));
        match self.get::<CronJob>(&target).await {
            Ok(cronjob) => {
                let installation = Installation::of(cronjob);
                installation
                    .map(Some)
                    .map_err(|why| self.error(Verb::Get, &target, Cause::Other(why)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file of the CronJob's Pod; nothing where the image has it, or a volume of another kind.
    ///
    /// # Errors
    /// Where it could not be read.
    pub async fn read_file_of(
        &self,
        home_namespace: &str,
        installation: &Installation,
        path: &Path,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let Some(KeptFile { secret, name, key }) = installation.file(path) else {
            return Ok(None);
        };
        let content = if secret {
            let target = Target::of::<Secret>(Some(home_namespace), Some(&name));
            let data = self.get::<Secret>(&target).await?.data.unwrap_or_default();
            data.get(&key).map(|value| value.0.clone()).ok_or(target)
        } else {
            let target = Target::of::<ConfigMap>(Some(home_namespace), Some(&name));
            let object = self.get::<ConfigMap>(&target).await?;
            let text = object.data.unwrap_or_default().remove(&key).map(String::into_bytes);
            let bytes = || object.binary_data.unwrap_or_default().remove(&key).map(|value| value.0);
            text.or_else(bytes).ok_or(target)
        };
        content
            .map(Some)
            .map_err(|target| self.error(Verb::Get, &target, Cause::Other(format!("it has no key `{key}`"))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};
    use super::*;

    const PATH: &str = "/apis/batch/v1/namespaces/home/cronjobs/kube-lego-once";

    fn cronjob() -> serde_json::Value {
        let pod = json!({
            "volumes": [
                {"name": "ca", "configMap": {"name": "roots"}},
                {"name": "eab", "secret": {"secretName": "eab"}},
            ],
            "containers": [{"name": "kube-lego-once", "volumeMounts": [
                {"name": "ca", "mountPath": "/ca"},
                {"name": "eab", "mountPath": "/eab"},
            ]}],
        });
        json!({"metadata": {"namespace": "home", "name": "kube-lego-once"},
            "spec": {"schedule": "", "jobTemplate": {"spec": {"template": {"spec": pod}}}}})
    }

    #[tokio::test]
    async fn there_is_one_or_none_and_what_cannot_be_read_is_neither() {
        let (cluster, server) = script([
            Reply::new("GET", PATH, 200, cronjob()),
            Reply::new("GET", PATH, 404, status(404, "NotFound", "none")),
            Reply::new(
                "GET",
                PATH,
                403,
                status(403, "Forbidden", r#"cronjobs is forbidden: User "u" cannot get"#),
            ),
            Reply::new("GET", PATH, 200, json!({"metadata": {}})),
        ]);
        let found = cluster.read_installation("home").await.expect("read").expect("found");
        assert_eq!(found.name, "home/kube-lego-once");
        assert_eq!(cluster.read_installation("home").await.expect("read"), None);
        assert!(
            cluster
                .read_installation("home")
                .await
                .expect_err("denied")
                .is_forbidden()
        );
        let error = cluster.read_installation("home").await.expect_err("empty");
        assert_eq!(
            error.to_string(),
            "could not read CronJob `home/kube-lego-once`: it has no container `kube-lego-once`"
        );
        server.finish().await;
    }

    #[tokio::test]
    async fn files_come_from_where_the_pod_has_them() {
        let (cluster, server) = script([
            Reply::new(
                "GET",
                "/api/v1/namespaces/home/configmaps/roots",
                200,
                json!({"data": {"ca.pem": "root"}}),
            ),
            Reply::new(
                "GET",
                "/api/v1/namespaces/home/secrets/eab",
                200,
                json!({"data": {"key": "a2V5"}}),
            ),
            Reply::new("GET", "/api/v1/namespaces/home/secrets/eab", 200, json!({})),
        ]);
        let installation = Installation::of(serde_json::from_value(cronjob()).expect("a CronJob")).expect("ours");
        let read = async |path: &str| cluster.read_file_of("home", &installation, Path::new(path)).await;
        assert_eq!(read("/ca/ca.pem").await.expect("read"), Some(b"root".to_vec()));
        assert_eq!(read("/eab/key").await.expect("read"), Some(b"key".to_vec()));
        let error = read("/eab/key").await.expect_err("no key").to_string();
        assert_eq!(error, "could not read Secret `home/eab`: it has no key `key`");
        assert_eq!(read("/etc/ca.pem").await.expect("nothing to read"), None);
        server.finish().await;
    }
}
