//! The challenge objects as values: the Ingresses, the Service that they lead to, and what stands behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::controllers::{Controller, controller};
use super::rule::RuleHost;
use crate::decide::name::{ClassName, MANAGED_BY, RUN_LABEL, RunId};
use crate::decide::observed::{CHALLENGE_PATH, IngressClass};

/// The header in which the responder names its run, so that a probe tells it from another's.
pub const RUN_HEADER: &str = "kube-lego-once-run";
/// The Service, its EndpointSlice and Endpoints, and the first part of every challenge Ingress's name.
pub const CHALLENGE_NAME: &str = "kube-lego-once";
/// The label by which the Job controller marks the Pods of a Job.
pub const JOB_LABEL: &str = "batch.kubernetes.io/controller-uid";
/// The port of the challenge Service.
pub const SERVICE_PORT: u16 = 80;
/// What keeps programs away that act on every Ingress or Service that they see.
const KEEP_OFF: &[(&str, &str)] = &[
    // external-dns skips an object whose value is not its own, `dns-controller` (read in its source). Without this it makes
    // records for the hosts of challenge rules, and removes them with the challenge. The second key is that of 0.22.0 and newer.
    ("external-dns.alpha.kubernetes.io/controller", "kube-lego-once"),
    ("external-dns.kubernetes.io/controller", "kube-lego-once"),
    // kuma-ingress-watcher makes a monitor for each Ingress, and Hajimari can list each (read in their sources).
    ("uptime-kuma.autodiscovery.probe.enabled", "false"),
    ("hajimari.io/enable", "false"),
];

/// Where the responder listens, as the cluster reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A host outside of the cluster, by address: a Service without selector, and a slice that holds this one.
    Address(IpAddr, u16),
    /// A Pod. The Service selects it, so that it points nowhere once the Pod is gone, never at a stranger with the same address.
    Pod {
        /// A label that no other Pod has, and its value.
        label: (&'static str, String),
        /// The responder's port.
        port: u16,
    },
}

/// The objects that lead from the challenge Ingresses to the responder.
#[derive(Clone, Debug)]
pub struct BackendObjects {
    /// The Service.
    pub service: core::Service,
    /// For an address: its EndpointSlice.
    pub endpoint_slice: Option<discovery::EndpointSlice>,
    /// For an address: the same as Endpoints, for controllers that read only those.
    #[allow(deprecated, reason = "haproxy-ingress v0.14 reads nothing else")]
    pub endpoints: Option<core::Endpoints>,
}

/// Which run the objects belong to, and where they live.
#[derive(Clone, Debug)]
pub struct Home {
    /// The home namespace.
    pub namespace: String,
    /// The run.
    pub run: RunId,
    /// The run's own Pod, where it is one: the garbage collector's backstop if nobody withdraws.
    pub owner: Option<OwnerReference>,
}

impl Home {
    pub(in crate::decide) fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([
                (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
                (RUN_LABEL.to_owned(), self.run.to_string()),
            ])),
            annotations: Some(
                KEEP_OFF
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }
}

/// The Service and what stands behind it.
pub fn backend_objects(home: &Home, backend: &Backend) -> BackendObjects {
    let (selector, port) = match backend {
        Backend::Address(_, port) => (None, *port),
        Backend::Pod {
            label: (name, value),
            port,
        } => (Some(BTreeMap::from([((*name).to_owned(), value.clone())])), *port),
    };
    let service = core::Service {
        metadata: home.metadata(CHALLENGE_NAME.to_owned()),
        spec: Some(core::ServiceSpec {
            // Nothing but our own slice stands behind it then, whose family may be either. A selector would also find the other
            // address of a Pod, at which the responder may not listen.
            ip_family_policy: selector.is_none().then(|| "PreferDualStack".into()),
            selector,
            ports: Some(vec![core::ServicePort {
                name: Some("http".into()),
                port: SERVICE_PORT.into(),
                target_port: Some(IntOrString::Int(port.into())),
                ..core::ServicePort::default()
            }]),
            ..core::ServiceSpec::default()
        }),
        ..core::Service::default()
    };
    let Backend::Address(address, port) = backend else {
        return BackendObjects {
            service,
            endpoint_slice: None,
            endpoints: None,
        };
    };
    BackendObjects {
        service,
        endpoint_slice: Some(endpoint_slice(home, *address, *port)),
        endpoints: Some(endpoints(home, *address, *port)),
    }
}

fn endpoint_slice(home: &Home, address: IpAddr, port: u16) -> discovery::EndpointSlice {
    let mut metadata = home.metadata(CHALLENGE_NAME.to_owned());
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("kubernetes.io/service-name".into(), CHALLENGE_NAME.into());
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), "kube-lego-once".into());
    discovery::EndpointSlice {
        metadata,
        address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.into(),
        endpoints: Some(vec![discovery::Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(discovery::EndpointConditions {
                ready: Some(true),
                ..Default::default()
            }),
            ..discovery::Endpoint::default()
        }]),
        ports: Some(vec![discovery::EndpointPort {
            name: Some("http".into()),
            port: Some(port.into()),
            protocol: Some("TCP".into()),
            ..discovery::EndpointPort::default()
        }]),
    }
}

