//! All that comes before the first challenge object: what earlier runs left goes, and what could not be finished is not begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::adapters::acme::{Account, KnownAccount};
use crate::adapters::cluster::{Held, SecretQuota, TlsContent};
use crate::apply::context::Context;
use crate::apply::outcomes::OutcomeLog;
use crate::apply::solver::Solver;
use crate::decide::checks::claims_to_remove;
use crate::decide::observed::{Leftover, LeftoverKind, Read};
use crate::decide::outcome::{Failure, Outcome};
use crate::decide::plan::{Decision, Plan};
use crate::observe::site::Site;
use crate::problem::{self, Wrong};

/// Rehearsals at the same time.
const CONCURRENT_REHEARSALS: usize = 16;
/// What the finalizers of a leftover may take.
const FINALIZER_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at whether they are done.
const FINALIZER_PAUSE: Duration = Duration::from_secs(1);

/// What there is to go on with.
pub struct Prepared<'a> {
    /// The HTTPRoutes of earlier runs that are still there.
    pub unswept: Unswept,
    /// The account, and the certificates that the rehearsal leaves; nothing where none is due.
    pub order: Option<(Account, Vec<&'a Decision>)>,
}

/// What of the sweep could not be done.
#[derive(Debug, Default)]
pub struct Unswept {
    /// The uids of the objects.
    pub uids: BTreeSet<String>,
    /// Why one of them is still there.
    pub why: Option<anyhow::Error>,
}

impl Unswept {
    fn add(&mut self, leftover: &Leftover, why: impl Into<anyhow::Error>) {
        let why = why.into();
        log::warn!("{}", problem::one_line(&why));
        self.uids.insert(leftover.uid.clone());
        self.why = Some(why);
    }
}

/// All of it.
///
/// # Errors
/// Where nothing can be ordered, or the Lease is lost.
pub async fn prepare<'a>(
    plan: &'a Plan,
    held: &Held,
    context: &Context,
    record: &OutcomeLog,
) -> anyhow::Result<Prepared<'a>> {
    held.check()?;
    let unswept = sweep(plan, &context.site).await?;
    forget(plan, held, &context.site).await?;
    let order = match plan.issue.is_empty() {
        true => None,
        false => Some(prepare_orders(plan, context, record).await?),
    };
    Ok(Prepared { unswept, order })
}

async fn prepare_orders<'a>(
    plan: &'a Plan,
    context: &Context,
    record: &OutcomeLog,
) -> anyhow::Result<(Account, Vec<&'a Decision>)> {
    context.can_order()?;
    if let Some(unread) = &plan.ledger_unread {
        return Err(
            anyhow::Error::new(unread.clone()).context("nothing is ordered while an earlier run's orders are unknown")
        );
    }
    context.site.cluster.rehearse_withdrawal(&context.site.home).await?;
    context.site.cluster.rehearse_ledger(&context.site.home).await?;
    Solver::rehearse(context).await?;
    let account = open_account(context).await?;
    let due = without_closed_gateways(&plan.issue, &context.site, record).await;
    let due = rehearse(due, &account, context, record).await;
    let due = within_quotas(due, &context.site, record).await;
    Ok((account, due))
}

