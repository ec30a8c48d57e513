//! TLS certificates for Kubernetes Ingresses, by a program that does its work and exits.
//!
//! One invocation reads every annotated Ingress, decides which TLS Secrets need a certificate, obtains those from an ACME
//! CA (RFC 8555) by HTTP-01 through the cluster's own ingress controller, stores them, cleans up after itself,
//! reports, and stops. [`run`] reads like that sentence.
//!
//! # Code map
//!
//! The rooms are the sentence:
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | command-line arguments and the CronJob's options become settings, once |
//! | [`observe`] | the cluster, its CronJob and the CA, or files, become one value |
//! | [`decide`] | pure: values in, values out; [`decide::plan`] is the only place that decides (I1) |
//! | [`apply`] | the effects in their order: prepare, present, probe, order, store, withdraw |
//! | [`report`] | pure: the plan and its outcomes as table, page, JSON, YAML, metrics, Events, explanation and exit status |
//! | [`adapters`] | the outside: the cluster, the CA, files, the responder, the probe; none uses another |
//! | [`problem`] | what an error says, and what a person can do about it |
//!
//! # Invariants
//!
//! - **I1** [`decide::plan::plan`] alone decides; dry runs, real runs and tests feed it the same [`decide::observed::Observed`].
//! - **I2** A read that failed is *unknown*, never *missing*: unknown is refused.
//! - **I3** [`apply::apply`] takes the lock guard as an argument; the guard is asked again before each finalize and store.
//! - **I4** A run with nothing to do writes nothing to the API server, and asks the CA for nothing but its directory
//!   and renewal information.
//! - **I5** A private key never leaves the one Secret it was made for.
//! - **I6** A host belongs to the namespace of its oldest Ingress.
//! - **I7** No finalize before key and order URL are in the ledger.
//! - **I8** A challenge rule takes no host away from what serves it now.
//! - **I9** One certificate's dead host holds up no other certificate.
//!
//! `tests/it/tidy.rs` holds the rooms to their rules.

pub mod adapters;
pub mod apply;
pub mod cli;
pub mod decide;
pub mod observe;
pub mod problem;
pub mod report;

use std::io::{self, Write};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use adapters::responder::Responder;
use apply::Applied;
use apply::context::Context;
use apply::stop::Stop;
use cli::{Action, Cli, Format, Settings, Source};
use decide::observed::Observed;
use decide::plan::{Plan, plan};
use decide::selection::ObjectName;
use observe::site::Site;
use problem::Wrong;
use report::events::{Event, events};
use report::explanation::explanation;
use report::prometheus::Timing;
use report::{ExitStatus, Report};

/// What the program ends with.
pub struct Ending {
    /// Writes the data, for stdout. It is made as it is written, since the text of 100,000 rows is large.
    pub write: Box<Writer>,
    /// The exit status.
    pub status: ExitStatus,
    /// What went wrong after the last certificate was done, for stderr.
    pub unfinished: Option<anyhow::Error>,
}

/// Writes a document.
pub type Writer = dyn FnOnce(&mut dyn Write) -> io::Result<()>;

impl Ending {
    fn new(status: ExitStatus, write: impl FnOnce(&mut dyn Write) -> io::Result<()> + 'static) -> Self {
        Self {
            write: Box::new(write),
            status,
            unfinished: None,
        }
    }

    fn text(text: String) -> Self {
        Self::new(ExitStatus::Success, move |out| out.write_all(text.as_bytes()))
    }
}

/// Does what the command line says.
///
/// # Errors
/// Where it could not happen as a whole; one certificate's failure is in the report instead.
pub async fn run(cli: &Cli, stop: &Stop) -> anyhow::Result<Ending> {
    let settings = cli.settings()?;
    match (&settings.action, &settings.source) {
        (Action::Completions(shell), _) => Ok(Ending::text(cli::completions(*shell))),
        (
            Action::Solve {
                listen,
                thumbprint,
                run,
            },
            _,
        ) => {
            let _responder = Responder::start(*listen, thumbprint, run)?;
            stop.requested().await;
            Ok(Ending::text(String::new()))
        }
        (_, Source::Files { paths, recursive }) => {
            let (paths, recursive) = (paths.clone(), *recursive);
            let reading = tokio::task::spawn_blocking(move || adapters::manifests::read(&paths, recursive));
            let manifests = unless_stopped(async { Ok(reading.await??) }, stop).await?;
            let (observed, plan) = decided(observe::of_manifests(manifests), &settings)?;
            Ok(shown(observed, plan, &settings))
        }
        (_, Source::Cluster) => {
            let (site, settings) = unless_stopped(Site::open(cli, settings), stop).await?;
            run_at(site, &settings, stop).await
        }
    }
}

