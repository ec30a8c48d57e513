//! Who answers the challenges: this process, or a Pod that is started for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::adapters::acme::Account;
use crate::adapters::responder::Responder;
use crate::apply::context::{Context, pod};
use crate::cli::Reach;
use crate::decide::name::RUN_LABEL;
use crate::decide::observed::Leftover;
use crate::decide::route::{Backend, Home, JOB_LABEL};
use crate::decide::solver_pod::{SOLVER_PORT, Template, solver_pod};

/// Somebody who answers challenges, and how the cluster gets there.
pub struct Solver {
    /// Whose the objects are that lead there.
    pub home: Home,
    /// Where they lead.
    pub backend: Backend,
    by: By,
}

enum By {
    /// It answers as long as this is kept.
    Us { _responder: Responder },
    /// This Pod.
    Pod(Leftover),
}

impl Solver {
    /// Starts answering for this account.
    ///
    /// It may be dropped at any time: what it made in the cluster goes with the other objects of the run.
    ///
    /// # Errors
    /// Where nobody would answer.
    pub async fn start(context: &Context, account: &Account) -> anyhow::Result<Self> {
        match &context.challenge.reach {
            Reach::Address(address) => Self::here(context, account, |port| Backend::Address(*address, port)),
            Reach::Job { controller_uid } => Self::here(context, account, |port| Backend::Pod {
                label: (JOB_LABEL, controller_uid.clone()),
                port,
            }),
            Reach::Solver(template) => Self::in_a_pod(context, account, template).await,
            Reach::Unknown => anyhow::bail!("nothing says how challenges can be answered"),
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

    /// Asks whether it could be started, before anything is.
    ///
    /// # Errors
    /// Where it could not.
    pub async fn rehearse(context: &Context) -> anyhow::Result<()> {
        if let Reach::Solver(template) = &context.challenge.reach {
            let listen = listen_in_a_pod(context.challenge.listen).to_string();
            let solver = solver_pod(&context.home(), template, "rehearsal", &listen);
            context.site.cluster.rehearse_solver(&solver).await?;
        }
        Ok(())
    }

    /// Ends when nobody answers any more, with why. This process does until it ends.
    pub async fn lost(&self, context: &Context) -> String {
        match &self.by {
            By::Us { .. } => std::future::pending().await,
            By::Pod(pod) => context.site.cluster.solver_ended(pod).await,
        }
    }
}

/// Of the listener's address only family and port mean anything there, and a port of the system's choice would have to be
/// asked for.
fn listen_in_a_pod(listen: SocketAddr) -> SocketAddr {
    let any: IpAddr = match listen {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let port = Some(listen.port()).filter(|port| *port != 0);
    SocketAddr::new(any, port.unwrap_or(SOLVER_PORT))
}
