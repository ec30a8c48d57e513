//! Finding the challenge objects by their label, and deleting them.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{DeleteParams, Preconditions};
use kube::core::PartialObjectMeta;
use tokio::time::sleep;

use super::super::error::Cause;
use super::super::gateways::is_not_served;
use super::super::target::Verb;
use super::super::{Cluster, ClusterError};
use super::kinds::{everywhere, is_of_gateways, leftover, target};
use crate::decide::name::RUN_LABEL;
use crate::decide::observed::{Leftover, LeftoverKind};
use crate::decide::route::{CHALLENGE_NAME, Home};

/// The most looks at what is left.
const WITHDRAW_ROUNDS: usize = 40;
/// The longest pause between two looks.
const WITHDRAW_PAUSE: Duration = Duration::from_secs(1);
/// Withdrawing gives up after so many rounds with a failed call.
const WITHDRAW_FAILURES: usize = 5;
impl Cluster {
    /// The challenge objects of this home namespace, of any run, in the order in which they are to be deleted.
    pub async fn list_leftovers(&self, home_namespace: &str) -> Result<Vec<Leftover>, ClusterError> {
        self.list_labelled(home_namespace, RUN_LABEL).await
    }

    async fn list_labelled(&self, namespace: &str, selector: &str) -> Result<Vec<Leftover>, ClusterError> {
        let mut found = Vec::new();
        for kind in LeftoverKind::ALL {
            let keep = |object: PartialObjectMeta| leftover(kind, namespace, object.metadata);
            let (target, selector) = everywhere(kind, namespace, selector);
            match self.list(&target, Some(&selector), true, keep).await {
                // A cluster without Gateways has none of them, and a run without the right has made none.
                Err(error) if is_of_gateways(kind) && is_not_served(&error) => {}
                listed => found.extend(listed?),
            }
        }
        found.sort();
        Ok(found)
    }

    /// Deletes exactly this object. It is a success if the object is gone already or if another object has its name now.
    pub async fn delete_leftover(&self, leftover: &Leftover) -> Result<(), ClusterError> {
        let target = target(leftover.kind, &leftover.namespace).named(&leftover.name);
        let params = DeleteParams {
            // A solver Pod has nothing to finish, and a node that is gone would never report that it has ended.
            grace_period_seconds: (leftover.kind == LeftoverKind::Pod).then_some(0),
            ..DeleteParams::background().preconditions(Preconditions {
                uid: Some(leftover.uid.clone()),
                resource_version: None,
            })
        };
        let request = target.request().delete(&leftover.name, &params);
        match self.call_text(Verb::Delete, &target, request).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            done => done.map(drop),
        }
    }

    /// Asks whether this run may delete the objects that it will create. If not, it must not create them.
    ///
    /// This is a dry run of a deletion: nothing is deleted, so the named object need not exist.
    pub async fn rehearse_withdrawal(&self, home_namespace: &str) -> Result<(), ClusterError> {
        let kinds = LeftoverKind::ALL.into_iter().filter(|kind| !is_of_gateways(*kind));
        self.rehearse_deletions(kinds.map(|kind| (kind, home_namespace))).await
    }

    /// The same for what leads from Gateways to the run: only certificates of Gateways need it.
    ///
    /// A kind that the cluster does not have cannot be told from an object that is not there: its creation fails then.
    pub async fn rehearse_gateways(
        &self,
        home_namespace: &str,
        namespaces: &BTreeSet<&str>,
    ) -> Result<(), ClusterError> {
        // They are found by a list of all namespaces: who may not make it would never remove them.
        let (routes, selector) = everywhere(LeftoverKind::HttpRoute, home_namespace, RUN_LABEL);
        match self
            .list(&routes, Some(&selector), true, |_: PartialObjectMeta| None::<()>)
            .await
        {
            Err(error) if error.is_forbidden() => return Err(error),
            _ => {}
        }
        let beside = namespaces.iter().map(|namespace| (LeftoverKind::HttpRoute, *namespace));
        let grant = (LeftoverKind::ReferenceGrant, home_namespace);
        self.rehearse_deletions(beside.chain([grant])).await
    }

    async fn rehearse_deletions(
        &self,
        deletions: impl Iterator<Item = (LeftoverKind, &str)>,
    ) -> Result<(), ClusterError> {
        for (kind, namespace) in deletions {
            let target = target(kind, namespace).named(CHALLENGE_NAME);
            let request = target
                .request()
                .delete(CHALLENGE_NAME, &DeleteParams::default().dry_run());
            match self.call_text(Verb::Delete, &target, request).await {
                // Whoever gets a conflict was allowed to delete.
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes all objects with this run's label, and returns when none is left.
    pub async fn withdraw(&self, home: &Home) -> Result<(), ClusterError> {
        // Waits for creations that were started, so that their objects are found. Each of them has a time limit.
        drop(self.creating.write().await);
        let selector = format!("{RUN_LABEL}={}", home.run);
        let mut failures = 0;
        for round in 0..WITHDRAW_ROUNDS {
            if round > 0 {
                sleep(WITHDRAW_PAUSE.min(Duration::from_millis(100) * u32::try_from(round).unwrap_or(u32::MAX))).await;
            }
            match self.withdraw_once(home, &selector).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    failures += 1;
                    if failures == WITHDRAW_FAILURES {
                        return Err(error);
                    }
                    log::debug!("{error}; trying again");
                }
            }
        }
        let left = self.list_labelled(&home.namespace, &selector).await?;
        let Some(first) = left.first() else { return Ok(()) };
        let target = target(first.kind, &first.namespace).named(&first.name);
        let why = format!(
            "it and {} more are still there: do they have finalizers?",
            left.len() - 1
        );
        Err(self.error(Verb::Delete, &target, Cause::Other(why)))
    }

    /// Lists the objects and deletes them. Returns whether there were none.
    async fn withdraw_once(&self, home: &Home, selector: &str) -> Result<bool, ClusterError> {
        let left = self.list_labelled(&home.namespace, selector).await?;
        let mut outcome = Ok(left.is_empty());
        for object in &left {
            // If one cannot be deleted, the others still are.
            if let Err(error) = self.delete_leftover(object).await {
                outcome = Err(error);
            }
        }
        outcome
    }
}
