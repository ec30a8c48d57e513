//! How many more Secrets a namespace's quotas have room for. A rehearsal (`dryRun=All`) asks for one, and never sees the next.

use k8s_openapi::api::core::v1::ResourceQuota;

use super::Cluster;
use super::target::Target;

/// What a quota on Secrets is called (<https://kubernetes.io/docs/concepts/policy/resource-quotas/#object-count-quota>).
const COUNTED: [&str; 2] = ["secrets", "count/secrets"];

/// The quota with the least room for Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretQuota {
    /// The ResourceQuota.
    pub name: String,
    /// Secrets that may still be created.
    pub left: usize,
}

impl Cluster {
    /// The tightest quota on a namespace's Secrets; nothing where there is none, or where it may not be known.
    pub async fn secret_quota(&self, namespace: &str) -> Option<SecretQuota> {
        let target = Target::of::<ResourceQuota>(Some(namespace), None);
        let listed = self.list(&target, None, false, secret_quota).await;
        let quotas = listed.map_err(|error| log::debug!("whether all Secrets can be stored is not known: {error}"));
        quotas.ok()?.into_iter().min_by_key(|quota| quota.left)
    }
}

fn secret_quota(object: ResourceQuota) -> Option<SecretQuota> {
    let status = object.status?;
    let (hard, used) = (status.hard?, status.used.unwrap_or_default());
    let number = |text: &str| text.parse::<usize>().ok();
    let left = COUNTED.iter().filter_map(|counted| {
        let limit = number(&hard.get(*counted)?.0)?;
        let used = used.get(*counted).and_then(|used| number(&used.0)).unwrap_or_default();
        Some(limit.saturating_sub(used))
    });
    Some(SecretQuota {
        left: left.min()?,
        name: object.metadata.name?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Reply, script, status};

    #[tokio::test]
    async fn the_tightest_quota_counts_and_what_may_not_be_known_does_not() {
        let path = "/api/v1/namespaces/web/resourcequotas?&limit=500";
        let quota = |name: &str, hard: serde_json::Value, used: serde_json::Value| json!({"metadata": {"name": name}, "status": {"hard": hard, "used": used}});
        let quotas = json!({"items": [
            quota("pods", json!({"pods": "0"}), json!({"pods": "0"})),
            quota("wide", json!({"secrets": "10"}), json!({"secrets": "3"})),
            quota("tight", json!({"count/secrets": "4", "secrets": "10"}), json!({"count/secrets": "3"})),
            quota("over", json!({"pods": "1"}), json!({"secrets": "5"})),
        ]});
        let denied = r#"resourcequotas is forbidden: User "u" cannot list resource "resourcequotas""#;
        let (cluster, server) = script([
            Reply::new("GET", path, 200, quotas),
            Reply::new(
                "GET",
                path,
                200,
                json!({"items": [quota("full", json!({"secrets": "1"}), json!({"secrets": "2"}))]}),
            ),
            Reply::new("GET", path, 200, json!({"items": []})),
            Reply::new("GET", path, 403, status(403, "Forbidden", denied)),
        ]);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(cluster.secret_quota("web").await.map(|quota| (quota.name, quota.left)));
        }
        let expected = [Some(("tight".to_owned(), 1)), Some(("full".to_owned(), 0)), None, None];
        assert_eq!(seen, expected);
        server.finish().await;
    }
}
