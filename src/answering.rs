//! Who answers the challenges: this process, or a Pod that is started for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::adapters::acme::Account;
use crate::adapters::responder::Responder;
use crate::cli::Reach;
use crate::decide::name::RUN_LABEL;
use crate::decide::observed::Leftover;
use crate::decide::route::{Backend, Home, JOB_LABEL};
use crate::decide::solver::{SOLVER_PORT, Template, solver_pod};
use crate::world::{World, pod};

/// Somebody who answers challenges, and how the cluster gets there.
pub struct Answering {
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

impl Answering {
    /// Starts answering for this account.
    ///
    /// It may be dropped at any time: what it made in the cluster goes with the other objects of the run.
    ///
    /// # Errors
    /// Where nobody would answer.
    pub async fn start(world: &World, account: &Account) -> anyhow::Result<Self> {
        match &world.challenge.reach {
            Reach::Address(address) => Self::here(world, account, |port| Backend::Address(*address, port)),
            Reach::Job { controller_uid } => Self::here(world, account, |port| Backend::Pod {
                label: (JOB_LABEL, controller_uid.clone()),
                port,
            }),
            Reach::Solver(template) => Self::in_a_pod(world, account, template).await,
            Reach::Unknown => anyhow::bail!("nothing says how challenges can be answered"),
        }
    }

    fn here(world: &World, account: &Account, backend: impl FnOnce(u16) -> Backend) -> anyhow::Result<Self> {
        let responder = Responder::start(world.challenge.listen, account.thumbprint(), &world.run)?;
        Ok(Self {
            home: world.home(),
            backend: backend(responder.port()),
            by: By::Us { _responder: responder },
        })
    }

    async fn in_a_pod(world: &World, account: &Account, template: &Template) -> anyhow::Result<Self> {
        let home = world.home();
        let listen = listen_in_a_pod(world.challenge.listen);
        let solver = solver_pod(&home, template, account.thumbprint(), &listen.to_string());
        let made = world.site.cluster.start_solver(&home, &solver).await?;
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
    pub async fn rehearse(world: &World) -> anyhow::Result<()> {
        if let Reach::Solver(template) = &world.challenge.reach {
            let listen = listen_in_a_pod(world.challenge.listen).to_string();
            let solver = solver_pod(&world.home(), template, "rehearsal", &listen);
            world.site.cluster.rehearse_solver(&solver).await?;
        }
        Ok(())
    }

    /// Ends when nobody answers any more, with why. This process does until it ends.
    pub async fn lost(&self, world: &World) -> String {
        match &self.by {
            By::Us { .. } => std::future::pending().await,
            By::Pod(pod) => world.site.cluster.solver_ended(pod).await,
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
