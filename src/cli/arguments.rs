//! The arguments, as clap reads them. What they come to is in [`super::settings`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::adapters::probe::ProbeMode;
use crate::adapters::pushgateway::Pushgateway;
use crate::decide::directory::Directory;
use crate::decide::key_type::KeyType;
use crate::decide::name::{DnsName, RunId};
use crate::decide::policy::TLS_ACME;
use crate::decide::selection::{LabelSelector, ObjectName};

const EXAMPLES: &str = "\
Options that you leave out are taken from the CronJob kube-lego-once in the home namespace, if there is one.

Examples:
  kube-lego-once run                                     what the CronJob would do, at once
  kube-lego-once run --dry-run                           what is due in the cluster of the current context
  kube-lego-once run --directory letsencrypt-staging --advertise-address 192.0.2.10
  kube-lego-once run --dry-run -f manifests -R --exit-code
  kube-lego-once run --dry-run --at 2027-01-06T00:00:00Z what ends during the holidays
  kube-lego-once run demo-tls -n web --force             renew one now
  kube-lego-once explain demo-tls -n web                 why";

/// TLS certificates for Kubernetes Ingresses, by a program that does its work and exits.
#[derive(Clone, Debug, Parser)]
#[command(after_help = EXAMPLES)]
#[command(
    name = "kube-lego-once",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) logging: Logging,
}

