//! Who answers the challenges: this process, or a Pod that is started for it.

use std::net::SocketAddr;

use crate::adapters::acme::Account;
use crate::adapters::responder::Responder;
use crate::cli::Reach;
use crate::decide::name::RUN_LABEL;
use crate::decide::route::{Backend, Home, JOB_LABEL};
use crate::decide::solver::{SOLVER_PORT, Template, solver_pod};
use crate::world::{World, pod};

/// Somebody who answers challenges, and how the cluster gets there.
pub struct Answering {
    /// Whose the objects are that lead there.
    pub home: Home,
    /// Where they lead.
    pub backend: Backend,
    /// It answers as long as this is kept, where it is not a Pod.
    _responder: Option<Responder>,
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
            _responder: Some(responder),
        })
    }

    async fn in_a_pod(world: &World, account: &Account, template: &Template) -> anyhow::Result<Self> {
        let listen = world.challenge.listen;
        // A port of the system's choice would have to be asked for.
        let port = Some(listen.port()).filter(|port| *port != 0).unwrap_or(SOLVER_PORT);
        let listen = SocketAddr::new(listen.ip(), port).to_string();
        let home = world.home();
        let solver = solver_pod(&home, template, account.thumbprint(), &listen);
        let uid = world.site.cluster.start_solver(&home, &solver).await?;
        let name = solver.metadata.name.unwrap_or_default();
        log::info!("Pod `{}/{name}` answers the challenges", home.namespace);
        Ok(Self {
            backend: Backend::Pod {
                label: (RUN_LABEL, home.run.to_string()),
                port,
            },
            home: Home {
                owner: Some(pod(name, uid)),
                ..home
            },
            _responder: None,
        })
    }
}
