//! The certificates of one run while their challenges are answered: present, then probe and obtain each.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::Shared;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::OnceCell;

use crate::adapters::acme::Account;
use crate::adapters::cluster::{Held, Presented};
use crate::adapters::probe::{ChallengeObject, ProbeFailure, ProbeSettings, Probed, Prober};
use crate::apply::context::Context;
use crate::apply::order;
use crate::apply::outcomes::OutcomeLog;
use crate::apply::progress::Progress;
use crate::apply::solver::Solver;
use crate::decide::ca_limits::CaLimits;
use crate::decide::desired::Certificate;
use crate::decide::name::{DnsName, SecretRef};
use crate::decide::observed::IngressClass;
use crate::decide::outcome::{Failure, Outcome};
use crate::decide::plan::Decision;
use crate::decide::route::{CHALLENGE_NAME, Route, diagnosis, hairpin, proof};
use crate::decide::turns::Turns;

/// Orders at the same time, as long as the CA does not ask for less. Each takes about 150 kB of memory while it is under way.
const CONCURRENT_ORDERS: usize = 40;

/// The certificates of one run while their challenges are answered.
pub struct Batch<'a> {
    /// What is to be obtained.
    pub due: &'a [&'a Decision],
    /// The cluster's IngressClasses.
    pub classes: &'a [IngressClass],
    /// The account that orders.
    pub account: &'a Account,
    /// The Lease.
    pub held: &'a Held,
    /// What the run works with.
    pub context: &'a Context,
    /// Where the outcomes go.
    pub record: &'a OutcomeLog,
}

impl<'a> Batch<'a> {
    /// Answers, presents, and obtains each certificate whose routes answer.
    ///
    /// It may be dropped at any time: what it made in the cluster is found again by [`Cluster::withdraw`]. `answering` outlives it,
    /// since whoever answers must do so until the objects that lead there are gone.
    ///
    /// [`Cluster::withdraw`]: crate::adapters::cluster::Cluster::withdraw
    ///
    /// # Errors
    /// Where the batch as a whole cannot be served.
    pub async fn solve(&self, answering: &OnceCell<Solver>) -> anyhow::Result<()> {
        self.held.check()?;
        let answering = tokio::select! {
            started = answering.get_or_try_init(|| Solver::start(self.context, self.account)) => started?,
            () = self.context.stop.requested() => return Ok(()),
        };
        // A Pod may have taken two minutes.
        self.held.check()?;
        let lost = answering.lost(self.context).shared();
        let presented = self.present(answering).await?;
        let thumbprint = self.account.thumbprint().to_owned();
        let prober = Prober::new(self.probe_settings(), self.context.run.clone(), thumbprint)?;
        self.pipeline(&prober, &presented, lost).await;
        self.context.ledger.flush().await;
        Ok(())
    }

