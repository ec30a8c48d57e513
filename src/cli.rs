//! The command line: raw arguments and environment become [`Settings`] once.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::adapters::acme::{AuthoritySettings, CaBundle, ExternalAccount, Proxy};
use crate::adapters::probe::ProbeMode;
use crate::decide::directory::{Directory, Trust};
use crate::decide::name::DnsName;
use crate::decide::policy::{Policy, SharedHosts, TLS_ACME};
use crate::decide::selection::{LabelSelector, Selection};
use crate::decide::text::Style;

const EXAMPLES: &str = "\
Examples:
  kube-lego-once run --dry-run                           what is due in the cluster of the current context
  kube-lego-once run --directory letsencrypt-staging --advertise-address 192.0.2.10
  kube-lego-once run --dry-run -f manifests -R --exit-code
  kube-lego-once run --dry-run --at 2027-01-06T00:00:00Z what runs out over the holidays
  kube-lego-once run demo-tls -n web --force             renew one now
  kube-lego-once explain demo-tls -n web                 why";

/// TLS certificates for Kubernetes Ingresses, by a program that does its work and exits.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
#[command(
    name = "kube-lego-once",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: Logging,
}

/// What is said on stderr, and how.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Say more on stderr: -v each step, -vv each request; $RUST_LOG says it in detail
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// How a line on stderr is written
    #[arg(long, env = "KUBE_LEGO_ONCE_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
}

/// How a line on stderr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line: `time`, `level`, `target`, `message`.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Obtain every certificate that is due, store it, clean up, report
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show each check's answer for one Secret, or for those of one Ingress
    Explain(Box<ExplainArgs>),
    /// Remove what a run that was killed left behind
    Clean(CleanArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Only these Secrets, or those of these Ingresses
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Report what is due and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: exit with 3 when something is due, with 4 when something is refused or rejected
    #[arg(long, requires = "dry_run")]
    exit_code: bool,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    decision: DecisionArgs,
    /// Renew what is named although nothing is due; needs names and exactly one --namespace
    #[arg(long, requires = "names", help_heading = "Decision")]
    force: bool,
    #[command(flatten)]
    challenge: ChallengeArgs,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The Secret, or the Ingress
    #[arg(value_name = "NAME")]
    name: String,
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: String,

    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    decision: DecisionArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
struct SelectionArgs {
    /// Only this namespace; may be repeated
    #[arg(short, long = "namespace", value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    namespaces: Vec<String>,
    /// All namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespaces")]
    all_namespaces: bool,
    /// Only certificates of Ingresses with these labels, such as app=web,tier!=test
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: LabelSelector,
    /// Only certificates of Ingresses of this class; may be repeated
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
struct SourceArgs {
    /// With --dry-run: plan from manifests in a file, a folder or stdin (-), without a cluster; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    filenames: Vec<PathBuf>,
    /// With -f: sub-folders too
    #[arg(short = 'R', long, requires = "filenames")]
    recursive: bool,
    /// With --dry-run: what will be due at this time, such as 2026-12-24T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
}

#[derive(Debug, Args)]
struct CleanArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
struct ClusterArgs {
    /// Kubeconfig file, instead of $KUBECONFIG, ~/.kube/config or the Pod's own credentials
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of the account, the ledger, the Lease and the challenge objects [default: the Pod's own, else kube-lego]
    #[arg(long, env = "KUBE_LEGO_ONCE_HOME_NAMESPACE", value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    home_namespace: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Authority")]
struct AuthorityArgs {
    /// ACME directory: an https URL, or letsencrypt, letsencrypt-staging, zerossl, google, google-staging, sslcom
    #[arg(long, env = "KUBE_LEGO_ONCE_DIRECTORY", value_name = "URL")]
    directory: Option<Directory>,
    /// PEM file with the roots of a private authority's own server; no others are trusted then
    #[arg(long, env = "KUBE_LEGO_ONCE_CA_BUNDLE", value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Profile to order, as the directory lists them
    #[arg(long, env = "KUBE_LEGO_ONCE_PROFILE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    profile: Option<String>,
    /// Address for a new account's contact; authorities work without
    #[arg(long, env = "KUBE_LEGO_ONCE_EMAIL", value_name = "ADDRESS", value_parser = NonEmptyStringValueParser::new())]
    email: Option<String>,
    /// Key id of an external account, where the authority demands one
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_EAB_KEY_ID",
        value_name = "ID",
        requires = "eab_hmac_key_file"
    )]
    eab_key_id: Option<String>,
    /// File with the external account's HMAC key, base64url as the authority hands it out
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_EAB_HMAC_KEY_FILE",
        value_name = "FILE",
        requires = "eab_key_id"
    )]
    eab_hmac_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Decision")]
struct DecisionArgs {
    /// Annotation that opts an Ingress in with the value `true`
    #[arg(long, env = "KUBE_LEGO_ONCE_ANNOTATION", value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), default_value = TLS_ACME)]
    annotation: String,
    /// Renew with less than this left, such as 30d or 720h; at most two thirds of a lifetime count
    /// [default: a third of the lifetime, half of one under 10 days]
    #[arg(long, env = "KUBE_LEGO_ONCE_MINIMUM_VALIDITY", value_name = "DURATION", value_parser = duration)]
    minimum_validity: Option<SignedDuration>,
    /// Replace Secrets that carry no sign of ours, and take over what cert-manager left
    #[arg(long, env = "KUBE_LEGO_ONCE_ADOPT")]
    adopt: bool,
    /// Issue these hosts, or without a value all, to any namespace that asks, not only to that of the oldest Ingress
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_ALLOW_SHARED_HOSTS",
        value_name = "HOST,...",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "*",
        value_delimiter = ',',
        value_parser = shared_host
    )]
    allow_shared_hosts: Vec<String>,
    /// Order hosts of one label too, as private authorities sign them
    #[arg(long, env = "KUBE_LEGO_ONCE_ALLOW_SINGLE_LABEL_HOSTS")]
    allow_single_label_hosts: bool,
    /// Time until the next run: what the authority wants renewed before then is due now
    #[arg(long, env = "KUBE_LEGO_ONCE_INTERVAL", value_name = "DURATION", value_parser = duration, default_value = "24h")]
    interval: SignedDuration,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns as kubectl prints them.
    Table,
    /// The same with all hosts, Ingresses and issuers.
    Wide,
    /// One JSON document.
    Json,
    /// The same as YAML.
    Yaml,
    /// `secret/NAME -n NAMESPACE` of what is due, a line each, for `xargs -L1 kubectl ...`.
    Name,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Challenge")]
