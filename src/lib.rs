//! TLS certificates for Kubernetes Ingresses, by a program that does its work and exits.
//!
//! One invocation reads every annotated Ingress, decides which TLS Secrets need a certificate, obtains those from an ACME
//! authority (RFC 8555) by HTTP-01 through the cluster's own ingress controller, stores them, cleans up after itself,
//! reports, and stops. [`run`] reads like that sentence.
//!
//! # Code map
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | arguments become settings once |
//! | [`decide`] | pure: values in, values out; [`decide::plan`] is the only place that decides (I1) |
//! | [`adapters`] | the outside: the cluster, the authority, the responder, the probe; none uses another |
//! | [`apply`], [`order`] | where decisions meet the outside: the batch, and one certificate of it |
//!
//! # Invariants
//!
//! - **I1** [`decide::plan::plan`] alone decides; dry runs, real runs and tests feed it the same [`decide::observed::Observed`].
//! - **I2** A read that failed is *unknown*, never *missing*: unknown is refused.
//! - **I3** [`apply::apply`] takes the lock guard as an argument; the guard is asked again before each finalize and store.
//! - **I4** A run with nothing to do writes nothing to the API server, and asks the authority for nothing but its directory
//!   and renewal information.
//! - **I5** A private key never leaves the one Secret it was made for.
//! - **I6** A host belongs to the namespace of its oldest Ingress.
//! - **I7** No finalize before key and order URL are in the ledger.
//!
//! `tests/it/tidy.rs` holds the rooms to their rules.

pub mod cli;
pub mod decide;

pub mod adapters;

pub mod apply;
pub mod order;
pub mod world;

use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use jiff::Timestamp;

use adapters::acme::{AcmeError, Authority, AuthoritySettings};
use adapters::cluster::{
    Cluster, ClusterError, ConnectError, ConnectSettings, LeaseError, LeaseWait, PresentError, Scope,
    in_cluster_namespace,
};
use cli::{Action, Settings};
use decide::directory::ACCOUNT_SECRET;
use decide::name::RunId;
use decide::observed::{Observed, Read};
use decide::plan::{Plan, plan, secrets_wanted};
use decide::report::Report;
use world::{Stop, World};

/// The home namespace where nothing says another.
const DEFAULT_HOME: &str = "kube-lego";
/// How long another run may hold the Lease until this one gives up.
const LEASE_WAIT: Duration = Duration::from_secs(600);

