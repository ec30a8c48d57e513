//! The Secrets that Ingresses name: read for the plan, rehearsed before an order, stored after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};

use crate::decide::inspection::{MARKER, Marker};
use crate::decide::ledger::PrivateKeyPem;
use crate::decide::name::{MANAGED_BY, SecretRef};
use crate::decide::observed::{Read, Secret, SecretVersion, Texts};

use super::target::{Target, Verb};
use super::{Cluster, ClusterError, FIELD_MANAGER};

/// Secrets that are read at once.
const CONCURRENT_READS: usize = 16;
/// How often a write is tried when only labels change between reading and writing.
const WRITE_ROUNDS: usize = 4;

/// What is to be stored.
#[derive(Clone, Debug)]
pub struct TlsContent {
    /// The chain in PEM, leaf first: `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: PrivateKeyPem,
    /// Who issued it: becomes our annotation.
    pub marker: Marker,
    /// Annotations to remove: another program's claim, when that is taken over.
    pub remove_annotations: Vec<String>,
}

impl TlsContent {
    /// A self-signed pair for these hosts, to rehearse with: whatever inspects Secrets sees a real certificate and its key.
    pub fn placeholder(hosts: Vec<String>, marker: Marker, remove_annotations: Vec<String>) -> Result<Self, String> {
        let pair = rcgen::generate_simple_self_signed(hosts).map_err(|error| error.to_string())?;
        Ok(Self {
            certificate: pair.cert.pem(),
            key: PrivateKeyPem(pair.signing_key.serialize_pem()),
            marker,
            remove_annotations,
        })
    }

    fn marker(&self) -> String {
        // As a value, since two strings cannot fail to be one.
        json!(self.marker).to_string()
    }

    /// The Secret, where there is none yet.
    fn object(&self, secret: &SecretRef) -> core::Secret {
        core::Secret {
            metadata: ObjectMeta {
                name: Some(secret.name.to_string()),
                namespace: Some(secret.namespace.to_string()),
                labels: Some([MANAGED_BY].map(|(key, value)| (key.into(), value.into())).into()),
                annotations: Some(BTreeMap::from([(MARKER.to_owned(), self.marker())])),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".into()),
            data: Some(BTreeMap::from([
                ("tls.crt".to_owned(), ByteString(self.certificate.clone().into_bytes())),
                ("tls.key".to_owned(), ByteString(self.key.0.clone().into_bytes())),
            ])),
            ..core::Secret::default()
        }
    }

    /// A merge patch (RFC 7396) of what is ours, on condition that the Secret is this one in this version.
    fn patch(&self, version: &SecretVersion) -> Value {
        let mut annotations: Map<String, Value> = self
            .remove_annotations
            .iter()
            .map(|key| (key.clone(), Value::Null))
            .collect();
        annotations.insert(MARKER.into(), self.marker().into());
        json!({
            "metadata": {
                "uid": version.uid.to_string(),
                "resourceVersion": version.resource_version.as_str(),
                "annotations": annotations,
            },
            "data": {
                "tls.crt": ByteString(self.certificate.clone().into_bytes()),
                "tls.key": ByteString(self.key.0.clone().into_bytes()),
            },
        })
    }
}

/// Why a Secret was not written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is no longer what the decision was made for; it was left alone.
    #[error("Secret `{secret}` {what} meanwhile, and was left alone")]
    Conflict {
        /// Where.
        secret: SecretRef,
        /// What became of it: `was deleted`.
        what: &'static str,
    },
    /// The API server did not take it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl StoreError {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => Some("the next run decides anew".into()),
            Self::Cluster(error) => error.hint(),
        }
    }
}

#[derive(Clone, Copy)]
enum Mode {
    /// `dryRun=All`: everything but the last step, webhooks and quotas too.
    Rehearse,
    Store,
}

impl Cluster {
    /// Reads one Secret. Only the API server's "not found" means absent (I2).
    pub async fn read_secret(&self, secret: &SecretRef) -> Read<Arc<Secret>> {
        // No Secret can have such a name, and as part of a URL it would ask for something else.
        if !is_path_segment(&secret.name) || !is_path_segment(&secret.namespace) {
            return Read::Absent;
        }
        let target = target(secret);
        match self.get::<core::Secret>(&target).await {
            Ok(object) => Read::Found(Arc::new(object.into())),
            Err(error) if error.is_not_found() => Read::Absent,
            Err(error) => Read::Unknown(error.unread()),
        }
    }

