//! Creating one challenge object under a name that is free or ours.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use serde::Serialize;

use super::super::error::Cause;
use super::super::target::{Target, Verb};
use super::super::{Cluster, ClusterError, FIELD_MANAGER};
use super::kinds::target;
use crate::decide::name::RUN_LABEL;
use crate::decide::observed::{Leftover, LeftoverKind};
use crate::decide::route::Home;

/// How often a name is tried. Its object may be deleted while we look up which run it is of.
const CREATE_ROUNDS: usize = 3;
/// Why a challenge object could not be created.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// An object without our label, or of another run, has the name.
    #[error("{kind} `{namespace}/{name}` {whose}; it was left alone")]
    Taken {
        /// The object's kind.
        kind: String,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// `is not ours`, or the run that it is left from.
        whose: String,
        /// The command that deletes it.
        command: String,
    },
    /// A call to the API server failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl PresentError {
    /// What the user can do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { command, .. } => Some(format!("`{command}` removes it")),
            Self::Cluster(error) => error.hint(),
        }
    }
}

impl Cluster {
    /// Creates one object under a name that is free or ours.
    pub(in crate::adapters::cluster) async fn make<K: Resource<DynamicType = ()> + Serialize>(
        &self,
        kind: LeftoverKind,
        home: &Home,
        object: &K,
    ) -> Result<Leftover, PresentError> {
        let name = object.meta().name.clone().unwrap_or_default();
        self.make_at(kind, home, &home.namespace, &name, object).await
    }

    /// The same for an object of any type, in any namespace.
    pub(super) async fn make_at(
        &self,
        kind: LeftoverKind,
        home: &Home,
        namespace: &str,
        name: &str,
        object: &impl Serialize,
    ) -> Result<Leftover, PresentError> {
        let target = target(kind, namespace).named(name);
        let mut round = 1;
        loop {
            let error = match self.create_whole(&target, object).await {
                Ok(made) => return Ok(made_leftover(kind, home, namespace, made.metadata)),
                Err(error) => error,
            };
            if !error.is_conflict() || round == CREATE_ROUNDS {
                return Err(error.into());
            }
            round += 1;
            // A list, although a get would do: the right to list is needed anyway, and so the right to get is not.
            let named = |object: PartialObjectMeta| Some(object.metadata).filter(|it| it.name.as_deref() == Some(name));
            let mut found = self
                .list(&super::kinds::target(kind, namespace), None, true, named)
                .await?;
            let Some(metadata) = found.pop() else { continue };
            let run = metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL));
            let whose = match run {
                // We created it: the first answer was lost, and the client sent the request again.
                Some(run) if *run == home.run.as_str() => return Ok(made_leftover(kind, home, namespace, metadata)),
                Some(run) => format!("is left from the run `{run}`"),
                None => "is not ours".to_owned(),
            };
            return Err(taken(&target, whose, run.is_some()));
        }
    }

    /// The call goes on if its caller is dropped, and [`Cluster::withdraw`] waits for it, so no object appears afterwards.
    async fn create_whole(&self, target: &Target, object: &impl Serialize) -> Result<PartialObjectMeta, ClusterError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let request = serde_json::to_vec(object)
            .map_err(kube::core::request::Error::SerializeBody)
            .and_then(|body| target.request().create(&params, body));
        let creating = self.creating.clone().read_owned().await;
        let (cluster, about) = (self.clone(), target.clone());
        let call = tokio::spawn(async move {
            let _creating = creating;
            cluster.call(Verb::Create, &about, request).await
        });
        call.await
            .unwrap_or_else(|error| Err(self.error(Verb::Create, target, Cause::Other(error.to_string()))))
    }
}

fn made_leftover(kind: LeftoverKind, home: &Home, namespace: &str, metadata: ObjectMeta) -> Leftover {
    Leftover {
        kind,
        namespace: namespace.to_owned(),
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        run: home.run.to_string(),
    }
}

fn taken(target: &Target, whose: String, is_leftover: bool) -> PresentError {
    let namespace = target.namespace.clone().unwrap_or_default();
    let name = target.name().to_owned();
    let command = if is_leftover {
        "kube-lego-once clean".to_owned()
    } else {
        format!("kubectl delete {} -n {namespace} {name}", target.kind.to_lowercase())
    };
    PresentError::Taken {
        kind: target.kind.clone(),
        namespace,
        name,
        whose,
        command,
    }
}
