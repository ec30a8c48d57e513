//! Parses, starts logging and the crypto provider, calls [`kube_lego_once::run`], prints how it ended.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use kube_lego_once::cli::Cli;
use kube_lego_once::decide::report::ExitStatus;
use kube_lego_once::problem;
use kube_lego_once::progress::BesideBars;
use kube_lego_once::world::{Stop, Stopper};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging();
    // One provider for every TLS connection and signature; the error only says that one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let status = match run(cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {}", problem::one_line(&error));
            if let Some(hint) = problem::hint(&error) {
                eprintln!("hint: {hint}");
            }
            ExitStatus::Error
        }
    };
    ExitCode::from(status.code())
}

fn run(cli: Cli) -> anyhow::Result<ExitStatus> {
    let settings = cli.into_settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ending = runtime.block_on(async {
        let (stopper, stop) = Stop::pair();
        tokio::spawn(listen_for_signals(stopper));
        kube_lego_once::run(&settings, &stop).await
    })?;
    match std::io::stdout().lock().write_all(ending.text.as_bytes()) {
        // Somebody who reads with `head` has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(ending.status)
}

/// Plain lines on stderr, warnings and what is done; `RUST_LOG` says otherwise.
fn start_logging() {
    let environment = env_logger::Env::default().default_filter_or("warn,kube_client=off,kube_lego_once=info");
    env_logger::Builder::from_env(environment)
        .target(env_logger::Target::Pipe(Box::new(BesideBars)))
        .format(|out, record| match record.level() {
            log::Level::Info => writeln!(out, "{}", record.args()),
            log::Level::Warn => writeln!(out, "warning: {}", record.args()),
            log::Level::Error => writeln!(out, "error: {}", record.args()),
            level => writeln!(
                out,
                "{} {}: {}",
                level.as_str().to_lowercase(),
                record.target(),
                record.args()
            ),
        })
        .init();
}

/// The first SIGINT or SIGTERM asks the run to stop; the second ends the process at once.
async fn listen_for_signals(stopper: Stopper) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        log::warn!("listen for signals: SIGINT and SIGTERM will end the run at once");
        return;
    };
    for stopping in [false, true] {
        let number = tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
        };
        if stopping {
            std::process::exit(128 + number);
        }
        log::warn!("stopping: a second signal ends the run without cleaning up");
        stopper.stop();
    }
}