async fn run_at(site: Site, settings: &Settings, stop: &Stop) -> anyhow::Result<Ending> {
    match &settings.action {
        Action::Run { output, timeout } => {
            let begun = Instant::now();
            let (report, unfinished) = run_once(site, settings, &stop.or_after(*timeout)).await?;
            let status = ended(&report, unfinished.as_ref());
            let report = report.timed(Timing {
                ended: Timestamp::now(),
                duration: begun.elapsed().try_into().unwrap_or(SignedDuration::MAX),
                succeeded: status == ExitStatus::Success,
            });
            push(&report, status, settings).await;
            Ok(Ending {
                unfinished,
                ..print(report, status, *output, settings)
            })
        }
        Action::Clean => {
            let (report, unfinished) = clean(site, settings, stop).await?;
            let (status, style) = (ended(&report, unfinished.as_ref()), settings.style);
            let all = unfinished.is_none();
            Ok(Ending {
                unfinished,
                ..Ending::new(status, move |out| report.write_clean_text(out, &style, all))
            })
        }
        _ => {
            site.warn_of_authority();
            let (observed, plan) = unless_stopped(look_at(&site, settings), stop).await?;
            Ok(shown(observed, plan, settings))
        }
    }
}

fn ended(report: &Report, unfinished: Option<&anyhow::Error>) -> ExitStatus {
    unfinished.map_or_else(|| report.exit_status(), |_| ExitStatus::Failure)
}

/// A plan that nobody applies, as a report or explained.
fn shown(observed: Observed, plan: Plan, settings: &Settings) -> Ending {
    warn_of(&plan);
    let Action::DryRun { output, exit_code } = settings.action else {
        return Ending::text(explanation(&observed, &settings.policy, &plan, &settings.style));
    };
    drop(observed);
    let report = Report::of_plan(plan, settings.directory_url());
    let status = if exit_code {
        report.finding()
    } else {
        report.exit_status()
    };
    print(report, status, output, settings)
}

/// The flow: observe, plan, lock, observe and plan again, apply, report.
async fn run_once(site: Site, settings: &Settings, stop: &Stop) -> anyhow::Result<(Report, Option<anyhow::Error>)> {
    let (_, plan) = unless_stopped(look_at(&site, settings), stop).await?;
    warn_of(&plan);
    if plan.is_idle() {
        site.warn_of_authority();
        return Ok((Report::of_plan(plan, settings.directory_url()), None));
    }
    let context = Context::new(site, settings, stop.clone())?;
    if !plan.issue.is_empty() {
        context.can_order()?;
    }
    // What was true before the Lease may not be true under it: the same two functions look again, and that plan is applied.
    context
        .under_lease(async |held| {
            let (_, plan) = unless_stopped(look_at(&context.site, settings), stop).await?;
            let applied = apply::apply(&plan, held, &context).await?;
            tell(&events(&plan, &applied.outcomes, &context.run), &context).await;
            Ok(applied_report(plan, applied, settings.directory_url()))
        })
        .await
}

/// The report, and why something is left. What could not be removed is not said to be.
fn applied_report(mut plan: Plan, applied: Applied, directory: Option<&str>) -> (Report, Option<anyhow::Error>) {
    plan.sweep.retain(|leftover| !applied.unswept.contains(&leftover.uid));
    (Report::of_run(plan, applied.outcomes, directory), applied.unfinished)
}

