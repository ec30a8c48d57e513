//! The sequence of effects: respond, present, then probe, order and store each certificate; withdraw on every way out.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep};

use crate::adapters::acme::Account;
use crate::adapters::cluster::{Held, TlsContent};
use crate::adapters::probe::{ProbeFailure, ProbeSettings, Prober};
use crate::answering::Answering;
use crate::decide::checks::claims_to_remove;
use crate::decide::desired::Certificate;
use crate::decide::name::{DnsName, SecretRef};
use crate::decide::observed::{IngressClass, Leftover, Read};
use crate::decide::plan::{Decision, Plan};
use crate::decide::report::{Failure, Outcome, Outcomes};
use crate::decide::route::Route;
use crate::order;
use crate::problem::{self, Wrong};
use crate::progress::Progress;
use crate::site::Site;
use crate::world::World;

/// Certificates that are probed and ordered at the same time.
const CONCURRENT_CERTIFICATES: usize = 10;
/// Hosts that are probed at the same time, of all certificates: half of what the responder holds, and a small part of what
/// the usual limit of open files allows.
const CONCURRENT_PROBES: usize = 64;
/// Rehearsals at the same time.
const CONCURRENT_REHEARSALS: usize = 16;
/// What the finalizers of a leftover may take.
const FINALIZER_DEADLINE: Duration = Duration::from_secs(10);
/// Between two looks at whether they are done.
const FINALIZER_PAUSE: Duration = Duration::from_secs(1);
/// What the removal of the challenge objects may take.
const WITHDRAWAL_DEADLINE: Duration = Duration::from_secs(30);

/// What an applied plan came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// How each certificate ended.
    pub outcomes: Outcomes,
    /// What could not be taken away again: the certificates are none the worse, and the next run sweeps it.
    pub unfinished: Option<anyhow::Error>,
}

/// Applies a plan while the Lease is held: there is no other way to get an `&Held` (I3).
///
/// # Errors
/// Where the batch as a whole could not be served. What was stored stays, what was created for the challenges is gone.
pub async fn apply(plan: &Plan, held: &Held, world: &World) -> anyhow::Result<Applied> {
    let outcomes = Mutex::new(Outcomes::new());
    let prepared = tokio::select! {
        prepared = prepare(plan, held, world, &outcomes) => prepared?,
        () = world.stop.requested_and_grace_over() => anyhow::bail!("stopped before anything was ordered"),
    };
    let mut unfinished = None;
    if let Some((account, due)) = prepared
        && !due.is_empty()
        && !world.stop.is_requested()
    {
        let batch = Batch {
            due: &due,
            classes: &plan.classes,
            account: &account,
            held,
            world,
            outcomes: &outcomes,
        };
        // Whoever answers does so until the objects that lead there are gone.
        let answering = OnceCell::new();
        let solving = AssertUnwindSafe(batch.solve(&answering)).catch_unwind();
        let ended = tokio::select! {
            ended = solving => ended,
            () = world.stop.requested_and_grace_over() => Ok(Ok(())),
        };
        unfinished = withdraw(world).await.err();
        drop(answering);
        if let (Ok(Err(_)) | Err(_), Some(left)) = (&ended, &unfinished) {
            log::warn!("{}", problem::one_line(left));
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Applied { outcomes, unfinished })
}

/// All that comes before the first challenge object: the sweep, the account, and what the rehearsal leaves.
async fn prepare<'a>(
    plan: &'a Plan,
    held: &Held,
    world: &World,
    outcomes: &Mutex<Outcomes>,
) -> anyhow::Result<Option<(Account, Vec<&'a Decision>)>> {
    held.check()?;
    sweep(plan, &world.site).await?;
    forget(plan, held, &world.site).await?;
    if plan.issue.is_empty() {
        return Ok(None);
    }
    world.can_order()?;
    if let Some(unread) = &plan.ledger_unread {
        return Err(
            anyhow::Error::new(unread.clone()).context("nothing is ordered while an earlier run's orders are unknown")
        );
    }
    world.site.cluster.rehearse_withdrawal(&world.site.home).await?;
    world.site.cluster.rehearse_ledger(&world.site.home).await?;
    Answering::rehearse(world).await?;
    let account = open_account(world).await?;
    let due = rehearse(&plan.issue, &account, world, outcomes).await;
    Ok(Some((account, due)))
}