/// One run: observe, plan, lock, apply, report.
///
/// # Errors
/// Where the run as a whole could not happen; one certificate's failure is in the report instead.
pub async fn run(settings: &Settings, stop: Stop) -> anyhow::Result<Report> {
    let directory = settings.policy.directory.as_ref().map(|directory| directory.url());
    let cluster = Cluster::connect(&ConnectSettings {
        kubeconfig: settings.kubeconfig.clone(),
        context: settings.context.clone(),
    })
    .await?;
    let home = home_namespace(settings);

    let plan = look(&cluster, &home, settings).await?;
    if settings.action == Action::DryRun || plan.is_idle() {
        return Ok(Report::of_plan(&plan, directory));
    }
    let world = World {
        authority: reach_authority(&plan, &home, settings).await?,
        directory: settings.policy.directory.clone(),
        profile: settings
            .authority
            .as_ref()
            .and_then(|authority| authority.profile.clone()),
        run: new_run_id()?,
        challenge: settings.challenge.clone(),
        cluster,
        home,
        stop,
    };

    let wait = LeaseWait { limit: LEASE_WAIT };
    let held = world
        .cluster
        .acquire(&world.home, &world.run, wait, world.stop.requested())
        .await?;
    // What was true before the Lease may not be true under it: the same two functions look again, and this plan is applied.
    let applied = async {
        let plan = look(&world.cluster, &world.home, settings).await?;
        let outcomes = apply::apply(&plan, &held, &world).await?;
        Ok(Report::of_run(&plan, &outcomes, directory))
    };
    let applied = std::panic::AssertUnwindSafe(applied).catch_unwind().await;
    if let Err(error) = held.release().await {
        log::warn!("give back the Lease; it expires by itself: {error}");
    }
    applied.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Observes and plans.
async fn look(cluster: &Cluster, home: &str, settings: &Settings) -> anyhow::Result<Plan> {
    let observed = observe(cluster, home, settings).await?;
    let plan = plan(&observed, &settings.policy);
    Ok(if settings.action == Action::Clean {
        plan.only_sweep()
    } else {
        plan
    })
}

/// Reads what the plan is made from. What the plan can do without becomes a note; what it cannot is an error.
async fn observe(cluster: &Cluster, home: &str, settings: &Settings) -> anyhow::Result<Observed> {
    let mut observed = Observed::at(Timestamp::now());
    observed.leftovers = cluster.list_leftovers(home).await?;
    observed.lease_holder = match cluster.lease_holder(home).await {
        Read::Found(holder) => holder,
        Read::Absent => None,
        Read::Unknown(why) => anyhow::bail!("read the Lease in namespace `{home}`: {why}"),
    };
    if settings.action == Action::Clean {
        return Ok(observed);
    }
    let (ingresses, classes, terminating, ledger) = futures::join!(
        cluster.list_ingresses(&Scope::AllNamespaces),
        cluster.list_classes(),
        cluster.list_terminating_namespaces(),
        cluster.read_ledger(home),
    );
    observed.ingresses = ingresses?;
    observed.classes = classes.map_or_else(|error| Read::Unknown(error.to_string()), Read::Found);
    match terminating {
        Ok(namespaces) => observed.terminating_namespaces = namespaces,
        Err(error) => observed
            .notes
            .push(format!("whether a namespace is being deleted is not known: {error}")),
    }
    match ledger {
        Read::Found(ledger) => observed.ledger = ledger,
        Read::Absent => {}
        Read::Unknown(why) => observed.notes.push(format!("the ledger could not be read: {why}")),
    }
    let wanted = secrets_wanted(&observed, &settings.policy);
    observed.secrets = cluster.read_secrets(wanted).await;
    Ok(observed)
}

/// Asks the directory before anything is locked or written: an authority that is not there ends the run with nothing changed.
async fn reach_authority(plan: &Plan, home: &str, settings: &Settings) -> anyhow::Result<Option<Authority>> {
    if plan.issue.is_empty() {
        return Ok(None);
    }
    let authority = settings.authority.as_ref().ok_or({
        Unset(
            "to obtain certificates, name an ACME directory",
            "add `--directory letsencrypt-staging`, or an https URL",
        )
    })?;
    if settings.challenge.advertise_address.is_none() {
        return Err(Unset(
            "the cluster cannot reach the challenge listener, because no address of this machine is known",
            "add `--advertise-address` with an address that Pods can connect to",
        )
        .into());
    }
    let account_entry = format!(
        "`{}` from Secret `{home}/{ACCOUNT_SECRET}`",
        authority.directory.account_key()
    );
    let authority = Authority::reach(AuthoritySettings {
        account_entry,
        ..authority.clone()
    })
    .await?;
    authority.check_profile()?;
    Ok(Some(authority))
}

fn home_namespace(settings: &Settings) -> String {
    settings
        .home_namespace
        .clone()
        .or_else(in_cluster_namespace)
        .unwrap_or_else(|| DEFAULT_HOME.to_owned())
}

fn new_run_id() -> anyhow::Result<RunId> {
    let random: [u8; 5] = ring::rand::generate(&ring::rand::SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("make an id for this run: the system gives no random bytes"))?
        .expose();
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse()
        .map_err(|error| anyhow::anyhow!("make an id for this run: {error}"))
        .context("start the run")
}

/// A setting that a run cannot do without: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unset(&'static str, &'static str);

/// An error and its causes on one line.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Errors that render their own cause would say it twice.
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

/// What a person can do about an error.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        cause
            .downcast_ref::<Unset>()
            .map(|unset| unset.1.to_owned())
            .or_else(|| cause.downcast_ref::<ConnectError>().and_then(ConnectError::hint))
            .or_else(|| cause.downcast_ref::<ClusterError>().and_then(ClusterError::hint))
            .or_else(|| cause.downcast_ref::<LeaseError>().and_then(LeaseError::hint))
            .or_else(|| cause.downcast_ref::<PresentError>().and_then(PresentError::hint))
            .or_else(|| cause.downcast_ref::<AcmeError>().and_then(AcmeError::hint))
    })
}