/// Pushes the metrics. That they could not be is no failure of what was done.
async fn push(report: &Report, status: ExitStatus, settings: &Settings) {
    let Some(gateway) = &settings.pushgateway else { return };
    // Where the run failed, the time of the last success is to stay there.
    let replace = status == ExitStatus::Success;
    let pushed = match report.metrics() {
        Ok(metrics) => gateway.push(metrics, replace).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = pushed {
        log::warn!("{why}");
    }
}

/// Writes Events. That nobody could be told is no failure of what was done.
async fn tell(events: &[Event], context: &Context) {
    let now = Timestamp::now();
    let events: Vec<_> = events.iter().map(|event| event.object(&context.run, now)).collect();
    if let Some(unsaid) = context.site.cluster.write_events(&events).await {
        log::warn!("{unsaid}");
    }
}

/// The same flow with a plan that has nothing but the sweep.
async fn clean(site: Site, settings: &Settings, stop: &Stop) -> anyhow::Result<(Report, Option<anyhow::Error>)> {
    let look = async |site: &Site| {
        let observed = observe::leftovers(&site.cluster, &site.home).await?;
        anyhow::Ok(plan(&observed, &settings.policy).only_sweep())
    };
    let plan = unless_stopped(look(&site), stop).await?;
    if plan.is_idle() {
        return Ok((Report::of_plan(plan, None), None));
    }
    let context = Context::new(site, settings, stop.clone())?;
    context
        .under_lease(async |held| {
            let plan = unless_stopped(look(&context.site), stop).await?;
            let applied = apply::apply(&plan, held, &context).await?;
            Ok(applied_report(plan, applied, None))
        })
        .await
}

/// Observes and plans.
async fn look_at(site: &Site, settings: &Settings) -> anyhow::Result<(Observed, Plan)> {
    let observed = observe::of_cluster(site, &settings.policy).await?;
    decided(observed, settings)
}

fn decided(mut observed: Observed, settings: &Settings) -> anyhow::Result<(Observed, Plan)> {
    observed.now = settings.at.unwrap_or(observed.now);
    let plan = plan(&observed, &settings.policy);
    match plan.unmatched.first() {
        None => Ok((observed, plan)),
        Some(name) => Err(not_found(name, &observed, settings).into()),
    }
}

/// Why no object answers to a name that was asked for.
fn not_found(name: &ObjectName, observed: &Observed, settings: &Settings) -> Wrong {
    let namespaces: Vec<&str> = settings
        .policy
        .selection
        .namespaces
        .iter()
        .map(String::as_str)
        .collect();
    let place = match namespaces.is_empty() {
        true => String::new(),
        false => format!(" in `{}`", namespaces.join("`, `")),
    };
    // Of a Secret or an Ingress, Gateways would say nothing.
    let unseen = observed
        .gateways_unseen
        .as_ref()
        .filter(|_| name.is_of_gateway() != Some(false));
    let unseen = unseen.map_or_else(String::new, |why| format!(" (Gateways are not known: {why})"));
    let list = match name.is_of_gateway() {
        Some(true) => "`kubectl get gateway -A` lists the Gateways",
        _ => "`kubectl get ingress -A` lists the Ingresses",
    };
    Wrong::new(
        format!("no annotated object{place} is named `{name}` or asks for a Secret `{name}`{unseen}"),
        format!("{list}; `{}: \"true\"` opts one in", settings.policy.annotation),
    )
}

fn warn_of(plan: &Plan) {
    for note in &plan.notes {
        log::warn!("{note}");
    }
}

/// Before anything is created a stop needs no cleaning up.
async fn unless_stopped<T>(work: impl Future<Output = anyhow::Result<T>>, stop: &Stop) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.requested() => anyhow::bail!("stopped before anything was changed"),
    }
}

fn print(report: Report, status: ExitStatus, format: Format, settings: &Settings) -> Ending {
    let style = settings.style;
    Ending::new(status, move |out| match format {
        Format::Table => report.write_text(out, &style),
        Format::Wide => report.write_wide_text(out, &style),
        Format::Json => report.write_json(out),
        Format::Yaml => report.write_yaml(out),
        Format::Name => report.write_names(out),
        Format::Prometheus => report.write_prometheus(out),
        Format::Html => report.write_html(out),
    })
}