struct ChallengeArgs {
    /// Address and port that the challenge listener binds; port 0 takes a free one
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080"
    )]
    listen: SocketAddr,
    /// Address of this machine at which the cluster reaches the listener
    #[arg(long, env = "KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", value_name = "ADDRESS")]
    advertise_address: Option<IpAddr>,
    /// The Job of this Pod, by which the challenge Service selects it; cronjob.yaml sets this
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_CONTROLLER_UID",
        value_name = "UID",
        value_parser = NonEmptyStringValueParser::new(),
        hide = true,
        conflicts_with = "advertise_address"
    )]
    pod_controller_uid: Option<String>,
    /// This Pod, which owns the challenge objects; cronjob.yaml sets this
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_NAME",
        value_name = "NAME",
        hide = true,
        requires = "pod_uid"
    )]
    pod_name: Option<String>,
    /// Its UID
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_UID",
        value_name = "UID",
        hide = true,
        requires = "pod_name"
    )]
    pod_uid: Option<String>,
    /// How to ask each route before ordering: as the authority would (public), at the address in the Ingress's status
    /// (ingress), or the second where the first cannot connect (auto)
    #[arg(long, env = "KUBE_LEGO_ONCE_PROBE", value_name = "WAY", value_enum, default_value_t = ProbeMode::Auto)]
    probe: ProbeMode,
    /// DNS server for the probe, instead of the system's
    #[arg(long, env = "KUBE_LEGO_ONCE_RESOLVER", value_name = "ADDRESS:PORT")]
    resolver: Option<SocketAddr>,
    /// Port for the probe's HTTP, where a private authority does not use 80
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_PROBE_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 80
    )]
    probe_http_port: u16,
    /// How long a route may take until it answers, such as 60s or 5m
    #[arg(long, env = "KUBE_LEGO_ONCE_PROBE_TIMEOUT", value_name = "DURATION", value_parser = duration, default_value = "60s")]
    probe_timeout: SignedDuration,
    /// Port for redirects of the probe to HTTPS, where a private authority does not use 443
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_PROBE_HTTPS_PORT",
        value_name = "PORT",
        default_value_t = 443
    )]
    probe_https_port: u16,
}

fn external_account(key_id: Option<String>, hmac_key_file: Option<PathBuf>) -> anyhow::Result<Option<ExternalAccount>> {
    let (Some(key_id), Some(path)) = (key_id, hmac_key_file) else {
        return Ok(None);
    };
    let name = path.display();
    let key = std::fs::read_to_string(&path).with_context(|| format!("read the external account's key `{name}`"))?;
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

/// A host of `--allow-shared-hosts`: one that no Ingress could have would allow nothing, and nobody would be told.
fn shared_host(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text == "*" {
        return Ok(text.to_owned());
    }
    let host: DnsName = text.parse().map_err(|problem| format!("`{text}` {problem}"))?;
    Ok(host.to_string())
}

/// `30d`, `720h`, `2w`: a day is 24 hours.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "not a duration such as `30d` or `720h`".to_owned())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "a month and a year have no length of their own: say days, such as `365d`".to_owned())?;
    if duration.is_negative() {
        Err("a duration cannot be negative".into())
    } else {
        Ok(duration)
    }
}

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
    /// The authority; a dry run can do without.
    pub authority: Option<AuthoritySettings>,
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

