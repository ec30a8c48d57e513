//! What a run works with, and how it learns that it is to stop.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::watch;

use crate::adapters::acme::{Account, AcmeError, Authority, AuthoritySettings};
use crate::adapters::cluster::{Cluster, ClusterError, ConnectSettings, Held, LeaseWait, in_cluster_namespace};
use crate::adapters::responder::Responder;
use crate::cli::{ChallengeSettings, Cli, Inherited, Reach, Settings};
use crate::decide::directory::{ACCOUNT_SECRET, Directory};
use crate::decide::inspection::Marker;
use crate::decide::installation::{CRONJOB, Installation};
use crate::decide::name::{RUN_LABEL, RunId};
use crate::decide::route::{Backend, Home, JOB_LABEL};
use crate::decide::solver::{SOLVER_PORT, Template, solver_pod};
use crate::problem::{self, Wrong};

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
    /// Why no CronJob's options are among the settings, where it was asked for them.
    pub no_cronjob: Option<String>,
}

impl Site {
    /// Finds the cluster as kubectl would, lets its CronJob say what was not typed, and asks the authority for its directory.
    ///
    /// # Errors
    /// Where there is no cluster, or not the one that was named, or the CronJob's options are of no use here.
    pub async fn open(cli: &Cli, mut settings: Settings) -> anyhow::Result<(Self, Settings)> {
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
        let mut no_cronjob = None;
        if settings.follow_the_cronjob() {
            match cluster.read_installation(&home).await {
                Ok(Some(installation)) => settings = follow(cli, &cluster, &home, &installation).await?,
                Ok(None) => no_cronjob = Some(format!("there is no CronJob `{home}/{CRONJOB}` to follow")),
                // Who may do less than look at it can still say all of it.
                Err(error) if error.is_forbidden() => no_cronjob = Some(unread(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        let authority = match &settings.authority {
            Some(authority) => Some(reach(authority, &home).await),
            None => None,
        };
        let site = Self {
            cluster,
            home,
            authority,
            no_cronjob,
        };
        Ok((site, settings))
    }

    /// Where nothing is ordered, an authority that cannot be reached is no more than worth knowing.
    pub fn warn_of_authority(&self) {
        if let Some(Err(error)) = &self.authority {
            log::warn!("the authority was not asked for renewal information: {error}");
        }
    }
}

fn unread(error: &ClusterError) -> String {
    let why = error.to_string();
    log::warn!("{why}; so its options are not among those of this run");
    why
}

/// The settings of a run that does what the CronJob's would, but for what was typed.
async fn follow(cli: &Cli, cluster: &Cluster, home: &str, installation: &Installation) -> anyhow::Result<Settings> {
    let cronjob = &installation.name;
    let mut inherited = cli.inherit(installation)?;
    let mut missing = None;
    for path in std::mem::take(&mut inherited.paths) {
        match cluster.read_file_of(home, installation, &path).await? {
            Some(content) => drop(inherited.files.insert(path, content)),
            None => missing = Some(path),
        }
    }
    let settings = cli.settings_with(&inherited).map_err(|error| Wrong {
        what: format!("follow CronJob `{cronjob}`: {}", problem::one_line(&error)),
        hint: match missing {
            Some(path) => Some(format!(
                "`{}` is a file of its Pod, in no ConfigMap or Secret: name a copy of this machine by the same flag",
                path.display()
            )),
            None => problem::hint(&error).or_else(|| Some("the same flag here overrides it".into())),
        },
    })?;
    for note in &inherited.notes {
        log::warn!("{note}");
    }
    log::info!("from CronJob `{cronjob}`: {}", taken(&inherited, &settings));
    Ok(settings)
}

fn taken(inherited: &Inherited, settings: &Settings) -> String {
    let mut taken: Vec<String> = inherited.flags.iter().map(|flag| format!("`{flag}`")).collect();
    if let Reach::Solver(template) = &settings.challenge.reach
        && let Some(image) = template.image()
        && inherited.template.image() == Some(image)
    {
        taken.push(format!("image `{image}`"));
    }
    match taken.as_slice() {
        [] => "nothing".to_owned(),
        taken => taken.join(", "),
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
                let way = match &self.challenge.reach {
                    Reach::Solver(template) if template.image().is_none() => {
                        ", and `--image` or `--advertise-address`, so that challenges can be answered"
                    }
                    _ => "",
                };
                return Err(Wrong::new(
                    self.for_want_of_a_cronjob("certificates are due, and no ACME directory is named"),
                    format!("add `--directory letsencrypt-staging`, or an https URL{way}; `--dry-run` needs none"),
                ));
            }
        }
        let hint = "`--advertise-address` names an address of this machine that Pods can connect to";
        match &self.challenge.reach {
            Reach::Solver(template) if template.image().is_none() => Err(Wrong::new(
                self.for_want_of_a_cronjob("certificates are due, and nothing says how challenges can be answered"),
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
            Reach::Address(_) | Reach::Job { .. } | Reach::Solver(_) => Ok(()),
        }
    }

    fn for_want_of_a_cronjob(&self, what: &str) -> String {
        match &self.site.no_cronjob {
            Some(why) => format!("{what}: {why}"),
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

    /// Starts answering for this account, here or in a Pod.
    ///
    /// It may be dropped at any time: what it made goes with the other objects of the run.
    ///
    /// # Errors
    /// Where nobody answers then.
    pub async fn answer(&self, account: &Account) -> anyhow::Result<Answering> {
        let home = self.home();
        let listen = self.challenge.listen;
        let here = || Responder::start(listen, account.thumbprint(), &self.run);
        let at = |responder: Responder, backend: Backend| Answering {
            home: home.clone(),
            backend,
            responder: Some(responder),
        };
        match &self.challenge.reach {
            Reach::Address(address) => {
                let responder = here()?;
                let backend = Backend::Address(*address, responder.port());
                Ok(at(responder, backend))
            }
            Reach::Job { controller_uid } => {
                let responder = here()?;
                let label = (JOB_LABEL, controller_uid.clone());
                let port = responder.port();
                Ok(at(responder, Backend::Pod { label, port }))
            }
            Reach::Solver(template) => self.answer_from_a_pod(template, account, home).await,
            Reach::Unknown => anyhow::bail!("nothing says how challenges can be answered"),
        }
    }

    async fn answer_from_a_pod(&self, template: &Template, account: &Account, home: Home) -> anyhow::Result<Answering> {
        // A port of the system's choice would have to be asked for.
        let port = Some(self.challenge.listen.port())
            .filter(|port| *port != 0)
            .unwrap_or(SOLVER_PORT);
        let listen = SocketAddr::new(self.challenge.listen.ip(), port).to_string();
        let solver = solver_pod(&home, template, account.thumbprint(), &listen);
        let uid = self.site.cluster.start_solver(&home, &solver).await?;
        let name = solver.metadata.name.unwrap_or_default();
        log::info!("Pod `{}/{name}` answers the challenges", home.namespace);
        Ok(Answering {
            backend: Backend::Pod {
                label: (RUN_LABEL, home.run.to_string()),
                port,
            },
            home: Home {
                owner: Some(pod(name, uid)),
                ..home
            },
            responder: None,
        })
    }
}

/// Somebody who answers challenges, and how the cluster gets there.
pub struct Answering {
    /// Whose the objects are that lead there.
    pub home: Home,
    /// Where they lead.
    pub backend: Backend,
    /// It answers as long as this is kept, where it is not a Pod.
    pub responder: Option<Responder>,
}

fn pod(name: String, uid: String) -> OwnerReference {
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
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("make an id for this run")
}
