//! Parses, starts logging and the crypto provider, calls [`kube_lego_once::run`], prints how it ended.

use std::io::{BufWriter, ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use env_logger::fmt::Formatter;
use kube_lego_once::apply::progress::BesideBars;
use kube_lego_once::apply::stop::{Stop, Stopper};
use kube_lego_once::cli::{Cli, LogFormat, Logging};
use kube_lego_once::problem;
use kube_lego_once::report::ExitStatus;
use log::{Level, Record};
use serde_json::json;

/// Signals so close are one: `timeout` sends its to the process and to the group that it is in, and so do some terminals.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.logging());
    // One provider for every TLS connection and signature; the error only says that one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let json = cli.logging().log_format == LogFormat::Json;
    let status = match run(cli, json) {
        Ok(status) => status,
        Err(error) => {
            say(json, &problem::one_line(&error), problem::hint(&error));
            ExitStatus::Error
        }
    };
    ExitCode::from(status.code())
}

fn run(cli: Cli, json: bool) -> anyhow::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ending = runtime.block_on(async {
        let (stopper, stop) = Stop::pair();
        tokio::spawn(listen_for_signals(stopper));
        kube_lego_once::run(&cli, &stop).await
    });
    // What had to be awaited was; a name server that does not answer, or a stdin that does not end, must not keep us.
    runtime.shutdown_background();
    let ending = ending?;
    if let Some(error) = &ending.unfinished {
        say(json, &problem::one_line(error), problem::hint(error));
    }
    // Not `stdout`'s own buffer, which ends with each line.
    let mut out = BufWriter::new(std::io::stdout().lock());
    match (ending.write)(&mut out).and_then(|()| out.flush()) {
        // Somebody who reads with `head` has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            return Err(anyhow::Error::new(error).context("write the report to stdout"));
        }
        _ => {}
    }
    Ok(ending.status)
}

/// The last word on stderr, whatever the log's level: why the run could not happen, and what to do.
fn say(json: bool, error: &str, hint: Option<String>) {
    let time = jiff::Timestamp::now().to_string();
    let said = match (json, hint) {
        (true, hint) => json!({"time": time, "level": "error", "message": error, "hint": hint}).to_string(),
        (false, Some(hint)) => format!("error: {error}\nhint: {hint}"),
        (false, None) => format!("error: {error}"),
    };
    // `eprintln!` panics where nobody reads any more, and the exit status would be another.
    let _ = writeln!(std::io::stderr().lock(), "{said}");
}

/// Lines on stderr: warnings and what is done, more with `-v`; `RUST_LOG` says otherwise.
fn start_logging(logging: Logging) {
    let filter = match logging.verbose {
        0 => "warn,kube_client=off,kube_lego_once=info",
        1 => "warn,kube_client=off,kube_lego_once=debug",
        _ => "debug,kube_lego_once=trace",
    };
    let environment = env_logger::Env::default().default_filter_or(filter);
    let mut builder = env_logger::Builder::from_env(environment);
    builder.target(env_logger::Target::Pipe(Box::new(BesideBars)));
    match logging.log_format {
        LogFormat::Text => builder.format(text_line),
        LogFormat::Json => builder.format(json_line),
    };
    builder.init();
}

/// The message alone for what is done; the level in front of anything else.
fn text_line(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    match record.level() {
        Level::Info => writeln!(out, "{}", record.args()),
        Level::Warn => writeln!(out, "warning: {}", record.args()),
        Level::Error => writeln!(out, "error: {}", record.args()),
        level => writeln!(
            out,
            "{} {}: {}",
            level.as_str().to_lowercase(),
            record.target(),
            // A library may say a DNS message in ten lines.
            record.args().to_string().replace('\n', "\\n")
        ),
    }
}

fn json_line(out: &mut Formatter, record: &Record<'_>) -> std::io::Result<()> {
    let line = json!({
        "time": jiff::Timestamp::now().to_string(),
        "level": record.level().as_str().to_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    });
    writeln!(out, "{line}")
}

/// The first SIGINT or SIGTERM asks the run to stop; the second ends the process at once.
async fn listen_for_signals(stopper: Stopper) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        log::warn!("listen for signals: they will end the run at once");
        return;
    };
    let mut stopping: Option<Instant> = None;
    loop {
        let number = tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            // A terminal that closes ends the run like the other two; `nohup` cannot keep it alive, a CronJob can.
            _ = hangup.recv() => 1,
        };
        match stopping {
            Some(first) if first.elapsed() >= ONE_SIGNAL => std::process::exit(128 + number),
            Some(_) => {}
            None => {
                log::warn!("stopping: a second signal ends the run without cleaning up");
                stopper.stop();
                stopping = Some(Instant::now());
            }
        }
    }
}
