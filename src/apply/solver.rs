//! The challenge responder of a run: in this process, or in a solver Pod that the run starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::adapters::acme::Account;
use crate::adapters::responder::Responder;
use crate::apply::context::{Context, pod};
use crate::cli::Reach;
use crate::decide::name::RUN_LABEL;
use crate::decide::observed::Leftover;
use crate::decide::route::{Backend, Home, JOB_LABEL};
use crate::decide::solver_pod::{SOLVER_PORT, Template, solver_pod};

/// A challenge responder (this process or a solver Pod), and the backend that routes to it.
pub struct Solver {
    /// The owner of the challenge objects.
    pub home: Home,
    /// What the challenge objects route to.
    pub backend: Backend,
    by: By,
}

enum By {
    /// This process: it answers as long as the value lives.
    Us { _responder: Responder },
    /// A solver Pod.
    Pod(Leftover),
}

impl Solver {
    /// Starts to answer for this account.
    ///
    /// It may be dropped at any time: its objects in the cluster are removed with the others of the run.
    ///
    /// # Errors
    /// If nothing would answer.
    pub async fn start(context: &Context, account: &Account) -> anyhow::Result<Self> {
        match &context.challenge.reach {
            Reach::Address(address) => Self::here(context, account, |port| Backend::Address(*address, port)),
            Reach::Job { controller_uid } => Self::here(context, account, |port| Backend::Pod {
                label: (JOB_LABEL, controller_uid.clone()),
                port,
            }),
            Reach::Solver(template) => Self::in_a_pod(context, account, template).await,
            Reach::Unknown => anyhow::bail!("it is not known how challenges can be answered"),
        }
    }

    fn here(context: &Context, account: &Account, backend: impl FnOnce(u16) -> Backend) -> anyhow::Result<Self> {
        let responder = Responder::start(context.challenge.listen, account.thumbprint(), &context.run)?;
        Ok(Self {
            home: context.home(),
            backend: backend(responder.port()),
            by: By::Us { _responder: responder },
        })
    }

    async fn in_a_pod(context: &Context, account: &Account, template: &Template) -> anyhow::Result<Self> {
        let home = context.home();
        let listen = listen_in_a_pod(context.challenge.listen);
        let solver = solver_pod(&home, template, account.thumbprint(), &listen.to_string());
        let made = context.site.cluster.start_solver(&home, &solver).await?;
        log::info!("Pod `{}/{}` answers the challenges", made.namespace, made.name);
        Ok(Self {
            backend: Backend::Pod {
                label: (RUN_LABEL, home.run.to_string()),
                port: listen.port(),
            },
            home: Home {
                owner: Some(pod(made.name.clone(), made.uid.clone())),
                ..home
            },
            by: By::Pod(made),
        })
    }

    /// Checks that it could be started, before anything is created.
    ///
    /// # Errors
    /// If it could not.
    pub async fn rehearse(context: &Context) -> anyhow::Result<()> {
        if let Reach::Solver(template) = &context.challenge.reach {
            let listen = listen_in_a_pod(context.challenge.listen).to_string();
            let solver = solver_pod(&context.home(), template, "rehearsal", &listen);
            context.site.cluster.rehearse_solver(&solver).await?;
        }
        Ok(())
    }

    /// Ends with the reason when nothing answers any more. This process answers until it ends.
    pub async fn lost(&self, context: &Context) -> String {
        match &self.by {
            By::Us { .. } => std::future::pending().await,
            By::Pod(pod) => context.site.cluster.solver_ended(pod).await,
        }
    }
}

/// In the Pod only the family and the port of the listener's address have a meaning. A port that the system chooses would have
/// to be asked for.
fn listen_in_a_pod(listen: SocketAddr) -> SocketAddr {
    let any: IpAddr = match listen {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let port = Some(listen.port()).filter(|port| *port != 0);
    SocketAddr::new(any, port.unwrap_or(SOLVER_PORT))
}