async fn sweep(plan: &Plan, site: &Site) -> anyhow::Result<()> {
    for leftover in &plan.sweep {
        site.cluster.delete_leftover(leftover).await?;
    }
    let left = still_there(plan, site).await?;
    for Leftover {
        kind,
        namespace,
        name,
        uid,
        run,
    } in &plan.sweep
    {
        if left.contains(uid) {
            let kind_name = format!("{kind:?}").to_lowercase();
            return Err(Wrong::new(
                format!("{kind:?} `{namespace}/{name}` of run `{run}` was deleted and is still there: it has finalizers"),
                format!("where the finalizers' controller is gone, `kubectl patch {kind_name} -n {namespace} {name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'` lets it go"),
            )
            .into());
        }
        log::info!("removed {kind:?} `{namespace}/{name}` of run `{run}`");
    }
    Ok(())
}

/// Which of the objects that were deleted are there in spite of it. A finalizer may take a moment.
async fn still_there(plan: &Plan, site: &Site) -> anyhow::Result<BTreeSet<String>> {
    let mut left: BTreeSet<String> = plan.sweep.iter().map(|leftover| leftover.uid.clone()).collect();
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
    for secret in &plan.forget {
        // Whoever has the Lease now may have an entry of its own there.
        held.check()?;
        match site.cluster.remove_pending(&site.home, secret).await {
            Ok(()) => log::debug!("removed an old order for `{secret}` from the ledger"),
            Err(error) => log::warn!("remove an old order for `{secret}` from the ledger: {error}"),
        }
    }
    Ok(())
}

/// The stored account of this directory, or a new one. A failed read is no reason to make another.
async fn open_account(world: &World) -> anyhow::Result<Account> {
    let (Some(Ok(authority)), Some(directory)) = (&world.site.authority, &world.directory) else {
        anyhow::bail!("there is no directory to order from");
    };
    match world.site.cluster.read_account(&world.site.home, directory).await {
        Read::Found(credentials) => Ok(authority.open(&credentials).await?),
        Read::Absent => {
            // A key that is registered and then dropped is an account lost, and an external one's key may be good for one.
            if world.stop.is_requested() {
                anyhow::bail!("stopped before an account was registered");
            }
            world.site.cluster.rehearse_account(&world.site.home, directory).await?;
            let (account, credentials) = authority.register().await?;
            world
                .site
                .cluster
                .store_account(&world.site.home, directory, credentials)
                .await?;
            log::info!("registered the account `{}`", account.url());
            Ok(account)
        }
        Read::Unknown(unread) => Err(unread.into()),
    }
}