    /// Probes all hosts at once, and orders what is ready, some at a time: a dead host holds nobody's turn (I9). `lost` ends when
    /// nothing answers challenges any more.
    async fn pipeline(&self, prober: &Prober, presented: &Presented, lost: Shared<impl Future<Output = String>>) {
        let refused: BTreeSet<&SecretRef> = presented.refused.iter().map(|(secret, _)| secret).collect();
        let routed = self
            .due
            .iter()
            .filter(|decision| !refused.contains(&decision.certificate.secret));
        let progress = Progress::of(self.due.len() - refused.len());
        let ready = |group: Vec<&'a Decision>| {
            let lost = lost.clone();
            async move {
                let nothing_obtained = |outcome| Err((outcome, Vec::new()));
                let probed = tokio::select! {
                    biased;
                    () = self.context.stop.requested() => nothing_obtained(Outcome::Stopped),
                    why = lost => nothing_obtained(nothing_answers(&why)),
                    probed = probe(prober, &group, presented, self.classes) => {
                        probed.map_err(|(failure, dead)| (Outcome::Failed(failure), dead))
                    }
                };
                (group, probed)
            }
        };
        let mut probing: FuturesUnordered<_> = with_equal_hosts(routed).into_iter().map(ready).collect();
        let mut turns: Turns<Vec<Cow<'_, Decision>>> = Turns::default();
        let mut ordering = FuturesUnordered::new();
        let mut most = CONCURRENT_ORDERS;
        let mut limits = CaLimits::default();
        loop {
            while ordering.len() < most
                && let Some(mut group) = turns.pop()
            {
                let decision = group.remove(0);
                let lost = lost.clone();
                let held = limits.hold(&decision);
                ordering.push(async move {
                    let outcome = match held {
                        Some(outcome) => outcome,
                        None => self.obtain(&decision, lost).await,
                    };
                    (decision, group, outcome)
                });
            }
            tokio::select! {
                Some((group, probed)) = probing.next() => {
                    let mut ready = Vec::new();
                    for decision in group {
                        progress.probed();
                        match &probed {
                            Ok(()) => ready.push(Cow::Borrowed(decision)),
                            Err((outcome, dead)) => match self.narrowed(decision, dead) {
                                Some(narrowed) => ready.push(Cow::Owned(narrowed)),
                                None => {
                                    self.record.ended(decision, outcome.clone());
                                    progress.ended();
                                }
                            },
                        }
                    }
                    wait(&mut turns, ready);
                }
                Some((decision, group, outcome)) = ordering.next() => {
                    // A CA that has had enough is asked by half as many at a time.
                    if matches!(&outcome, Outcome::Failed(failure) if failure.slows_down) {
                        most = (most / 2).max(1);
                    }
                    limits.learn(&outcome);
                    self.record.ended(&decision, outcome);
                    progress.ended();
                    wait(&mut turns, group);
                }
                else => break,
            }
        }
    }

    /// The certificate without the hosts that do not answer, where it may be renewed so.
    fn narrowed(&self, decision: &Decision, dead: &[DnsName]) -> Option<Decision> {
        let narrowed = decision.without(dead, Timestamp::now())?;
        let hosts: Vec<_> = dead.iter().map(|host| format!("`{host}`")).collect();
        log::warn!(
            "`{}` ends soon, and is renewed without {}",
            decision.certificate.secret,
            hosts.join(", ")
        );
        Some(narrowed)
    }

    async fn obtain(&self, decision: &Decision, lost: Shared<impl Future<Output = String>>) -> Outcome {
        if self.context.stop.is_requested() {
            return Outcome::Stopped;
        }
        // It may have been ready for a while.
        if let Some(why) = lost.now_or_never() {
            return nothing_answers(&why);
        }
        self.record.begun(decision);
        order::obtain(decision, self.account, self.held, self.context).await
    }

    /// Creates the challenge objects; what could not be made has its outcome then.
    async fn present(&self, answering: &Solver) -> anyhow::Result<Presented> {
        let Solver { home, backend, .. } = answering;
        let routes: BTreeSet<Route> = self.due.iter().flat_map(|decision| decision.routes.clone()).collect();
        let cluster = &self.context.site.cluster;
        let presented = cluster.present(home, backend, &routes, self.classes).await?;
        for (secret, why) in &presented.refused {
            let decision = self.due.iter().find(|decision| decision.certificate.secret == *secret);
            if let Some(decision) = decision {
                let message = format!(
                    "no order was made, because the challenge object could not be made, and without it the CA's request cannot reach this run: {why}"
                );
                let failure = Failure::new(message, why.hint.clone());
                self.record.ended(decision, Outcome::Failed(failure));
            }
        }
        Ok(presented)
    }

    fn probe_settings(&self) -> ProbeSettings {
        let challenge = &self.context.challenge;
        ProbeSettings {
            mode: challenge.probe,
            resolver: challenge.resolver,
            http_port: challenge.http_port,
            https_port: challenge.https_port,
            allow_private: challenge.private_addresses,
            caa_identities: match &self.context.site.authority {
                Some(Ok(authority)) => authority.caa_identities().to_vec(),
                _ => Vec::new(),
            },
            deadline: challenge.probe_timeout,
        }
    }
}

