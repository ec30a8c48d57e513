//! What a run works with, and how it learns that it is to stop.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::watch;

use crate::adapters::acme::{Account, AcmeError, Authority, AuthoritySettings};
use crate::adapters::cluster::{Cluster, ConnectSettings, Held, LeaseWait, in_cluster_namespace};
use crate::cli::{ChallengeSettings, Reach, Settings};
use crate::decide::directory::{ACCOUNT_SECRET, Directory};
use crate::decide::inspection::Marker;
use crate::decide::name::RunId;
use crate::decide::route::{Backend, Home};
use crate::problem::Wrong;

/// The home namespace where nothing says another.
const DEFAULT_HOME: &str = "kube-lego";
/// How long another run may hold the Lease until this one gives up.
const LEASE_WAIT: Duration = Duration::from_secs(600);
/// What a stopped run may still take for what it has begun: a certificate between finalize and store.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Says that the run is to stop.
pub struct Stopper(watch::Sender<bool>);

/// Knows whether the run is to stop.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The two ends.
    pub fn pair() -> (Stopper, Self) {
        let (sender, receiver) = watch::channel(false);
        (Stopper(sender), Self(receiver))
    }

    /// Whether the run is to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the run is to stop.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // Without a sender nobody can ask any more.
        if receiver.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when what has begun must end too.
    pub async fn requested_and_grace_over(&self) {
        self.requested().await;
        tokio::time::sleep(STOP_GRACE).await;
    }
}

impl Stopper {
    /// Asks the run to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// What is looked at: a cluster, and the authority whose suggestions count.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// The home namespace.
    pub home: String,
    /// The authority, as far as it is named. That it cannot be reached matters only where something is due.
    pub authority: Option<Result<Authority, AcmeError>>,
}

impl Site {
    /// Finds the cluster as kubectl would, and asks the authority for its directory.
    ///
    /// # Errors
    /// Where there is no cluster, or not the one that was named.
    pub async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let connect = ConnectSettings {
            kubeconfig: settings.kubeconfig.clone(),
            context: settings.context.clone(),
        };
        let cluster = Cluster::connect(&connect).await?;
        let home = settings
            .home_namespace
            .clone()
            .or_else(in_cluster_namespace)
            .unwrap_or_else(|| DEFAULT_HOME.to_owned());
        let authority = match &settings.authority {
            Some(authority) => Some(reach(authority, &home).await),
            None => None,
        };
        Ok(Self {
            cluster,
            home,
            authority,
        })
    }

    /// Where nothing is ordered, an authority that cannot be reached is no more than worth knowing.
    pub fn warn_of_authority(&self) {
        if let Some(Err(error)) = &self.authority {
            log::warn!("the authority was not asked for renewal information: {error}");
        }
    }
}

async fn reach(settings: &AuthoritySettings, home: &str) -> Result<Authority, AcmeError> {
    let account_entry = format!(
        "`{}` from Secret `{home}/{ACCOUNT_SECRET}`",
        settings.directory.account_key()
    );
    let authority = Authority::reach(AuthoritySettings {
        account_entry,
        ..settings.clone()
    })
    .await?;
    authority.check_profile()?;
    Ok(authority)
}

/// What a run works with.
pub struct World {
    /// Where it works.
    pub site: Site,
    /// The run.
    pub run: RunId,
    /// Whether to stop.
    pub stop: Stop,
    /// How challenges are answered.
    pub challenge: ChallengeSettings,
    /// The directory of the authority.
    pub directory: Option<Directory>,
    /// The profile of every order.
    pub profile: Option<String>,
}

impl World {
    /// A world for one run.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(site: Site, settings: &Settings, stop: Stop) -> anyhow::Result<Self> {
        Ok(Self {
            site,
            run: new_run_id()?,
            stop,
            challenge: settings.challenge.clone(),
            directory: settings.policy.directory.clone(),
            profile: settings
                .authority
                .as_ref()
                .and_then(|authority| authority.profile.clone()),
        })
    }

    /// Checks that something can be ordered at all: asked before anything is locked or written, and again under the Lease,
    /// where the plan may be another.
    ///
    /// # Errors
    /// Where there is no authority, or no address for its questions.
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
                return Err(Wrong::new(
                    "certificates are due, and no ACME directory is named",
                    "add `--directory letsencrypt-staging`, or an https URL; `--dry-run` needs none",
                ));
            }
        }
        let hint = "`--advertise-address` names an address of this machine that Pods can connect to";
        match self.challenge.reach {
            Reach::Unknown => Err(Wrong::new(
                "certificates are due, and the cluster cannot reach the challenge listener, because no address of this machine is known",
                hint,
            )),
            Reach::Address(address) if !can_be_an_endpoint(address) => Err(Wrong::new(
                format!("no EndpointSlice takes the address `{address}`, and no Pod could reach it"),
                hint,
            )),
            Reach::Address(_) | Reach::Job { .. } => Ok(()),
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
        let owner = self.challenge.owner.clone().map(|(name, uid)| OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name,
            uid,
            ..OwnerReference::default()
        });
        Home {
            namespace: self.site.home.clone(),
            run: self.run.clone(),
            owner,
        }
    }

    /// How the cluster reaches a listener on this port; nothing where no setting says.
    pub fn backend(&self, port: u16) -> Option<Backend> {
        match &self.challenge.reach {
            Reach::Address(address) => Some(Backend::Address(*address, port)),
            Reach::Job { controller_uid } => Some(Backend::Job {
                controller_uid: controller_uid.clone(),
                port,
            }),
            Reach::Unknown => None,
        }
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
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("make an id for this run")
}
