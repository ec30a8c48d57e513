//! How a CA's question reaches the responder: routes, the challenge objects as values, and the table of ingress controllers.

mod chunks;
mod controllers;
mod diagnosis;
mod objects;
mod rule;
mod serving;

pub use chunks::{Chunk, RULES_PER_INGRESS, chunks};
pub use controllers::{CONTROLLERS, Controller, Deeper, Hosts, Proof, class_name, class_object, controller};
pub use diagnosis::{diagnosis, hairpin};
pub use objects::{
    Backend, BackendObjects, CHALLENGE_NAME, Home, JOB_LABEL, RUN_HEADER, SERVICE_PORT, backend_objects,
    challenge_ingress, ingress_name,
};
pub use rule::{Route, RuleHost};
pub(super) use serving::Serving;