    /// Reads many, some at a time, each once.
    pub async fn read_secrets(
        &self,
        secrets: impl IntoIterator<Item = SecretRef>,
    ) -> BTreeMap<SecretRef, Read<Arc<Secret>>> {
        let secrets: BTreeSet<SecretRef> = secrets.into_iter().collect();
        let mut texts = Texts::default();
        let read: Vec<_> = futures::stream::iter(secrets)
            .map(|secret| async move {
                let read = self.read_secret(&secret).await;
                (secret, read)
            })
            .buffer_unordered(CONCURRENT_READS)
            .map(|(secret, mut read)| {
                if let Read::Found(found) = &mut read
                    && let Some(found) = Arc::get_mut(found)
                {
                    texts.share(found);
                }
                (secret, read)
            })
            .collect()
            .await;
        // All at once, since a map that grows entry by entry leaves a third of its room empty.
        read.into_iter().collect()
    }

    /// Does everything that [`Cluster::store`] would do, short of storing.
    ///
    /// `inspected` is the Secret as the decision saw it; nothing, where there was none.
    pub async fn rehearse(
        &self,
        secret: &SecretRef,
        inspected: Option<&SecretVersion>,
        placeholder: &TlsContent,
    ) -> Result<(), StoreError> {
        self.write(secret, inspected, placeholder, Mode::Rehearse).await
    }

    /// Creates the Secret where there was none, else changes both data keys, our annotation, and nothing more.
    ///
    /// `inspected` is the Secret as the decision saw it; nothing, where there was none. A Secret whose labels or other
    /// data changed since is written all the same; one whose type, marker, `tls.crt` or `tls.key` did is left alone.
    pub async fn store(
        &self,
        secret: &SecretRef,
        inspected: Option<&SecretVersion>,
        content: &TlsContent,
    ) -> Result<(), StoreError> {
        self.write(secret, inspected, content, Mode::Store).await
    }

    async fn write(
        &self,
        secret: &SecretRef,
        inspected: Option<&SecretVersion>,
        content: &TlsContent,
        mode: Mode,
    ) -> Result<(), StoreError> {
        let wanted = Secret::from(content.object(secret)).version;
        let mut expected = inspected.cloned();
        let mut round = 1;
        loop {
            let error = match self.write_once(secret, expected.as_ref(), content, mode).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let vanished = error.is_not_found() && expected.is_some();
            // Of a write whose answer was lost nobody knows whether it was done.
            if round == WRITE_ROUNDS || !(error.is_conflict() || vanished || error.is_outcome_unknown()) {
                return Err(error.into());
            }
            round += 1;
            let conflict = |what| {
                let secret = secret.clone();
                StoreError::Conflict { secret, what }
            };
            match (self.read_secret(secret).await, &expected) {
                // Our own write, sent again by the client after its first answer was lost.
                (Read::Found(now), _) if now.version.same_content(&wanted) => return Ok(()),
                (Read::Found(_), None) => return Err(conflict("was created by somebody else")),
                (Read::Found(now), Some(before)) => match change(before, &now) {
                    Some(what) => return Err(conflict(what)),
                    None if error.is_conflict() => expected = Some(now.version.clone()),
                    None => return Err(error.into()),
                },
                (Read::Absent, Some(_)) => return Err(conflict("was deleted")),
                (Read::Absent, None) if error.is_conflict() => {}
                (Read::Absent, None) | (Read::Unknown(_), _) => return Err(error.into()),
            }
        }
    }