/// How the cluster reaches the challenge listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At this address of this machine.
    Address(IpAddr),
    /// As a Pod of a Job.
    Job {
        /// The Pod's label `batch.kubernetes.io/controller-uid`.
        controller_uid: String,
    },
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
    /// 80, unless a private authority uses another.
    pub http_port: u16,
    /// 443, unless a private authority uses another.
    pub https_port: u16,
    /// How long a route may take until it answers: a controller that reloads slowly needs some of it.
    pub probe_timeout: std::time::Duration,
    /// Whether a public probe may go to private addresses, where only a private authority can.
    pub private_addresses: bool,
}

impl Cli {
    /// Reads what the arguments name and turns it into settings. Nothing else reads the environment or these files.
    pub fn into_settings(self) -> anyhow::Result<Settings> {
        match self.command {
            Command::Run(args) => args.into_settings(),
            Command::Explain(args) => args.into_settings(),
            Command::Clean(args) => Ok(Settings::clean(args.cluster)),
            Command::Completions { shell } => Ok(Settings {
                action: Action::Completions(shell),
                ..Settings::clean(ClusterArgs::default())
            }),
        }
    }

    /// How to log, which is needed before anything can be said.
    pub fn logging(&self) -> Logging {
        self.logging
    }
}

/// A shell's completion script.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kube-lego-once", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

impl RunArgs {
    fn into_settings(self) -> anyhow::Result<Settings> {
        let source = self.source.files();
        if !self.dry_run && (self.source.at.is_some() || source != Source::Cluster) {
            anyhow::bail!("`--at` and `--filename` show a plan, which only `--dry-run` can do with them");
        }
        if self.force && self.selection.namespaces.len() != 1 {
            anyhow::bail!("`--force` needs exactly one `--namespace`, so that it renews what is meant and no more");
        }
        let directory = self.authority.directory.clone();
        let private = directory
            .as_ref()
            .is_some_and(|directory| directory.trust() == Trust::Private);
        let selection = self.selection.into_selection(self.names);
        Ok(Settings {
            action: match self.dry_run {
                true => Action::DryRun {
                    output: self.output,
                    exit_code: self.exit_code,
                },
                false => Action::Run { output: self.output },
            },
            source,
            at: self.source.at,
            kubeconfig: self.cluster.kubeconfig,
            context: self.cluster.context,
            home_namespace: self.cluster.home_namespace,
            authority: self.authority.into_settings()?,
            policy: Policy {
                force: self.force,
                ..self.decision.into_policy(directory, selection)
            },
            challenge: self.challenge.into_settings(private),
            style: style(),
        })
    }
}

impl ExplainArgs {
    fn into_settings(self) -> anyhow::Result<Settings> {
        let directory = self.authority.directory.clone();
        let selection = Selection {
            namespaces: BTreeSet::from([self.namespace]),
            names: BTreeSet::from([self.name]),
            ..Selection::default()
        };
        Ok(Settings {
            action: Action::Explain,
            source: self.source.files(),
            at: self.source.at,
            authority: self.authority.into_settings()?,
            policy: self.decision.into_policy(directory, selection),
            ..Settings::clean(self.cluster)
        })
    }
}

impl Settings {
    /// Settings that answer no challenge and order nothing.
    fn clean(cluster: ClusterArgs) -> Self {
        Self {
            action: Action::Clean,
            source: Source::Cluster,
            at: None,
            kubeconfig: cluster.kubeconfig,
            context: cluster.context,
            home_namespace: cluster.home_namespace,
            authority: None,
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
    fn into_selection(self, names: Vec<String>) -> Selection {
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
            force: false,
        }
    }
}

impl AuthorityArgs {
    fn into_settings(self) -> anyhow::Result<Option<AuthoritySettings>> {
        let Some(directory) = self.directory else {
            return Ok(None);
        };
        let ca_bundle = self
            .ca_bundle
            .map(|path| {
                let name = path.display().to_string();
                let pem = std::fs::read(&path).with_context(|| format!("read the CA bundle `{name}`"))?;
                anyhow::Ok(CaBundle { name, pem })
            })
            .transpose()?;
        Ok(Some(AuthoritySettings {
            directory,
            ca_bundle,
            proxy: proxy(),
            profile: self.profile,
            email: self.email,
            external_account: external_account(self.eab_key_id, self.eab_hmac_key_file)?,
            account_entry: String::new(),
        }))
    }
}

impl ChallengeArgs {
    fn into_settings(self, private_addresses: bool) -> ChallengeSettings {
        ChallengeSettings {
            listen: self.listen,
            reach: match (self.advertise_address, self.pod_controller_uid) {
                (Some(address), _) => Reach::Address(address),
                (None, Some(controller_uid)) => Reach::Job { controller_uid },
                (None, None) => Reach::Unknown,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("720h"), Ok(SignedDuration::from_hours(720)));
        assert_eq!(duration("30d"), Ok(SignedDuration::from_hours(720)));
        assert!(duration("30").is_err());
        assert!(duration("-1h").is_err());
    }
}
