//! What is looked at: the cluster, what its CronJob says, and the authority.

use crate::adapters::acme::{AcmeError, Authority, AuthoritySettings};
use crate::adapters::cluster::{Cluster, ClusterError, ConnectSettings, in_cluster_namespace};
use crate::cli::{Cli, Inherited, Reach, Settings};
use crate::decide::directory::ACCOUNT_SECRET;
use crate::decide::installation::{CRONJOB, Installation};
use crate::problem::{self, Wrong};

/// The home namespace where nothing says another.
const DEFAULT_HOME: &str = "kube-lego";

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
