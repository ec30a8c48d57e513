//! The sequence of effects: prepare, then solve the batch; withdraw on every way out.

mod batch;
mod chain;
pub mod context;
mod key;
pub mod ledger;
mod order;
mod outcomes;
mod prepare;
pub mod progress;
mod solver;
pub mod stop;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use tokio::sync::OnceCell;

use crate::adapters::cluster::Held;
use crate::apply::batch::Batch;
use crate::apply::context::Context;
use crate::apply::outcomes::OutcomeLog;
use crate::apply::prepare::{Prepared, prepare};
use crate::decide::outcome::Outcomes;
use crate::decide::plan::Plan;
use crate::problem;

/// What the removal of the challenge objects may take.
const WITHDRAWAL_DEADLINE: Duration = Duration::from_secs(30);

/// How an applied plan ended.
#[derive(Debug, Default)]
pub struct Applied {
    /// How each certificate ended.
    pub outcomes: Outcomes,
    /// Why challenge objects are left. Certificates are not affected; the next run removes the objects.
    pub unfinished: Option<anyhow::Error>,
    /// The uids of what earlier runs left and this one could not remove.
    pub unswept: BTreeSet<String>,
}

/// Applies a plan. The Lease is held: there is no other way to get an `&Held` (I3).
///
/// # Errors
/// Where the batch as a whole could not be served. What was stored stays, what was created for the challenges is gone.
pub async fn apply(plan: &Plan, held: &Held, context: &Context) -> anyhow::Result<Applied> {
    let record = OutcomeLog::default();
    let Prepared { unswept, order } = tokio::select! {
        prepared = prepare(plan, held, context, &record) => prepared?,
        () = context.stop.requested_and_grace_over() => anyhow::bail!("stopped before anything was ordered"),
    };
    let mut unfinished = unswept.why;
    if let Some((account, due)) = order
        && !due.is_empty()
        && !context.stop.is_requested()
    {
        let batch = Batch {
            due: &due,
            classes: &plan.classes,
            account: &account,
            held,
            context,
            record: &record,
        };
        // The responder must outlive the challenge objects that point to it.
        let answering = OnceCell::new();
        let solving = AssertUnwindSafe(batch.solve(&answering)).catch_unwind();
        let ended = tokio::select! {
            ended = solving => ended,
            () = context.stop.requested_and_grace_over() => Ok(Ok(())),
        };
        unfinished = withdraw(context).await.err().or(unfinished);
        drop(answering);
        if let (Ok(Err(_)) | Err(_), Some(left)) = (&ended, &unfinished) {
            log::warn!("{}", problem::one_line(left));
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(Applied {
        outcomes: record.into_outcomes(),
        unfinished,
        unswept: unswept.uids,
    })
}

/// Removes the challenge objects. The next run removes what this one cannot.
async fn withdraw(context: &Context) -> anyhow::Result<()> {
    let home = context.home();
    let withdrawal = context.site.cluster.withdraw(&home);
    tokio::time::timeout(WITHDRAWAL_DEADLINE, withdrawal)
        .await
        .map_err(|_| anyhow::anyhow!("the API server took too long"))
        .and_then(|withdrawn| withdrawn.map_err(anyhow::Error::new))
        .context("the challenge objects are left for the next run to remove")
}