    async fn write_once(
        &self,
        secret: &SecretRef,
        expected: Option<&SecretVersion>,
        content: &TlsContent,
        mode: Mode,
    ) -> Result<core::Secret, ClusterError> {
        let target = target(secret);
        let dry_run = matches!(mode, Mode::Rehearse);
        let field_manager = Some(FIELD_MANAGER.to_owned());
        match expected {
            None => {
                let params = PostParams { dry_run, field_manager };
                let request = serde_json::to_vec(&content.object(secret))
                    .map_err(kube::core::request::Error::SerializeBody)
                    .and_then(|body| target.request().create(&params, body));
                self.call(Verb::Create, &target, request).await
            }
            Some(version) => {
                let params = PatchParams {
                    dry_run,
                    field_manager,
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(content.patch(version));
                let request = target.request().patch(&secret.name, &params, &patch);
                self.call(Verb::Patch, &target, request).await
            }
        }
    }
}

fn target(secret: &SecretRef) -> Target {
    Target::of::<core::Secret>(Some(&secret.namespace), Some(&secret.name))
}

fn is_path_segment(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !name.is_empty() && name.chars().all(letter) && !name.chars().all(|c| c == '.')
}

/// What makes a Secret another one than it was, for the decision that was made about it.
fn change(before: &SecretVersion, now: &Secret) -> Option<&'static str> {
    let same = now.version.same_content(before);
    match now {
        _ if now.version.uid != before.uid => Some("was deleted and made anew"),
        _ if now.version.type_ != before.type_ => Some("changed its type"),
        _ if now.version.marker != before.marker => Some("changed its marker"),
        _ if !same => Some("changed its `tls.crt` or `tls.key`"),
        _ if now.deleting => Some("began to be deleted"),
        _ if now.immutable => Some("became immutable"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Reply, script, status};
    use super::*;

    const PATH: &str = "/api/v1/namespaces/web/secrets/a-tls";

    fn place() -> SecretRef {
        SecretRef::new("web", "a-tls")
    }

    fn content() -> TlsContent {
        let marker = Marker {
            directory: "https://ca.example/dir".into(),
            account: "https://ca.example/acct/1".into(),
        };
        TlsContent {
            certificate: "CERT".into(),
            key: PrivateKeyPem("KEY".into()),
            marker,
            remove_annotations: vec!["cert-manager.io/certificate-name".into()],
        }
    }

    fn object(version: &str, certificate: &str, label: &str) -> Value {
        json!({
            "type": "kubernetes.io/tls",
            "metadata": {"uid": "u", "resourceVersion": version, "labels": {"team": label}},
            "data": {"tls.crt": ByteString(certificate.into()), "tls.key": ByteString("k".into())},
        })
    }

    fn version_of(object: Value) -> SecretVersion {
        let object: core::Secret = serde_json::from_value(object).expect("a Secret");
        Secret::from(object).version
    }

    fn conflict() -> Value {
        status(409, "Conflict", "the object has been modified")
    }

    #[tokio::test(start_paused = true)]
    async fn only_not_found_is_absent() {
        let replies =
            |status, body: serde_json::Value| (0..5).map(move |_| Reply::new("GET", PATH, status, body.clone()));
        let (cluster, server) = script(
            [Reply::new("GET", PATH, 404, status(404, "NotFound", "none"))]
                .into_iter()
                .chain(replies(500, status(500, "InternalError", "etcd")))
                .chain(replies(200, json!({"data": "PRIVATE"})))
                .chain([Reply::new("GET", PATH, 200, object("1", "c", "x"))]),
        );
        assert_eq!(cluster.read_secret(&place()).await, Read::Absent);
        let unknown = Read::Unknown("could not read Secret `web/a-tls`: etcd".into());
        assert_eq!(cluster.read_secret(&place()).await, unknown);
        let Read::Unknown(why) = cluster.read_secret(&place()).await else {
            panic!("known");
        };
        assert!(!why.why.contains("PRIVATE"), "{why}");
        let read = cluster
            .read_secrets([place(), place(), SecretRef::new("web", "../x")])
            .await;
        assert!(matches!(read[&place()], Read::Found(_)));
        assert_eq!(read[&SecretRef::new("web", "../x")], Read::Absent);
        server.finish().await;
    }

    #[tokio::test]
    async fn where_there_was_none_it_is_created_and_never_over_somebody_elses() {
        let (post, get) = ("/api/v1/namespaces/web/secrets?", PATH);
        let exists = status(409, "AlreadyExists", "exists");
        let (cluster, server) = script([
            Reply::new("POST", &format!("{post}&dryRun=All"), 201, object("1", "c", "x")),
            Reply::new("POST", post, 201, object("1", "c", "x")),
            Reply::new("POST", post, 409, exists.clone()),
            Reply::new("GET", get, 200, object("1", "c", "x")),
            Reply::new("POST", post, 409, exists),
            Reply::new("GET", get, 200, json!(content().object(&place()))),
        ]);
        cluster.rehearse(&place(), None, &content()).await.expect("rehearsed");
        cluster.store(&place(), None, &content()).await.expect("stored");
        let error = cluster.store(&place(), None, &content()).await.expect_err("a conflict");
        assert_eq!(
            error.to_string(),
            "Secret `web/a-tls` was created by somebody else meanwhile, and was left alone"
        );
        // The client repeats a POST that a proxy answered with 504, and finds its own Secret.
        cluster.store(&place(), None, &content()).await.expect("stored");
        let body = &server.finish().await[1].body;
        assert_eq!(body["type"], "kubernetes.io/tls");
        assert_eq!(
            body["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "kube-lego-once"
        );
    }

    #[tokio::test]
    async fn a_secret_whose_labels_change_is_written_with_its_new_version() {
        let patch = &format!("{PATH}?");
        let (cluster, server) = script([
            Reply::new("PATCH", patch, 409, conflict()),
            Reply::new("GET", PATH, 200, object("2", "c", "other")),
            Reply::new("PATCH", patch, 200, object("3", "CERT", "other")),
        ]);
        let inspected = version_of(object("1", "c", "x"));
        cluster
            .store(&place(), Some(&inspected), &content())
            .await
            .expect("stored");
        let seen = server.finish().await;
        let annotations = json!({"cert-manager.io/certificate-name": null, MARKER: content().marker()});
        let metadata = json!({"uid": "u", "resourceVersion": "2", "annotations": annotations});
        let data = json!({"tls.crt": "Q0VSVA==", "tls.key": "S0VZ"});
        assert_eq!(seen[2].body, json!({"metadata": metadata, "data": data}));
    }

    #[tokio::test]
    async fn a_secret_whose_content_changes_is_left_alone() {
        let inspected = version_of(object("1", "c", "x"));
        let mut anew = object("2", "c", "x");
        anew["metadata"]["uid"] = "v".into();
        let mut other_type = object("2", "c", "x");
        other_type["type"] = "Opaque".into();
        let mut marked = object("2", "c", "x");
        marked["metadata"]["annotations"] = json!({MARKER: "{}"});
        let mut deleting = object("2", "c", "x");
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let mut immutable = object("2", "c", "x");
        immutable["immutable"] = true.into();
        for (now, what) in [
            (Some(object("2", "d", "x")), "changed its `tls.crt` or `tls.key`"),
            (Some(anew), "was deleted and made anew"),
            (Some(other_type), "changed its type"),
            (Some(marked), "changed its marker"),
            (Some(deleting), "began to be deleted"),
            (Some(immutable), "became immutable"),
            (None, "was deleted"),
        ] {
            let (code, body) = match now {
                Some(now) => (200, now),
                None => (404, status(404, "NotFound", "none")),
            };
            let (cluster, server) = script([
                Reply::new("PATCH", &format!("{PATH}?"), 409, conflict()),
                Reply::new("GET", PATH, code, body),
            ]);
            let error = cluster.store(&place(), Some(&inspected), &content()).await;
            assert_eq!(
                error.expect_err(what).to_string(),
                format!("Secret `web/a-tls` {what} meanwhile, and was left alone")
            );
            server.finish().await;
        }
    }

    #[tokio::test]
    async fn a_refused_write_is_reported_as_it_is_and_shows_no_key() {
        let (cluster, server) = script([Reply::new(
            "PATCH",
            &format!("{PATH}?&dryRun=All"),
            403,
            status(403, "Forbidden", "exceeded quota: q"),
        )]);
        let inspected = version_of(object("1", "c", "x"));
        let error = cluster.rehearse(&place(), Some(&inspected), &content()).await;
        let error = error.expect_err("refused");
        assert_eq!(
            error.to_string(),
            "could not patch Secret `web/a-tls`: exceeded quota: q"
        );
        assert!(!format!("{error:?} {:?}", content()).contains("KEY"));
        server.finish().await;
    }

    #[test]
    fn a_placeholder_is_a_real_pair() {
        let hosts = vec!["a.example".to_owned()];
        let pair = TlsContent::placeholder(hosts.clone(), content().marker, Vec::new()).expect("a pair");
        let now = jiff::Timestamp::now();
        crate::decide::inspection::verify_issued(pair.certificate.as_bytes(), pair.key.0.as_bytes(), &hosts, now)
            .expect("a good pair");
    }
}