/// Returns which HTTPRoutes are still there. Those stand in namespaces of others, who can hold one, and give any of theirs our
/// labels: that must not cost anybody a certificate. All else stands in the home namespace, and would be in this run's way.
async fn sweep(plan: &Plan, site: &Site) -> anyhow::Result<Unswept> {
    let mut unswept = Unswept::default();
    let mut deleted = Vec::new();
    for leftover in &plan.sweep {
        match site.cluster.delete_leftover(leftover).await {
            Ok(()) => deleted.push(leftover),
            Err(error) if leftover.kind == LeftoverKind::HttpRoute => unswept.add(leftover, error),
            Err(error) => return Err(error.into()),
        }
    }
    let left = still_there(&deleted, site).await?;
    for leftover in deleted {
        let Leftover {
            kind,
            namespace,
            name,
            uid,
            run,
        } = leftover;
        let kind_name = kind.kind();
        if !left.contains(uid) {
            log::info!("removed {kind_name} `{namespace}/{name}` of run `{run}`");
            continue;
        }
        let held = Wrong::new(
            format!(
                "{kind_name} `{namespace}/{name}` of run `{run}` was deleted and is still there: its finalizers hold it"
            ),
            format!(
                "if the controller that should remove them no longer runs, remove them: `kubectl patch {} -n {namespace} {name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'`",
                kind_name.to_lowercase()
            ),
        );
        match kind {
            LeftoverKind::HttpRoute => unswept.add(leftover, held),
            _ => return Err(held.into()),
        }
    }
    Ok(unswept)
}

/// Which of the objects that were deleted are there in spite of it. A finalizer may take a moment.
async fn still_there(deleted: &[&Leftover], site: &Site) -> anyhow::Result<BTreeSet<String>> {
    let mut left: BTreeSet<String> = deleted.iter().map(|leftover| leftover.uid.clone()).collect();
    let deadline = Instant::now() + FINALIZER_DEADLINE;
    while !left.is_empty() {
        let there = site.cluster.list_leftovers(&site.home).await?;
        left.retain(|uid| there.iter().any(|leftover| leftover.uid == *uid));
        if left.is_empty() || Instant::now() >= deadline {
            break;
        }
        sleep(FINALIZER_PAUSE).await;
    }
    Ok(left)
}

async fn forget(plan: &Plan, held: &Held, site: &Site) -> anyhow::Result<()> {
    if plan.forget.is_empty() {
        return Ok(());
    }
    // Whoever has the Lease now may have an entry of its own there.
    held.check()?;
    let removals = plan.forget.iter().map(|key| (key.clone(), None)).collect();
    match site.cluster.write_ledger(&site.home, &removals).await {
        Ok(()) => log::debug!("removed {} entries that are of no use from the ledger", removals.len()),
        Err(error) => log::warn!("remove entries that are of no use from the ledger: {error}"),
    }
    Ok(())
}

/// The stored account of this directory, or a new one. A failed read is no reason to make another.
///
/// The key is stored before it is registered: whatever kills a run in between, the next one registers the same key, and gets
/// the same account.
async fn open_account(context: &Context) -> anyhow::Result<Account> {
    let (Some(Ok(authority)), Some(directory)) = (&context.site.authority, &context.directory) else {
        anyhow::bail!("there is no directory to order from");
    };
    let (cluster, home) = (&context.site.cluster, &context.site.home);
    let stored = match cluster.read_account(home, directory).await {
        Read::Found(stored) => stored,
        Read::Absent => {
            let key = authority.new_account_key()?;
            cluster.store_account(home, directory, key.clone()).await?;
            key
        }
        Read::Unknown(unread) => return Err((*unread).into()),
    };
    let KnownAccount { account, store, lost } = authority.account(&stored).await?;
    if let Some(store) = store {
        cluster.store_account(home, directory, store).await?;
        match lost {
            None => log::info!("registered the account `{}`", account.url()),
            Some(lost) => log::warn!(
                "the CA does not know the account `{lost}` any more: registered its key again, as the account `{}`",
                account.url()
            ),
        }
    }
    Ok(account)
}