#[allow(deprecated, reason = "haproxy-ingress v0.14 reads nothing else")]
fn endpoints(home: &Home, address: IpAddr, port: u16) -> core::Endpoints {
    let mut metadata = home.metadata(CHALLENGE_NAME.to_owned());
    // The slice above says it already; a mirrored copy would answer twice.
    metadata
        .labels
        .get_or_insert_default()
        .insert("endpointslice.kubernetes.io/skip-mirror".into(), "true".into());
    core::Endpoints {
        metadata,
        subsets: Some(vec![core::EndpointSubset {
            addresses: Some(vec![core::EndpointAddress {
                ip: address.to_string(),
                ..Default::default()
            }]),
            ports: Some(vec![core::EndpointPort {
                name: Some("http".into()),
                port: port.into(),
                protocol: Some("TCP".into()),
                ..core::EndpointPort::default()
            }]),
            ..core::EndpointSubset::default()
        }]),
    }
}

/// The name of a class's `index`-th challenge Ingress, counted from 0: `kube-lego-once-<class>[-N]`.
pub fn ingress_name(class: &ClassName, index: usize) -> String {
    let label: String = class
        .as_str()
        .unwrap_or("default")
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(40)
        .collect();
    let label = match label.trim_matches('-') {
        // An annotation's value may hold no letter or digit at all, and no name ends with a dash.
        "" => "other",
        label => label,
    };
    match index {
        0 => format!("{CHALLENGE_NAME}-{label}"),
        n => format!("{CHALLENGE_NAME}-{label}-{n}"),
    }
}

/// A challenge Ingress with these rules for a class, under a name from [`ingress_name`].
pub fn challenge_ingress(
    home: &Home,
    name: String,
    class: &ClassName,
    rules: &BTreeSet<RuleHost>,
    classes: &[IngressClass],
) -> networking::Ingress {
    let row = controller(class, classes);
    let mut metadata = home.metadata(name);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(
        row.annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    let ingress_class_name = match class {
        ClassName::Spec(name) => Some(name.to_string()),
        ClassName::Annotation(name) => {
            annotations.insert("kubernetes.io/ingress.class".into(), name.to_string());
            None
        }
        ClassName::Default => None,
    };
    networking::Ingress {
        metadata,
        spec: Some(networking::IngressSpec {
            ingress_class_name,
            rules: Some(rules.iter().map(|host| challenge_rule(host, row)).collect()),
            ..networking::IngressSpec::default()
        }),
        status: None,
    }
}

fn challenge_rule(host: &RuleHost, row: &Controller) -> networking::IngressRule {
    networking::IngressRule {
        host: host.name().map(ToString::to_string),
        http: Some(networking::HTTPIngressRuleValue {
            paths: vec![networking::HTTPIngressPath {
                path: Some(format!("{CHALLENGE_PATH}/")),
                path_type: row.path_type.into(),
                backend: networking::IngressBackend {
                    service: Some(networking::IngressServiceBackend {
                        name: CHALLENGE_NAME.into(),
                        port: Some(networking::ServiceBackendPort {
                            number: Some(SERVICE_PORT.into()),
                            name: None,
                        }),
                    }),
                    resource: None,
                },
            }],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home {
            namespace: "kube-lego".into(),
            run: "r1".parse().expect("an id"),
            owner: None,
        }
    }

    #[test]
    fn a_challenge_ingress_has_what_its_controller_needs_and_keeps_other_programs_off() {
        let class = ClassName::Annotation("nginx".into());
        let rules = ["a.example", "*.b.example"].map(|host| RuleHost::Named(host.parse().expect("a host")));
        let rules = rules.into_iter().chain([RuleHost::Any]).collect();
        let ingress = challenge_ingress(&home(), ingress_name(&class, 0), &class, &rules, &[]);
        assert_eq!(ingress.metadata.name.as_deref(), Some("kube-lego-once-nginx"));
        let spec = ingress.spec.expect("a spec");
        let hosts: Vec<_> = spec.rules.into_iter().flatten().map(|rule| rule.host).collect();
        assert_eq!(hosts, [None, Some("*.b.example".into()), Some("a.example".into())]);
        assert_eq!(spec.ingress_class_name, None);
        let annotations = ingress.metadata.annotations.expect("annotations");
        assert_eq!(annotations["kubernetes.io/ingress.class"], "nginx");
        assert_eq!(annotations["nginx.ingress.kubernetes.io/ssl-redirect"], "false");
        for key in [
            "external-dns.alpha.kubernetes.io/controller",
            "external-dns.kubernetes.io/controller",
        ] {
            assert_eq!(annotations[key], "kube-lego-once");
        }
        assert_eq!(annotations["hajimari.io/enable"], "false");
    }

    #[test]
    fn a_class_becomes_a_label() {
        for (class, index, expected) in [
            (ClassName::Default, 0, "kube-lego-once-default"),
            (
                ClassName::Spec("Public_LB.example".into()),
                2,
                "kube-lego-once-public-lb-example-2",
            ),
        ] {
            assert_eq!(ingress_name(&class, index), expected);
        }
    }

    #[test]
    fn a_pod_is_selected_and_an_address_is_written_down() {
        let pod = backend_objects(
            &home(),
            &Backend::Pod {
                label: (JOB_LABEL, "u".into()),
                port: 8080,
            },
        );
        let selector = pod.service.spec.and_then(|spec| spec.selector).expect("a selector");
        assert_eq!(selector[JOB_LABEL], "u");
        assert!(pod.endpoint_slice.is_none() && pod.endpoints.is_none());
        let address = backend_objects(
            &home(),
            &Backend::Address("192.0.2.1".parse().expect("an address"), 8080),
        );
        let spec = address.service.spec.expect("a spec");
        assert_eq!(spec.selector, None);
        assert_eq!(spec.ip_family_policy.as_deref(), Some("PreferDualStack"));
        let slice = address.endpoint_slice.expect("a slice");
        assert_eq!(slice.endpoints.expect("endpoints")[0].addresses, ["192.0.2.1"]);
    }
}