/// A CA may answer an order for the names of an unfinished one with that one, and it takes one key: such certificates
/// are for one after the other.
fn with_equal_hosts<'a>(decisions: impl Iterator<Item = &'a &'a Decision>) -> Vec<Vec<&'a Decision>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for decision in decisions {
        groups.entry(&decision.certificate.hosts).or_default().push(*decision);
    }
    groups.into_values().collect()
}

fn nothing_answers(why: &str) -> Outcome {
    let message = format!("no order was made, because nothing answers challenges any more: {why}");
    Outcome::Failed(Failure::new(message, None))
}

/// Lets certificates with equal hosts wait for their turns, one after the other.
fn wait<'a>(turns: &mut Turns<Vec<Cow<'a, Decision>>>, group: Vec<Cow<'a, Decision>>) {
    if let Some(first) = group.first() {
        let ends = first.facts().map(|facts| facts.not_after);
        let namespace = first.certificate.secret.namespace.clone();
        turns.push(&namespace, ends, group);
    }
}

/// Asks every host of certificates with equal hosts, and says which do not answer; all of them, so that one run names all that are dead. What an earlier run
/// left needs no answer any more.
async fn probe(
    prober: &Prober,
    group: &[&Decision],
    presented: &Presented,
    classes: &[IngressClass],
) -> Result<(), (Failure, Vec<DnsName>)> {
    let Some(decision) = group.iter().find(|decision| !order::is_issued(decision)) else {
        return Ok(());
    };
    let certificate = &decision.certificate;
    let probes = certificate.hosts.iter().map(|host| async move {
        let routes = decision.routes.iter().filter(|route| route.host == *host);
        let proofs = routes.map(|route| proof(&route.via, classes));
        let proof = proofs.max_by_key(|proof| proof.over)?;
        let probed = Probed {
            host,
            namespace: &certificate.secret.namespace,
            status: &status_addresses(certificate, host),
        };
        let probed = prober.probe(probed, proof).await;
        probed.err().map(|failure| (host, failure))
    });
    let failures: Vec<_> = futures::future::join_all(probes).await.into_iter().flatten().collect();
    if failures.is_empty() {
        return Ok(());
    }
    let hint = |(host, failure): &(&DnsName, ProbeFailure)| {
        let mut contributions = certificate.contributions.iter();
        let wanted_by = contributions.find(|contribution| contribution.hosts.contains(*host));
        let likely = || {
            let source = &wanted_by?.source;
            let otherwise = || hairpin(source, host, failure.unconnected()?);
            diagnosis(source, host, classes, &failure.reached()?).or_else(otherwise)
        };
        let route = decision.routes.iter().find(|route| route.host == **host);
        let object = ChallengeObject {
            of_gateway: route.is_some_and(|route| route.via.listener().is_some()),
            name: route
                .and_then(|route| presented.object_of(route))
                .unwrap_or(CHALLENGE_NAME),
        };
        likely().or_else(|| failure.hint(object))
    };
    let dead = failures.iter().map(|(host, _)| (*host).clone()).collect();
    let forbidden = failures
        .iter()
        .any(|(_, failure)| matches!(failure, ProbeFailure::Forbidden { .. }));
    let failure = Failure {
        message: match forbidden {
            true => "no order was made, because the CA would refuse it".into(),
            false => "no order was made, because the CA would not get an answer".into(),
        },
        causes: failures.iter().map(|(_, failure)| failure.to_string()).collect(),
        hint: failures.iter().find_map(hint),
        slows_down: false,
        unanswered: true,
        refused: None,
    };
    Err((failure, dead))
}

fn status_addresses(certificate: &Certificate, host: &DnsName) -> Vec<String> {
    let serving = certificate
        .contributions
        .iter()
        .filter(|contribution| contribution.hosts.contains(host));
    serving
        .flat_map(|contribution| contribution.source.addresses().iter().map(ToString::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{ingress, observed};
    use crate::decide::observed::Read;
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
        let names = |group: &Vec<&Decision>| group.iter().map(|it| it.certificate.secret.name.to_string()).collect();
        let groups: Vec<Vec<String>> = groups.iter().map(names).collect();
        assert_eq!(groups, [vec!["3-tls"], vec!["1-tls", "2-tls"]]);
    }
}