/// What is written to stderr, and how.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Log more on stderr: -v each step, -vv each request; $RUST_LOG selects in detail
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Format of the lines on stderr
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

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Obtain every certificate that is due, store it, clean up, report
    // clap would list what the environment gives as if it had to be typed.
    #[command(after_help = EXAMPLES, override_usage = "kube-lego-once run [OPTIONS] [NAME]...")]
    Run(Box<RunArgs>),
    /// Show each check's answer for one Secret, or for those of one Ingress
    #[command(override_usage = "kube-lego-once explain [OPTIONS] --namespace <NAMESPACE> <NAME>")]
    Explain(Box<ExplainArgs>),
    /// Remove what a run that was killed left behind
    #[command(override_usage = "kube-lego-once clean [OPTIONS]")]
    Clean(CleanArgs),
    /// Answer the challenges of one run until stopped: this runs in a solver Pod
    #[command(hide = true)]
    Solve(SolveArgs),
    /// Print a shell's completion script
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Only these Secrets, or those of these objects: NAME, secret/NAME, ingress/NAME, gateway/NAME or listenerset/NAME
    #[arg(value_name = "NAME", help_heading = "Selection")]
    pub(super) names: Vec<ObjectName>,
    /// Report what is due and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// With --dry-run: exit with 3 when something is due, with 4 when something is refused or rejected
    #[arg(long, requires = "dry_run")]
    pub(super) exit_code: bool,
    /// Format of the report
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(super) output: Format,

    /// Push the metrics of a run (not of a dry run) to this Pushgateway; a URL with /metrics/job/... names its own group
    #[arg(long, env = "KUBE_LEGO_ONCE_PUSHGATEWAY", value_name = "URL")]
    pub(super) pushgateway: Option<Pushgateway>,
    /// Stop after this time as after a signal: what is under way ends, the rest is left to the next run
    #[arg(long, env = "KUBE_LEGO_ONCE_TIMEOUT", value_name = "DURATION", value_parser = duration, default_value = "45m")]
    pub(super) timeout: SignedDuration,

    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) authority: AuthorityArgs,
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
    /// Renew the named certificates although nothing is due; needs names and exactly one --namespace
    #[arg(long, requires = "names", help_heading = "Decision")]
    pub(super) force: bool,
    /// Try these certificates although the CA refused them lately (reason BackingOff); needs names or a --namespace
    #[arg(long, help_heading = "Decision")]
    pub(super) retry_now: bool,
    #[command(flatten)]
    pub(super) challenge: ChallengeArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ExplainArgs {
    /// The Secret, or an object that wants it: NAME, secret/NAME, ingress/NAME, gateway/NAME or listenerset/NAME
    #[arg(value_name = "NAME")]
    pub(super) name: ObjectName,
    /// Its namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(super) namespace: String,

    #[command(flatten)]
    pub(super) source: SourceArgs,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) authority: AuthorityArgs,
    #[command(flatten)]
    pub(super) decision: DecisionArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct SelectionArgs {
    /// Only this namespace; may be repeated
    #[arg(short, long = "namespace", value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespaces: Vec<String>,
    /// All namespaces, which is the default
    #[arg(short = 'A', long, conflicts_with = "namespaces")]
    pub(super) all_namespaces: bool,
    /// Only certificates of Ingresses with these labels, such as app=web,tier!=test
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) selector: LabelSelector,
    /// Only certificates of Ingresses of this class; may be repeated
    #[arg(long = "class", value_name = "CLASS")]
    pub(super) classes: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub(super) struct SourceArgs {
    /// Plan from manifests in a file, a folder or stdin (-), without a cluster; a run needs --dry-run with it; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|DIR|-")]
    pub(super) filenames: Vec<PathBuf>,
    /// With -f: sub-folders too
    #[arg(short = 'R', long, requires = "filenames")]
    pub(super) recursive: bool,
    /// Take no options from the CronJob kube-lego-once in the home namespace
    #[arg(long, env = "KUBE_LEGO_ONCE_NO_CRONJOB")]
    pub(super) no_cronjob: bool,
    /// Plan as if it were this time, such as 2026-12-24T00:00:00Z; a run needs --dry-run with it
    #[arg(long, value_name = "RFC3339")]
    pub(super) at: Option<Timestamp>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct CleanArgs {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// Kubeconfig file, instead of $KUBECONFIG, ~/.kube/config or the Pod's own credentials
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Namespace of the account, the ledger, the Lease and the challenge objects [default: the Pod's own, else kube-lego]
    #[arg(long, env = "KUBE_LEGO_ONCE_HOME_NAMESPACE", value_name = "NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) home_namespace: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "CA")]
pub(super) struct AuthorityArgs {
    /// ACME directory: an https URL, or letsencrypt, letsencrypt-staging, zerossl, google, google-staging, sslcom
    #[arg(long, env = "KUBE_LEGO_ONCE_DIRECTORY", value_name = "URL")]
    pub(super) directory: Option<Directory>,
    /// PEM file with the roots of a private CA's own server; then no other roots are trusted
    #[arg(long, env = "KUBE_LEGO_ONCE_CA_BUNDLE", value_name = "FILE")]
    pub(super) ca_bundle: Option<PathBuf>,
    /// Profile to order; the directory lists the names
    #[arg(long, env = "KUBE_LEGO_ONCE_PROFILE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(super) profile: Option<String>,
    /// Chain to store if the CA offers several: the common name of the issuer of its topmost certificate, such as "ISRG Root X1"
    #[arg(long, env = "KUBE_LEGO_ONCE_PREFERRED_CHAIN", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(super) preferred_chain: Option<String>,
    /// Contact address of a new account; optional
    #[arg(long, env = "KUBE_LEGO_ONCE_EMAIL", value_name = "ADDRESS", value_parser = NonEmptyStringValueParser::new())]
    pub(super) email: Option<String>,
    /// Key id of an external account, if the CA demands one
    #[arg(long, env = "KUBE_LEGO_ONCE_EAB_KEY_ID", value_name = "ID")]
    pub(super) eab_key_id: Option<String>,
    /// File with the HMAC key of the external account, in base64url, as the CA gives it out
    #[arg(long, env = "KUBE_LEGO_ONCE_EAB_HMAC_KEY_FILE", value_name = "FILE")]
    pub(super) eab_hmac_key_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Decision")]
pub(super) struct DecisionArgs {
    /// Annotation that opts an Ingress in with the value `true`
    #[arg(long, env = "KUBE_LEGO_ONCE_ANNOTATION", value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), default_value = TLS_ACME)]
    pub(super) annotation: String,
    /// Renew when less than this is left, such as 30d or 720h; at most two thirds of a lifetime count
    /// [default: a third of the lifetime, half of one under 10 days]
    #[arg(long, env = "KUBE_LEGO_ONCE_MINIMUM_VALIDITY", value_name = "DURATION", value_parser = duration)]
    pub(super) minimum_validity: Option<SignedDuration>,
    /// Replace Secrets that are not marked as ours, and take over what cert-manager left
    #[arg(long, env = "KUBE_LEGO_ONCE_ADOPT")]
    pub(super) adopt: bool,
    /// Issue these hosts (without a value: all hosts) to every namespace that asks, not only to that of the oldest Ingress
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
    pub(super) allow_shared_hosts: Vec<String>,
    /// Also order hosts of one label; only private CAs sign them
    #[arg(long, env = "KUBE_LEGO_ONCE_ALLOW_SINGLE_LABEL_HOSTS")]
    pub(super) allow_single_label_hosts: bool,
    /// Most new orders of a run; the rest waits for the next one [default: 300 in 3 hours at Let's Encrypt, elsewhere no limit]
    #[arg(long, env = "KUBE_LEGO_ONCE_MAX_ORDERS", value_name = "NUMBER")]
    pub(super) max_orders: Option<usize>,
    /// Type of the private key of a new certificate, unless an Ingress asks for another (annotation kube-lego-once.dev/key-type)
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_KEY_TYPE",
        value_name = "TYPE",
        value_parser = PossibleValuesParser::new(KeyType::ALL.map(KeyType::word)).try_map(|word| word.parse::<KeyType>()),
        default_value = KeyType::default().word()
    )]
    pub(super) key_type: KeyType,
    /// Time until the next run: a certificate that the CA wants renewed before then is due now
    #[arg(long, env = "KUBE_LEGO_ONCE_INTERVAL", value_name = "DURATION", value_parser = duration, default_value = "24h")]
    pub(super) interval: SignedDuration,
}

/// What the run tells the solver Pod that it starts. Nothing of this is secret.
#[derive(Clone, Debug, Args)]
pub(super) struct SolveArgs {
    /// Thumbprint of the account's key (RFC 7638), base64url
    #[arg(long, value_name = "THUMBPRINT", value_parser = thumbprint, allow_hyphen_values = true)]
    pub(super) thumbprint: String,
    /// Id of the run; it is in each answer
    #[arg(long, value_name = "RUN")]
    pub(super) run: RunId,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub(super) listen: SocketAddr,
}

/// What answers the challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Solver {
    /// This process if the cluster can reach it, else a solver Pod.
    Auto,
    /// A solver Pod in the home namespace, which ends with the run.
    Pod,
    /// This process.
    Here,
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
    /// Metrics for Prometheus (OpenMetrics text).
    Prometheus,
    /// One page for a browser, which loads nothing from elsewhere: failures, refusals, what ends when, and all certificates.
    Html,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Challenge")]
pub(super) struct ChallengeArgs {
    /// Address and port on which the challenge responder listens; port 0 takes a free port
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080"
    )]
    pub(super) listen: SocketAddr,
    /// What answers the challenges: this process (here), a short-lived solver Pod in the home namespace (pod), or this process
    /// if the cluster can reach it, else a solver Pod (auto)
    #[arg(long, env = "KUBE_LEGO_ONCE_SOLVER", value_name = "WAY", value_enum, default_value_t = Solver::Auto)]
    pub(super) solver: Solver,
    /// Image of kube-lego-once for the solver Pod [default: the image of the CronJob]
    #[arg(long, env = "KUBE_LEGO_ONCE_IMAGE", value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    pub(super) image: Option<String>,
    /// Address of this machine that Pods can connect to
    #[arg(long, env = "KUBE_LEGO_ONCE_ADVERTISE_ADDRESS", value_name = "ADDRESS")]
    pub(super) advertise_address: Option<IpAddr>,
    /// The Job of this Pod, by which the challenge Service selects it; cronjob.yaml sets this
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_CONTROLLER_UID",
        value_name = "UID",
        value_parser = NonEmptyStringValueParser::new(),
        hide = true,
        conflicts_with = "advertise_address"
    )]
    pub(super) pod_controller_uid: Option<String>,
    /// This Pod, which owns the challenge objects; cronjob.yaml sets this
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_NAME",
        value_name = "NAME",
        hide = true,
        requires = "pod_uid"
    )]
    pub(super) pod_name: Option<String>,
    /// Its UID
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_POD_UID",
        value_name = "UID",
        hide = true,
        requires = "pod_name"
    )]
    pub(super) pod_uid: Option<String>,
    /// How to ask each route before ordering: as the CA would (public), at the address in the Ingress's status
    /// (ingress), or the second where the first cannot connect (auto)
    #[arg(long, env = "KUBE_LEGO_ONCE_PROBE", value_name = "WAY", value_enum, default_value_t = ProbeMode::Auto)]
    pub(super) probe: ProbeMode,
    /// DNS server for the probe, instead of the system's
    #[arg(long, env = "KUBE_LEGO_ONCE_RESOLVER", value_name = "ADDRESS:PORT")]
    pub(super) resolver: Option<SocketAddr>,
    /// Port for the probe's HTTP, where a private CA does not use 80
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_PROBE_HTTP_PORT",
        value_name = "PORT",
        default_value_t = 80
    )]
    pub(super) probe_http_port: u16,
    /// How long a route may take until it answers, such as 60s or 5m
    #[arg(long, env = "KUBE_LEGO_ONCE_PROBE_TIMEOUT", value_name = "DURATION", value_parser = duration, default_value = "60s")]
    pub(super) probe_timeout: SignedDuration,
    /// Port for redirects of the probe to HTTPS, where a private CA does not use 443
    #[arg(
        long,
        env = "KUBE_LEGO_ONCE_PROBE_HTTPS_PORT",
        value_name = "PORT",
        default_value_t = 443
    )]
    pub(super) probe_https_port: u16,
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

/// A thumbprint: 32 bytes in base64url without padding.
fn thumbprint(text: &str) -> Result<String, String> {
    let base64url = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if base64url && text.len() == 43 {
        Ok(text.to_owned())
    } else {
        Err("not the 43 base64url characters of a SHA-256 thumbprint".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("720h"), Ok(SignedDuration::from_hours(720)));
        assert_eq!(duration("30d"), Ok(SignedDuration::from_hours(720)));
        assert!(duration("30").is_err());
        assert!(duration("-1h").is_err());
    }
}
