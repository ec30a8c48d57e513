//! How a CA's question reaches the responder: routes, the challenge objects as values, and the table of ingress controllers.

mod chunks;
mod controllers;
mod diagnosis;
mod http_route;
mod listener;
mod objects;
mod rule;
mod serving;

pub use chunks::{Chunk, RULES_PER_INGRESS, chunks};
pub use controllers::{CONTROLLERS, Controller, Deeper, Hosts, Proof, class_name, class_object, controller, proof};
pub use diagnosis::{diagnosis, hairpin};
pub use http_route::{HTTP_ROUTE_HOSTNAMES, challenge_http_route, http_route_name, reference_grants};
pub(super) use listener::{http_listener, specificity, ways_in};
pub use objects::{
    Backend, BackendObjects, CHALLENGE_NAME, Home, JOB_LABEL, RUN_HEADER, SERVICE_PORT, backend_objects,
    challenge_ingress, ingress_name,
};
pub use rule::{ListenerRef, Route, RuleHost, Via};
pub(super) use serving::Serving;
