//! What the arguments come to.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_complete::Shell;
use jiff::Timestamp;

use crate::adapters::acme::{AuthoritySettings, CaBundle, ExternalAccount, Proxy};
use crate::adapters::probe::ProbeMode;
use crate::adapters::pushgateway::Pushgateway;
use crate::decide::directory::{Directory, Trust};
use crate::decide::name::RunId;
use crate::decide::policy::{Policy, SharedHosts};
use crate::decide::selection::{ObjectName, Selection};
use crate::decide::solver_pod::Template;
use crate::report::text::Style;

use super::arguments::{
    AuthorityArgs, ChallengeArgs, ClusterArgs, DecisionArgs, ExplainArgs, Format, RunArgs, SelectionArgs, Solver,
    SourceArgs,
};
use super::inherited::Inherited;

/// What is to happen, decided once.
#[derive(Debug)]
pub struct Settings {
    /// What to do.
    pub action: Action,
    /// Where the objects come from.
    pub source: Source,
    /// The time at which to look, where that is not now.
    pub at: Option<Timestamp>,
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--home-namespace`.
    pub home_namespace: Option<String>,
    /// Whether what the arguments do not say is for the CronJob to say: everywhere but in its own Pods.
    pub follow_the_cronjob: bool,
    /// The CA; a dry run can do without.
    pub authority: Option<AuthoritySettings>,
    /// Where the metrics of a run go.
    pub pushgateway: Option<Pushgateway>,
    /// What the plan is made by.
    pub policy: Policy,
    /// How challenges are answered.
    pub challenge: ChallengeSettings,
    /// How text looks.
    pub style: Style,
}

impl Settings {
    /// The directory's URL, where one is named.
    pub fn directory_url(&self) -> Option<&str> {
        self.policy.directory.as_ref().map(Directory::url)
    }
}

/// What the program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Plan and apply.
    Run {
        /// How to print the report.
        output: Format,
        /// After this time the run stops.
        timeout: std::time::Duration,
    },
    /// Plan and report.
    DryRun {
        /// How to print the report.
        output: Format,
        /// Whether the exit status says what was found.
        exit_code: bool,
    },
    /// Plan, and show each check's answer.
    Explain,
    /// Sweep and nothing else.
    Clean,
    /// Answer a run's challenges, and nothing else.
    Solve {
        /// Where to listen.
        listen: SocketAddr,
        /// The thumbprint of the account's key.
        thumbprint: String,
        /// The run.
        run: RunId,
    },
    /// Print a completion script.
    Completions(Shell),
}

/// Where the objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The cluster.
    Cluster,
    /// Manifests: the input is the whole world.
    Files {
        /// Files and folders; `-` is stdin.
        paths: Vec<PathBuf>,
        /// Whether to look into sub-folders.
        recursive: bool,
    },
}

/// Where challenges are answered, and how the cluster gets there.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// Here, at this address of this machine.
    Address(IpAddr),
    /// Here, in a Pod of a Job.
    Job {
        /// The Pod's label `batch.kubernetes.io/controller-uid`.
        controller_uid: String,
    },
    /// In a Pod that is started for the run.
    Solver(Box<Template>),
    /// Nothing says how.
    Unknown,
}

/// How challenges are answered, and how their routes are asked.
#[derive(Clone, Debug)]
pub struct ChallengeSettings {
    /// Where the responder listens.
    pub listen: SocketAddr,
    /// Where the cluster finds it.
    pub reach: Reach,
    /// The Pod that owns the challenge objects: its name and UID.
    pub owner: Option<(String, String)>,
    /// How a route is asked.
    pub probe: ProbeMode,
    /// The DNS server for that.
    pub resolver: Option<SocketAddr>,
    /// 80, unless a private CA uses another.
    pub http_port: u16,
    /// 443, unless a private CA uses another.
    pub https_port: u16,
    /// How long a route may take until it answers: a controller that reloads slowly needs some of it.
    pub probe_timeout: std::time::Duration,
    /// Whether a public probe may go to private addresses, where only a private CA can.
    pub private_addresses: bool,
}

impl RunArgs {
    pub(super) fn into_settings(self, inherited: &Inherited) -> anyhow::Result<Settings> {
        let source = self.source.files();
        if !self.dry_run && (self.source.at.is_some() || source != Source::Cluster) {
            anyhow::bail!("`--at` and `--filename` only show a plan: add `--dry-run`");
        }
        if self.force && self.selection.namespaces.len() != 1 {
            anyhow::bail!("`--force` needs exactly one `--namespace`, so that it renews what is meant and no more");
        }
        if self.retry_now && self.names.is_empty() && self.selection.namespaces.is_empty() {
            anyhow::bail!("`--retry-now` needs names or a `--namespace`, so that it tries what is meant and no more");
        }
        let directory = self.authority.directory.clone();
        let private = directory
            .as_ref()
            .is_some_and(|directory| directory.trust() == Trust::Private);
        let selection = self.selection.into_selection(self.names);
        if self.challenge.solver == Solver::Pod && self.challenge.advertise_address.is_some() {
            anyhow::bail!(
                "`--advertise-address` is for challenges that this process answers, `--solver pod` for a solver Pod: give only one of them"
            );
        }
        let profile = self.authority.profile.clone();
        Ok(Settings {
            follow_the_cronjob: !self.source.no_cronjob && self.challenge.pod_controller_uid.is_none(),
            action: match self.dry_run {
                true => Action::DryRun {
                    output: self.output,
                    exit_code: self.exit_code,
                },
                false => Action::Run {
                    output: self.output,
                    timeout: self.timeout.unsigned_abs(),
                },
            },
            source,
            at: self.source.at,
            kubeconfig: self.cluster.kubeconfig,
            context: self.cluster.context,
            home_namespace: self.cluster.home_namespace,
            authority: self.authority.into_settings(inherited)?,
            pushgateway: self.pushgateway,
            policy: Policy {
                force: self.force,
                retry_now: self.retry_now,
                profile,
                ..self.decision.into_policy(directory, selection)
            },
            challenge: self.challenge.into_settings(private, &inherited.template),
            style: style(),
        })
    }
}

impl ExplainArgs {
    pub(super) fn into_settings(self, inherited: &Inherited) -> anyhow::Result<Settings> {
        let directory = self.authority.directory.clone();
        let selection = Selection {
            namespaces: BTreeSet::from([self.namespace]),
            names: BTreeSet::from([self.name]),
            ..Selection::default()
        };
        let profile = self.authority.profile.clone();
        Ok(Settings {
            action: Action::Explain,
            follow_the_cronjob: !self.source.no_cronjob,
            source: self.source.files(),
            at: self.source.at,
            authority: self.authority.into_settings(inherited)?,
            policy: Policy {
                profile,
                ..self.decision.into_policy(directory, selection)
            },
            ..Settings::clean(self.cluster)
        })
    }
}

impl Settings {
    /// Settings for what needs none.
    pub(super) fn only(action: Action) -> Self {
        Self {
            action,
            ..Self::clean(ClusterArgs::default())
        }
    }

    /// Settings that answer no challenge and order nothing.
    pub(super) fn clean(cluster: ClusterArgs) -> Self {
        Self {
            action: Action::Clean,
            source: Source::Cluster,
            at: None,
            kubeconfig: cluster.kubeconfig,
            context: cluster.context,
            home_namespace: cluster.home_namespace,
            follow_the_cronjob: false,
            authority: None,
            pushgateway: None,
            policy: Policy::default(),
            challenge: ChallengeSettings::none(),
            style: style(),
        }
    }
}

impl SourceArgs {
    fn files(&self) -> Source {
        if self.filenames.is_empty() {
            return Source::Cluster;
        }
        Source::Files {
            paths: self.filenames.clone(),
            recursive: self.recursive,
        }
    }
}

impl SelectionArgs {
    fn into_selection(self, names: Vec<ObjectName>) -> Selection {
        Selection {
            namespaces: self.namespaces.into_iter().collect(),
            labels: self.selector,
            names: names.into_iter().collect(),
            classes: self.classes.into_iter().collect(),
        }
    }
}

impl DecisionArgs {
    fn into_policy(self, directory: Option<Directory>, selection: Selection) -> Policy {
        let hosts: BTreeSet<String> = self
            .allow_shared_hosts
            .into_iter()
            .filter(|host| !host.is_empty())
            .collect();
        Policy {
            directory,
            profile: None,
            annotation: self.annotation,
            minimum_validity: self.minimum_validity,
            shared_hosts: match hosts {
                hosts if hosts.is_empty() => SharedHosts::None,
                hosts if hosts.contains("*") => SharedHosts::All,
                hosts => SharedHosts::Listed(hosts),
            },
            adopt: self.adopt,
            single_label_hosts: self.allow_single_label_hosts,
            interval: self.interval,
            selection,
            max_orders: self.max_orders,
            key_type: self.key_type,
            force: false,
            retry_now: false,
        }
    }
}

impl AuthorityArgs {
    fn into_settings(self, inherited: &Inherited) -> anyhow::Result<Option<AuthoritySettings>> {
        let Some(directory) = self.directory else {
            return Ok(None);
        };
        let ca_bundle = self
            .ca_bundle
            .map(|path| {
                let name = path.display().to_string();
                let pem = read(&path, inherited).with_context(|| format!("read the CA bundle `{name}`"))?;
                anyhow::Ok(CaBundle { name, pem })
            })
            .transpose()?;
        Ok(Some(AuthoritySettings {
            directory,
            ca_bundle,
            proxy: proxy(),
            profile: self.profile,
            preferred_chain: self.preferred_chain,
            email: self.email,
            external_account: external_account(self.eab_key_id, self.eab_hmac_key_file, inherited)?,
            account_entry: String::new(),
        }))
    }
}

impl ChallengeArgs {
    fn into_settings(self, private_addresses: bool, template: &Template) -> ChallengeSettings {
        let template = match self.image {
            Some(image) => template.clone().with_image(image),
            None => template.clone(),
        };
        ChallengeSettings {
            listen: self.listen,
            reach: match (self.solver, self.advertise_address, self.pod_controller_uid) {
                (Solver::Pod, ..) => Reach::Solver(Box::new(template)),
                (_, Some(address), _) => Reach::Address(address),
                (_, None, Some(controller_uid)) => Reach::Job { controller_uid },
                (Solver::Auto, None, None) => Reach::Solver(Box::new(template)),
                (Solver::Here, None, None) => Reach::Unknown,
            },
            owner: self.pod_name.zip(self.pod_uid),
            probe: self.probe,
            resolver: self.resolver,
            http_port: self.probe_http_port,
            https_port: self.probe_https_port,
            probe_timeout: self.probe_timeout.unsigned_abs(),
            private_addresses,
        }
    }
}

impl ChallengeSettings {
    /// For an action that answers no challenge.
    fn none() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            reach: Reach::Unknown,
            owner: None,
            probe: ProbeMode::Auto,
            resolver: None,
            http_port: 80,
            https_port: 443,
            probe_timeout: std::time::Duration::ZERO,
            private_addresses: false,
        }
    }
}

/// A file that the arguments name: one of the CronJob's Pod where they are inherited, else one of this machine.
fn read(path: &Path, inherited: &Inherited) -> std::io::Result<Vec<u8>> {
    match inherited.files.get(path) {
        Some(content) => Ok(content.clone()),
        None => std::fs::read(path),
    }
}

fn external_account(
    key_id: Option<String>,
    hmac_key_file: Option<PathBuf>,
    inherited: &Inherited,
) -> anyhow::Result<Option<ExternalAccount>> {
    let (key_id, path) = match (key_id, hmac_key_file) {
        (Some(key_id), Some(path)) => (key_id, path),
        (None, None) => return Ok(None),
        _ => anyhow::bail!("`--eab-key-id` and `--eab-hmac-key-file` come together: one of them is missing"),
    };
    let name = path.display();
    let key = read(&path, inherited)
        .and_then(|key| String::from_utf8(key).map_err(std::io::Error::other))
        .with_context(|| format!("read the external account's key `{name}`"))?;
    let account = ExternalAccount::parse(&key_id, &key).map_err(|why| anyhow::anyhow!("read `{name}`: {why}"))?;
    Ok(Some(account))
}

/// Colour and a bar for people, plain columns for programs. Who wants no colour (<https://no-color.org>) keeps the bar.
fn style() -> Style {
    let person = std::io::stdout().is_terminal();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let columns = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    Style {
        bar: person,
        color: person && !no_color,
        // A terminal that calls itself no columns wide does not know.
        width: columns.filter(|columns| person && *columns > 0),
    }
}

/// The proxy of the environment, in either spelling, as curl reads it.
fn proxy() -> Option<Proxy> {
    let variable = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|text| !text.is_empty())
    };
    let url = variable(["HTTPS_PROXY", "https_proxy"])?;
    Some(Proxy {
        url,
        exempt: variable(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
    })
}