/// The certificates without those of Gateways, where this run may not make what leads from these to it: that costs no other.
async fn without_closed_gateways<'a>(due: &'a [Decision], site: &Site, record: &OutcomeLog) -> Vec<&'a Decision> {
    let of_listener = |decision: &&Decision| decision.routes.iter().any(|route| route.via.listener().is_some());
    let (by_listener, mut others): (Vec<_>, Vec<_>) = due.iter().partition(of_listener);
    let listeners = by_listener
        .iter()
        .flat_map(|it| &it.routes)
        .filter_map(|route| route.via.listener());
    let namespaces: BTreeSet<&str> = listeners.map(|listener| listener.gateway.namespace.as_str()).collect();
    if namespaces.is_empty() {
        return others;
    }
    match site.cluster.rehearse_gateways(&site.home, &namespaces).await {
        Ok(()) => others.extend(by_listener),
        Err(error) => {
            for decision in by_listener {
                let failure = Failure::new(format!("no order was made: {error}"), error.hint());
                record.ended(decision, Outcome::Failed(failure));
            }
        }
    }
    others
}

/// Writes each due Secret with `dryRun=All`: what cannot be stored is never ordered.
async fn rehearse<'a>(
    due: Vec<&'a Decision>,
    account: &Account,
    context: &Context,
    record: &OutcomeLog,
) -> Vec<&'a Decision> {
    let rehearsed = stream::iter(due).map(|decision| async move {
        match rehearse_one(decision, account, context).await {
            Ok(()) => Some(decision),
            Err(failure) => {
                record.ended(decision, Outcome::Failed(failure));
                None
            }
        }
    });
    rehearsed
        .buffered(CONCURRENT_REHEARSALS)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// The certificates that can be stored together. Where a quota has room for some of a namespace's new Secrets, the first
/// ones by name get it: what cannot be stored is never ordered.
async fn within_quotas<'a>(due: Vec<&'a Decision>, site: &Site, record: &OutcomeLog) -> Vec<&'a Decision> {
    let mut new: BTreeMap<&str, usize> = BTreeMap::new();
    for decision in due.iter().filter(|decision| decision.secret.is_none()) {
        *new.entry(&decision.certificate.secret.namespace).or_default() += 1;
    }
    // Of one the rehearsal knows.
    new.retain(|_, count| *count > 1);
    let quotas = stream::iter(new).map(|(namespace, count)| async move {
        let quota = site.cluster.secret_quota(namespace).await?;
        (quota.left < count).then_some((namespace, (quota, count)))
    });
    let quotas = quotas
        .buffer_unordered(CONCURRENT_REHEARSALS)
        .filter_map(std::future::ready);
    let mut quotas: BTreeMap<&str, (SecretQuota, usize)> = quotas.collect().await;
    let mut fits = |decision: &&Decision| {
        let namespace = decision.certificate.secret.namespace.as_str();
        let quota = quotas.get_mut(namespace).filter(|_| decision.secret.is_none());
        let Some((SecretQuota { name, left }, count)) = quota else {
            return true;
        };
        if *left > 0 {
            *left -= 1;
            return true;
        }
        let message = format!(
            "no order was made, because the Secret could not be stored: the quota `{name}` has no room for all {count} Secrets that are due in namespace `{namespace}`"
        );
        let hint = format!(
            "`kubectl describe resourcequota -n {namespace} {name}` says what is used: delete what is not needed, or raise it"
        );
        record.ended(decision, Outcome::Failed(Failure::new(message, Some(hint))));
        false
    };
    due.into_iter().filter(|decision| fits(decision)).collect()
}

async fn rehearse_one(decision: &Decision, account: &Account, context: &Context) -> Result<(), Failure> {
    let failure = |why: &dyn std::fmt::Display, hint| {
        Failure::new(
            format!("no order was made, because the Secret could not be stored: {why}"),
            hint,
        )
    };
    let hosts = decision.certificate.hosts.iter().map(ToString::to_string).collect();
    let content = TlsContent::placeholder(hosts, context.marker(account), claims_to_remove())
        .map_err(|why| failure(&why, None))?;
    let inspected = decision.secret.as_ref().map(|secret| &secret.version);
    let rehearsal = context
        .site
        .cluster
        .rehearse(&decision.certificate.secret, inspected, &content)
        .await;
    rehearsal.map_err(|error| failure(&error, error.hint()))
}
