//! What a run works with.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::adapters::acme::Account;
use crate::adapters::cluster::{Held, LeaseWait, in_cluster_namespace};
use crate::apply::chain::ChainChoice;
use crate::apply::key::KeyMaker;
use crate::apply::ledger::LedgerWrites;
use crate::apply::stop::Stop;
use crate::cli::{ChallengeSettings, Reach, Settings};
use crate::decide::digest::hex;
use crate::decide::directory::Directory;
use crate::decide::inspection::Marker;
use crate::decide::key_type::KeyType;
use crate::decide::name::RunId;
use crate::decide::route::Home;
use crate::observe::site::Site;
use crate::problem::Wrong;

/// How long another run may hold the Lease until this one gives up.
const LEASE_WAIT: Duration = Duration::from_secs(600);
/// What a run works with.
pub struct Context {
    /// Where it works.
    pub site: Site,
    /// The ledger.
    pub ledger: LedgerWrites,
    /// The run.
    pub run: RunId,
    /// Whether to stop.
    pub stop: Stop,
    /// How challenges are answered.
    pub challenge: ChallengeSettings,
    /// The directory of the CA.
    pub directory: Option<Directory>,
    /// The profile of every order.
    pub profile: Option<String>,
    /// The type of a new key, unless an Ingress asks for another.
    pub key_type: KeyType,
    /// Which chain is stored.
    pub chains: ChainChoice,
    /// Makes the keys.
    pub keys: KeyMaker,
}

impl Context {
    /// A context for one run.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(site: Site, settings: &Settings, stop: Stop) -> anyhow::Result<Self> {
        let authority = settings.authority.as_ref();
        let preferred_chain = authority.and_then(|authority| authority.preferred_chain.clone());
        Ok(Self {
            ledger: LedgerWrites::new(site.cluster.clone(), site.home.clone()),
            site,
            run: new_run_id()?,
            stop,
            challenge: settings.challenge.clone(),
            directory: settings.policy.directory.clone(),
            profile: settings.policy.profile.clone(),
            key_type: settings.policy.key_type,
            chains: ChainChoice::new(preferred_chain),
            keys: KeyMaker::new(),
        })
    }

    /// Checks that something can be ordered at all: asked before anything is locked or written, and again under the Lease,
    /// where the plan may be another.
    ///
    /// # Errors
    /// Where there is no CA, or no address for its questions.
    pub fn can_order(&self) -> Result<(), Wrong> {
        match &self.site.authority {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                return Err(Wrong {
                    what: error.to_string(),
                    hint: error.hint(),
                });
            }
            None => {
                let way = match &self.challenge.reach {
                    Reach::Solver(template) if template.image().is_none() => {
                        ", and `--image` or `--advertise-address`, so that challenges can be answered"
                    }
                    _ => "",
                };
                let add =
                    format!("add `--directory letsencrypt-staging`, or an https URL{way}; `--dry-run` needs none");
                let right = self.site.no_cronjob.as_ref().and_then(|why| why.hint.as_deref());
                return Err(Wrong::new(
                    self.for_want_of_a_cronjob("certificates are due, but no ACME directory is given"),
                    match right {
                        Some(right) => format!("{right}; or {add}"),
                        None => add,
                    },
                ));
            }
        }
        let hint = "`--advertise-address` names an address of this machine that Pods can connect to";
        match &self.challenge.reach {
            Reach::Solver(template) if template.image().is_none() => Err(Wrong::new(
                self.for_want_of_a_cronjob("certificates are due, but it is not known how challenges can be answered"),
                format!("`--image` names an image of kube-lego-once for a Pod that answers them; {hint}"),
            )),
            Reach::Unknown => Err(Wrong::new(
                "certificates are due, and the cluster cannot reach the challenge listener, because no address of this machine is known",
                hint,
            )),
            Reach::Address(address) if !can_be_an_endpoint(*address) => Err(Wrong::new(
                format!("no EndpointSlice takes the address `{address}`, and no Pod could reach it"),
                hint,
            )),
            Reach::Job { .. } => match in_cluster_namespace().filter(|own| *own != self.site.home) {
                // No Service selects a Pod of another namespace, and what it owned there would be collected as garbage.
                Some(own) => Err(Wrong::new(
                    format!(
                        "the home namespace is `{}`, and the run's Pod is in `{own}`: nothing would lead to it",
                        self.site.home
                    ),
                    "leave out `--home-namespace`, or move the CronJob",
                )),
                None => Ok(()),
            },
            Reach::Address(_) | Reach::Solver(_) => Ok(()),
        }
    }

    fn for_want_of_a_cronjob(&self, what: &str) -> String {
        match &self.site.no_cronjob {
            Some(why) => format!("{what}: {}", why.what),
            None => what.to_owned(),
        }
    }

    /// Does something while holding the Lease, and gives it back, whatever happens meanwhile.
    ///
    /// # Errors
    /// Where the Lease could not be had, and those of the work.
    pub async fn under_lease<T>(&self, work: impl AsyncFnOnce(&Held) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let wait = LeaseWait { limit: LEASE_WAIT };
        let held = self
            .site
            .cluster
            .acquire(&self.site.home, &self.run, wait, self.stop.requested())
            .await?;
        let done = AssertUnwindSafe(work(&held)).catch_unwind().await;
        if let Err(error) = held.release().await {
            log::warn!("give back the Lease; it expires by itself: {error}");
        }
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The sign on a Secret that this run wrote it.
    pub fn marker(&self, account: &Account) -> Marker {
        let directory = self.directory.as_ref().map(Directory::url).unwrap_or_default();
        Marker {
            directory: directory.to_owned(),
            account: account.url().to_owned(),
        }
    }

    /// Where the run's objects go, and whose they are: the Pod's, so that they go with it at the latest.
    pub fn home(&self) -> Home {
        Home {
            namespace: self.site.home.clone(),
            run: self.run.clone(),
            owner: self.challenge.owner.clone().map(|(name, uid)| pod(name, uid)),
        }
    }
}

/// A Pod as the owner of objects.
pub fn pod(name: String, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name,
        uid,
        ..OwnerReference::default()
    }
}

/// The addresses that the API server refuses as endpoints (k8s.io/kubernetes, `ValidateEndpointIP`).
fn can_be_an_endpoint(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

fn new_run_id() -> anyhow::Result<RunId> {
    let random: [u8; 5] = ring::rand::generate(&ring::rand::SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("make an id for this run: the system gives no random bytes"))?
        .expose();
    hex(&random)
        .parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("make an id for this run")
}
