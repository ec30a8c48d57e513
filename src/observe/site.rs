//! What is looked at: the cluster, what its CronJob says, and the CA.

use std::path::Path;

use k8s_openapi::api::batch::v1::CronJob;

use crate::adapters::acme::{AcmeError, Authority, AuthoritySettings};
use crate::adapters::cluster::{Cluster, ConnectSettings, in_cluster_namespace};
use crate::cli::{Cli, Inherited, LEAVE_IT, Reach, Settings};
use crate::decide::cronjob::{CRONJOB, Installation, Kept, keepers_of_variables};
use crate::decide::directory::ACCOUNT_SECRET;
use crate::observe::suggestions::Suggestions;
use crate::problem::{self, Wrong};

/// The home namespace where nothing says another.
const DEFAULT_HOME: &str = "kube-lego";

/// What is looked at: a cluster, and the CA whose suggestions count.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// The home namespace.
    pub home: String,
    /// The CA, as far as it is named. That it cannot be reached matters only where something is due.
    pub authority: Option<Result<Authority, AcmeError>>,
    /// What the CA suggested so far.
    pub(super) suggestions: Suggestions,
    /// Why no CronJob's options are among the settings, where it was asked for them.
    pub no_cronjob: Option<Wrong>,
}

impl Site {
    /// Finds the cluster as kubectl would, lets its CronJob say what was not typed, and asks the CA for its directory.
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
        if settings.follow_the_cronjob {
            match cluster.read_cronjob(&home).await {
                Ok(Some(cronjob)) => settings = follow(cli, &cluster, &home, &cronjob).await?,
                Ok(None) => {
                    no_cronjob = Some(Wrong {
                        what: format!("there is no CronJob `{home}/{CRONJOB}` to follow"),
                        hint: None,
                    });
                }
                // Who may do less than look at it can still say all of it.
                Err(error) if error.is_forbidden() => {
                    no_cronjob = Some(Wrong {
                        what: error.to_string(),
                        hint: error.hint(),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Who says all of it does not miss one that is not there; one that could not be read may say more.
        if let Some(why) = no_cronjob
            .as_ref()
            .filter(|why| why.hint.is_some() || settings.authority.is_none())
        {
            log::warn!("{}; so its options are not among those of this run", why.what);
        }
        let authority = match &settings.authority {
            Some(authority) => Some(reach(authority, &home).await),
            None => None,
        };
        let site = Self {
            cluster,
            home,
            authority,
            suggestions: Suggestions::default(),
            no_cronjob,
        };
        Ok((site, settings))
    }

    /// Where nothing is ordered, a CA that cannot be reached is no more than worth knowing.
    pub fn warn_of_authority(&self) {
        if let Some(Err(error)) = &self.authority {
            log::warn!("the CA was not asked for renewal information: {error}");
        }
    }
}

/// The settings of a run that does what the CronJob's would, but for what was typed. It does all of it or nothing.
async fn follow(cli: &Cli, cluster: &Cluster, home: &str, cronjob: &CronJob) -> anyhow::Result<Settings> {
    let name = format!("{home}/{CRONJOB}");
    let followed = async {
        let mut kept = Kept::new();
        for (keeper, optional) in keepers_of_variables(cronjob) {
            match cluster.read_kept(home, &keeper).await {
                Ok(data) => drop(kept.insert(keeper, data)),
                Err(error) if optional && error.is_not_found() => {}
                Err(error) if error.is_not_found() => {
                    let hint = "no Pod of its starts without it: create it, or correct the CronJob";
                    return Err(Wrong::new(error.to_string(), hint).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let installation = Installation::of(cronjob, &kept).map_err(|why| Wrong::new(why, "correct the CronJob"))?;
        let mut inherited = cli.inherit(&installation)?;
        for (flag, path) in std::mem::take(&mut inherited.paths) {
            let content = file(cluster, home, &installation, &flag, &path).await?;
            inherited.files.insert(path, content);
        }
        let settings = cli.settings_with(&inherited)?;
        if cronjob.spec.suspend == Some(true) {
            log::warn!("CronJob `{name}` is suspended; this run does what the CronJob would do");
        }
        log::info!("from CronJob `{name}`: {}", taken(&inherited, &settings));
        Ok(settings)
    };
    let followed: anyhow::Result<Settings> = followed.await;
    followed.map_err(|error| {
        let hint = problem::hint(&error).unwrap_or_else(|| "the same flag here overrides it".into());
        let left = if hint.contains(LEAVE_IT) {
            String::new()
        } else {
            format!("; {LEAVE_IT}")
        };
        Wrong::new(
            format!("follow CronJob `{name}`: {}", problem::one_line(&error)),
            format!("{hint}{left}"),
        )
        .into()
    })
}

/// What is in a file of the CronJob's Pod. It is never one of this machine, which may have another of that name.
async fn file(
    cluster: &Cluster,
    home: &str,
    installation: &Installation,
    flag: &str,
    path: &Path,
) -> anyhow::Result<Vec<u8>> {
    let mut absent = Vec::new();
    for (keeper, key) in installation.file(path) {
        match cluster.read_kept(home, &keeper).await {
            Ok(mut data) => match data.remove(&key) {
                Some(content) => return Ok(content),
                None => absent.push(format!("{keeper} has no key `{key}`")),
            },
            Err(error) if error.is_not_found() => absent.push(format!("there is no {keeper}")),
            Err(error) => return Err(error.into()),
        }
    }
    let why = match absent.as_slice() {
        [] => "which its Pods have from no ConfigMap or Secret".to_owned(),
        absent => format!("and {}", absent.join(", ")),
    };
    Err(Wrong::new(
        format!("`{flag}` names `{}`, {why}", path.display()),
        format!("`{flag}` here names a copy on this machine"),
    )
    .into())
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