/// Writes each due Secret with `dryRun=All`: what cannot be stored is never ordered.
async fn rehearse<'a>(
    due: &'a [Decision],
    account: &Account,
    world: &World,
    outcomes: &Mutex<Outcomes>,
) -> Vec<&'a Decision> {
    let rehearsed = stream::iter(due).map(|decision| async move {
        match rehearse_one(decision, account, world).await {
            Ok(()) => Some(decision),
            Err(failure) => {
                record(outcomes, decision, Outcome::Failed(failure));
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

async fn rehearse_one(decision: &Decision, account: &Account, world: &World) -> Result<(), Failure> {
    let failure = |why: &dyn std::fmt::Display, hint| Failure {
        message: format!("nothing was ordered, because the Secret could not be stored: {why}"),
        hint,
    };
    let hosts = decision.certificate.hosts.iter().map(ToString::to_string).collect();
    let content =
        TlsContent::placeholder(hosts, world.marker(account), claims_to_remove()).map_err(|why| failure(&why, None))?;
    let inspected = decision.secret.as_ref().map(|secret| &secret.version);
    let rehearsal = world
        .site
        .cluster
        .rehearse(&decision.certificate.secret, inspected, &content)
        .await;
    rehearsal.map_err(|error| failure(&error, error.hint()))
}

/// Removes the challenge objects. The next run sweeps what this one cannot.
async fn withdraw(world: &World) -> anyhow::Result<()> {
    let home = world.home();
    let withdrawal = world.site.cluster.withdraw(&home);
    tokio::time::timeout(WITHDRAWAL_DEADLINE, withdrawal)
        .await
        .map_err(|_| anyhow::anyhow!("the API server took too long"))
        .and_then(|withdrawn| withdrawn.map_err(anyhow::Error::new))
        .context("the challenge objects are left for the next run to remove")
}

/// The certificates of one run while their challenges are answered.
struct Batch<'a> {
    due: &'a [&'a Decision],
    classes: &'a [IngressClass],
    account: &'a Account,
    held: &'a Held,
    world: &'a World,
    outcomes: &'a Mutex<Outcomes>,
}

impl Batch<'_> {
    async fn solve(&self, answering: &OnceCell<Answering>) -> anyhow::Result<()> {
        self.held.check()?;
        let answering = tokio::select! {
            started = answering.get_or_try_init(|| Answering::start(self.world, self.account)) => started?,
            () = self.world.stop.requested() => return Ok(()),
        };
        // A Pod may have taken two minutes.
        self.held.check()?;
        let lost = answering.lost(self.world).shared();
        let refused = self.present(answering).await?;
        let prober = Prober::new(
            self.probe_settings(),
            self.world.run.clone(),
            self.account.thumbprint().to_owned(),
        )?;
        let turns = Semaphore::new(CONCURRENT_PROBES);
        let routed = self
            .due
            .iter()
            .filter(|decision| !refused.contains(&decision.certificate.secret));
        let progress = Progress::of(self.due.len() - refused.len());
        stream::iter(with_equal_hosts(routed))
            .for_each_concurrent(CONCURRENT_CERTIFICATES, |equals| async {
                for decision in equals {
                    let ready = tokio::select! {
                        biased;
                        () = self.world.stop.requested() => Err(Outcome::Stopped),
                        why = lost.clone() => Err(Outcome::Failed(Failure {
                            message: format!("nothing was ordered, because nobody answers challenges any more: {why}"),
                            hint: None,
                        })),
                        probed = self.probe(decision, &prober, &turns) => probed.map_err(Outcome::Failed),
                    };
                    progress.probed();
                    let outcome = match ready {
                        Ok(()) => {
                            keep(self.outcomes, decision, Outcome::Interrupted);
                            order::obtain(decision, self.account, self.held, self.world).await
                        }
                        Err(outcome) => outcome,
                    };
                    record(self.outcomes, decision, outcome);
                    progress.ended();
                }
            })
            .await;
        Ok(())
    }

    /// Asks as the authority will, where there is still something to ask for.
    async fn probe(&self, decision: &Decision, prober: &Prober, turns: &Semaphore) -> Result<(), Failure> {
        match order::is_issued(decision, self.account) {
            true => Ok(()),
            false => probe(prober, turns, &decision.certificate).await,
        }
    }

    /// Creates the challenge objects; what the API server refused has its outcome then.
    async fn present(&self, answering: &Answering) -> anyhow::Result<BTreeSet<SecretRef>> {
        let Answering { home, backend, .. } = answering;
        let routes: BTreeSet<Route> = self.due.iter().flat_map(|decision| decision.routes()).collect();
        let cluster = &self.world.site.cluster;
        let refused = cluster.present(home, backend, &routes, self.classes).await?;
        for (secret, why) in &refused {
            let decision = self.due.iter().find(|decision| decision.certificate.secret == *secret);
            if let Some(decision) = decision {
                let message = format!(
                    "nothing was ordered, because the challenge Ingress was refused: {}",
                    why.message
                );
                let hint = why.hint.clone();
                record(self.outcomes, decision, Outcome::Failed(Failure { message, hint }));
            }
        }
        Ok(refused.into_iter().map(|(secret, _)| secret).collect())
    }

    fn probe_settings(&self) -> ProbeSettings {
        let challenge = &self.world.challenge;
        ProbeSettings {
            mode: challenge.probe,
            resolver: challenge.resolver,
            http_port: challenge.http_port,
            https_port: challenge.https_port,
            allow_private: challenge.private_addresses,
            deadline: challenge.probe_timeout,
        }
    }
}

/// An authority may answer an order for the names of an unfinished one with that one, and it takes one key: such certificates
/// are for one after the other.
fn with_equal_hosts<'a>(decisions: impl Iterator<Item = &'a &'a Decision>) -> Vec<Vec<&'a Decision>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for decision in decisions {
        groups.entry(&decision.certificate.hosts).or_default().push(*decision);
    }
    groups.into_values().collect()
}

