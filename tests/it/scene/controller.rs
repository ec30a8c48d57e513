//! What serves Ingresses or Gateways in the test cluster.

use serde_json::{Value, json};

use super::cluster;

/// An ingress controller of the test cluster.
#[derive(Clone, Debug)]
pub struct Controller {
    /// As `--controllers` has it.
    pub name: String,
    pub class: String,
    pub http_port: u16,
    pub https_port: u16,
    /// Where it redirects all of HTTP to HTTPS, if it has such a port beside the other.
    pub redirecting_port: Option<u16>,
    /// The ports that a Gateway's listeners have, to be asked at those.
    pub listener_ports: (u16, u16),
    /// The namespace that its Gateways have to be in, where it is one.
    pub gateways_in: Option<String>,
    /// The name of the one Gateway that it serves, where it is one.
    pub only_gateway: Option<String>,
    /// What its Gateways have in their `spec` besides class and listeners, as a line of YAML.
    pub gateway_spec: String,
    /// It reads ListenerSets.
    pub listener_sets: bool,
}

impl Controller {
    /// The one that is always there.
    pub fn contour() -> Self {
        Self::of(
            "contour",
            &json!({"class": "contour", "http_port": cluster()["http_port"], "https_port": cluster()["https_port"]}),
        )
    }

    /// All that run here.
    pub fn all() -> Vec<Self> {
        let further = cluster()["controllers"].as_object().expect("an object").iter();
        let further = further.map(|(name, about)| Self::of(name, about));
        [Self::contour()].into_iter().chain(further).collect()
    }

    fn of(name: &str, about: &Value) -> Self {
        let number = |value: &Value| Some(u16::try_from(value.as_u64()?).expect("a port"));
        let port = |key: &str| number(&about[key]).expect("a port");
        Self {
            name: name.to_owned(),
            class: about["class"].as_str().expect("a class").to_owned(),
            http_port: port("http_port"),
            https_port: port("https_port"),
            redirecting_port: number(&about["redirecting_port"]),
            listener_ports: match about["listener_http_port"].is_null() {
                true => (port("http_port"), port("https_port")),
                false => (port("listener_http_port"), port("listener_https_port")),
            },
            gateways_in: about["gateways"]["namespace"].as_str().map(str::to_owned),
            only_gateway: about["gateways"]["only"].as_str().map(str::to_owned),
            gateway_spec: about["gateways"]["spec"].as_str().unwrap_or_default().to_owned(),
            listener_sets: about["listener_sets"] == true,
        }
    }
}