/// Asks every host of a certificate; all of them, so that one run names all that are dead.
async fn probe(prober: &Prober, turns: &Semaphore, certificate: &Certificate) -> Result<(), Failure> {
    let probes = certificate.hosts.iter().map(|host| async move {
        // It is never closed.
        let _turn = turns.acquire().await;
        prober.probe(host, &status_addresses(certificate, host)).await
    });
    let failures: Vec<_> = futures::future::join_all(probes)
        .await
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if failures.is_empty() {
        return Ok(());
    }
    let seen: Vec<_> = failures.iter().map(ToString::to_string).collect();
    Err(Failure {
        message: format!(
            "nothing was ordered, because the authority would not get an answer: {}",
            seen.join("; ")
        ),
        hint: failures.iter().find_map(ProbeFailure::hint),
    })
}

fn status_addresses(certificate: &Certificate, host: &DnsName) -> Vec<String> {
    let serving = certificate
        .contributions
        .iter()
        .filter(|contribution| contribution.hosts.contains(host));
    serving
        .flat_map(|contribution| contribution.addresses.iter().cloned())
        .collect()
}

/// Keeps an outcome as it comes, and says so: a run that dies later has said what it did.
fn record(outcomes: &Mutex<Outcomes>, decision: &Decision, outcome: Outcome) {
    let secret = &decision.certificate.secret;
    match &outcome {
        Outcome::Issued { not_after, .. } => log::info!("stored `{secret}`, valid until {not_after}"),
        Outcome::Failed(failure) => log::warn!("`{secret}` failed: {}", failure.message),
        Outcome::Stopped | Outcome::Interrupted => log::debug!("`{secret}` was not obtained"),
    }
    keep(outcomes, decision, outcome);
}

fn keep(outcomes: &Mutex<Outcomes>, decision: &Decision, outcome: Outcome) {
    let secret = &decision.certificate.secret;
    outcomes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(secret.clone(), outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{ingress, observed};
    use crate::decide::plan::plan;
    use crate::decide::policy::Policy;

    #[test]
    fn certificates_with_the_same_hosts_are_for_one_after_the_other() {
        let ingresses = vec![
            ingress("web", "1").tls("1-tls", &["a.example", "b.example"]),
            ingress("web", "2").tls("2-tls", &["b.example", "a.example"]),
            ingress("web", "3").tls("3-tls", &["a.example"]),
        ];
        let plan = plan(&observed(ingresses, Read::Absent), &Policy::default());
        let due: Vec<&Decision> = plan.issue.iter().collect();
        let groups = with_equal_hosts(due.iter());
        let names = |group: &Vec<&Decision>| group.iter().map(|it| it.certificate.secret.name.clone()).collect();
        let groups: Vec<Vec<String>> = groups.iter().map(names).collect();
        assert_eq!(groups, [vec!["3-tls"], vec!["1-tls", "2-tls"]]);
    }
}
