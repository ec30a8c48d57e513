//! How an authority's question reaches the responder: the challenge objects as values, and the table of ingress controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::name::{ClassName, DnsName, RUN_LABEL, RunId, SecretRef};
use super::observed::{CHALLENGE_PATH, IngressClass};
use super::serving::RuleHost;

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
    // external-dns passes over an object whose value is not its own, `dns-controller` (read in its source). Without this it makes
    // records for the hosts of challenge rules, and takes them away with the challenge.
    ("external-dns.alpha.kubernetes.io/controller", "kube-lego-once"),
];
/// Rules in one challenge Ingress. At about 300 bytes each an Ingress stays well under what etcd takes (1.5 MiB).
pub const RULES_PER_INGRESS: usize = 200;

/// What is known of an ingress controller, and how that was learnt.
#[derive(Debug)]
pub struct Controller {
    /// `spec.controller` of its IngressClass.
    pub controller: &'static str,
    /// Class names by which it goes where there is no IngressClass object.
    pub classes: &'static [&'static str],
    /// The challenge Ingress's path type. Every controller measured takes `ImplementationSpecific` as a prefix, but one.
    pub path_type: &'static str,
    /// Annotations that keep redirects, authentication and address lists away from the challenge.
    pub annotations: &'static [(&'static str, &'static str)],
    /// How it finds the rule for a host, where the API leaves that open.
    pub hosts: Hosts,
    /// Why it cannot serve a challenge Ingress beside the user's own.
    pub refusal: Option<&'static str>,
    /// How we know.
    pub learnt: &'static str,
}

/// How a controller finds the rule for a host, where the API leaves that open.
#[derive(Debug)]
pub struct Hosts {
    /// What it does with `a.b.example.com` where a rule has `*.example.com`, which is for one label
    /// (<https://kubernetes.io/docs/concepts/services-networking/ingress/#hostname-wildcards>).
    pub deeper: Deeper,
    /// Whether a rule without paths makes the host one of its own, served by a default backend.
    pub pathless: bool,
    /// Annotations that name more hosts for an Ingress's rules, separated by commas.
    pub aliases: &'static [&'static str],
    /// The annotation by which `example.com` is served for `www.example.com` too, and the reverse.
    pub www: Option<&'static str>,
}

/// What becomes of a request for a name that lies more than one label below a wildcard rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deeper {
    /// The wildcard rule serves it.
    Served,
    /// The wildcard rule catches it and answers that there is nothing.
    Caught,
    /// It is as if the wildcard rule were not there.
    Passed,
}

const PLAIN: Hosts = Hosts {
    deeper: Deeper::Passed,
    pathless: false,
    aliases: &[],
    www: None,
};

/// The controllers that need something of their own; the last row is everybody else.
pub const CONTROLLERS: &[Controller] = &[
    Controller {
        controller: "k8s.io/ingress-nginx",
        classes: &["nginx"],
        path_type: "ImplementationSpecific",
        annotations: &[
            ("nginx.ingress.kubernetes.io/ssl-redirect", "false"),
            ("nginx.ingress.kubernetes.io/whitelist-source-range", "0.0.0.0/0,::/0"),
            ("nginx.ingress.kubernetes.io/enable-global-auth", "false"),
        ],
        // Read in its source: a server for each host of a rule, paths or not; nginx's own wildcards cover any depth.
        hosts: Hosts {
            deeper: Deeper::Served,
            pathless: true,
            aliases: &["nginx.ingress.kubernetes.io/server-alias"],
            www: Some("nginx.ingress.kubernetes.io/from-to-www-redirect"),
        },
        refusal: None,
        learnt: "measured with main after v1.11.0",
    },
    Controller {
        controller: "haproxy-ingress.github.io/controller",
        classes: &["haproxy"],
        path_type: "ImplementationSpecific",
        annotations: &[("haproxy-ingress.github.io/ssl-redirect", "false")],
        hosts: Hosts {
            aliases: &["haproxy-ingress.github.io/server-alias"],
            ..PLAIN
        },
        refusal: None,
        learnt: "measured with v0.14.7",
    },
    Controller {
        controller: "istio.io/ingress-controller",
        classes: &["istio"],
        path_type: "Prefix",
        annotations: &[],
        hosts: PLAIN,
        refusal: None,
        learnt: "measured: ImplementationSpecific is an exact match there",
    },
    Controller {
        controller: "nginx.org/ingress-controller",
        classes: &[],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        refusal: Some("NGINX Inc.'s controller refuses one host in two Ingresses"),
        learnt: "read in its documentation",
    },
    Controller {
        controller: "k8s.io/ingress-gce",
        classes: &["gce", "gce-internal"],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        refusal: Some(
            "GKE makes (and bills) a load balancer for each Ingress, so a second Ingress never serves the host's address",
        ),
        learnt: "read in its documentation",
    },
    Controller {
        controller: "ingress.k8s.aws/alb",
        classes: &["alb"],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        refusal: Some("the AWS load balancer controller makes (and bills) a load balancer for each Ingress"),
        learnt: "read in its documentation",
    },
    Controller {
        controller: "projectcontour.io/ingress-controller",
        classes: &["contour"],
        path_type: "ImplementationSpecific",
        annotations: &[],
        // Envoy's wildcards cover any depth, and Contour lets them serve one label.
        hosts: Hosts {
            deeper: Deeper::Caught,
            ..PLAIN
        },
        refusal: None,
        learnt: "measured with Contour v1.33.8",
    },
    Controller {
        controller: "",
        classes: &[],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        refusal: None,
        learnt: "measured with Traefik v3.7.13",
    },
];

/// The IngressClass that a class means, where there is one.
pub fn class_object<'a>(class: &ClassName, classes: &'a [IngressClass]) -> Option<&'a IngressClass> {
    match class.as_str() {
        Some(name) => classes.iter().find(|class| class.name == name),
        // One is enough. Of several Kubernetes takes the newest, and ages are not kept here: the first by name, whatever their order.
        None => classes
            .iter()
            .filter(|class| class.is_default)
            .min_by(|a, b| a.name.cmp(&b.name)),
    }
}

/// The row for a class: by its IngressClass's controller, else by its name, else the last one.
pub fn controller(class: &ClassName, classes: &[IngressClass]) -> &'static Controller {
    let object = class_object(class, classes);
    let by_controller = object.and_then(|object| CONTROLLERS.iter().find(|row| row.controller == object.controller));
    let by_name = || {
        let name = class.as_str().filter(|_| object.is_none())?;
        CONTROLLERS.iter().find(|row| row.classes.contains(&name))
    };
    by_controller
        .or_else(by_name)
        .unwrap_or_else(|| CONTROLLERS.last().expect("the table is not empty"))
}

/// A host that must be answered for, the class whose controller serves it, and the certificate that needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Which controller serves it.
    pub class: ClassName,
    /// The host.
    pub host: DnsName,
    /// The host of the challenge's rule, under which the controller serves the host now (I8).
    pub rule: RuleHost,
    /// The certificate.
    pub secret: SecretRef,
}

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
    pub(super) fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/managed-by".to_owned(), "kube-lego-once".to_owned()),
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

/// Some routes of one class, to become one challenge Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The class.
    pub class: ClassName,
    /// The routes, sorted by certificate.
    pub routes: Vec<Route>,
}

impl Chunk {
    /// The certificates that need it.
    pub fn secrets(&self) -> BTreeSet<&SecretRef> {
        self.routes.iter().map(|route| &route.secret).collect()
    }

    /// The hosts of its rules, each once, whichever certificates need it.
    pub fn rules(&self) -> BTreeSet<RuleHost> {
        self.routes.iter().map(|route| route.rule.clone()).collect()
    }

    /// Two chunks of about the same number of certificates each; nothing where there is only one certificate.
    pub fn halve(&self) -> Option<(Self, Self)> {
        let secrets = self.secrets();
        let pivot = (*secrets.iter().nth(secrets.len() / 2)?).clone();
        let (left, right): (Vec<_>, Vec<_>) = self.routes.iter().cloned().partition(|route| route.secret < pivot);
        if left.is_empty() {
            return None;
        }
        Some((
            Self {
                class: self.class.clone(),
                routes: left,
            },
            Self {
                class: self.class.clone(),
                routes: right,
            },
        ))
    }
}

/// The routes of a batch by class, in chunks that one Ingress can carry. A certificate's routes stay together.
pub fn chunks(routes: &BTreeSet<Route>) -> Vec<Chunk> {
    let mut by_class: BTreeMap<&ClassName, BTreeMap<&SecretRef, Vec<&Route>>> = BTreeMap::new();
    for route in routes {
        by_class
            .entry(&route.class)
            .or_default()
            .entry(&route.secret)
            .or_default()
            .push(route);
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    for (class, certificates) in by_class {
        let mut open = Chunk {
            class: class.clone(),
            routes: Vec::new(),
        };
        for routes in certificates.into_values() {
            if !open.routes.is_empty() && open.routes.len() + routes.len() > RULES_PER_INGRESS {
                let full = std::mem::replace(
                    &mut open,
                    Chunk {
                        class: class.clone(),
                        routes: Vec::new(),
                    },
                );
                chunks.push(full);
            }
            open.routes.extend(routes.into_iter().cloned());
        }
        chunks.push(open);
    }
    chunks
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
        ClassName::Spec(name) => Some(name.clone()),
        ClassName::Annotation(name) => {
            annotations.insert("kubernetes.io/ingress.class".into(), name.clone());
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

    fn route(secret: usize, host: &str) -> Route {
        Route {
            class: ClassName::Spec("contour".into()),
            host: host.parse().expect("a host"),
            rule: RuleHost::Named(host.parse().expect("a host")),
            secret: SecretRef::new("web", format!("s{secret:03}")),
        }
    }

    fn home() -> Home {
        Home {
            namespace: "kube-lego".into(),
            run: "r1".parse().expect("an id"),
            owner: None,
        }
    }

    #[test]
    fn a_chunk_is_full_before_the_next_begins_and_holds_whole_certificates() {
        let routes: BTreeSet<Route> = (0..150)
            .flat_map(|n| [route(n, &format!("a{n}.example")), route(n, &format!("b{n}.example"))])
            .collect();
        let chunks = chunks(&routes);
        let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.routes.len()).collect();
        assert_eq!(sizes, [200, 100]);
        assert!(chunks[0].secrets().is_disjoint(&chunks[1].secrets()));
    }

    #[test]
    fn halving_ends_with_each_certificate_alone() {
        let routes: BTreeSet<Route> = (0..7).map(|n| route(n, &format!("a{n}.example"))).collect();
        let mut open = chunks(&routes);
        let mut alone = 0;
        while let Some(chunk) = open.pop() {
            match chunk.halve() {
                Some((left, right)) => open.extend([left, right]),
                None => alone += 1,
            }
        }
        assert_eq!(alone, 7);
    }

    #[test]
    fn a_controller_is_known_by_its_class_object_then_by_the_class_name() {
        let class = |name: &str, controller: &str, is_default| IngressClass {
            name: name.into(),
            controller: controller.into(),
            is_default,
        };
        let classes = [
            class("public", "k8s.io/ingress-nginx", true),
            class("second-default", "k8s.io/ingress-gce", true),
            class("istio", "example.com/other", false),
        ];
        for (name, expected) in [
            (ClassName::Spec("public".into()), "k8s.io/ingress-nginx"),
            (ClassName::Default, "k8s.io/ingress-nginx"),
            (ClassName::Annotation("nginx".into()), "k8s.io/ingress-nginx"),
            (ClassName::Annotation("gce".into()), "k8s.io/ingress-gce"),
            (ClassName::Spec("istio".into()), ""),
            (
                ClassName::Spec("contour".into()),
                "projectcontour.io/ingress-controller",
            ),
            (ClassName::Spec("traefik".into()), ""),
        ] {
            assert_eq!(controller(&name, &classes).controller, expected, "{name}");
            let reversed: Vec<_> = classes.iter().rev().cloned().collect();
            assert_eq!(controller(&name, &reversed).controller, expected, "{name}");
        }
    }

    #[test]
    fn a_host_that_two_certificates_need_is_one_rule() {
        let chunk = Chunk {
            class: ClassName::Annotation("nginx".into()),
            routes: vec![route(1, "a.example"), route(2, "a.example")],
        };
        let ingress = challenge_ingress(
            &home(),
            ingress_name(&chunk.class, 0),
            &chunk.class,
            &chunk.rules(),
            &[],
        );
        assert_eq!(ingress.metadata.name.as_deref(), Some("kube-lego-once-nginx"));
        let spec = ingress.spec.expect("a spec");
        assert_eq!(spec.rules.map(|rules| rules.len()), Some(1));
        assert_eq!(spec.ingress_class_name, None);
        let annotations = ingress.metadata.annotations.expect("annotations");
        assert_eq!(annotations["kubernetes.io/ingress.class"], "nginx");
        assert_eq!(annotations["nginx.ingress.kubernetes.io/ssl-redirect"], "false");
        assert_eq!(
            annotations["external-dns.alpha.kubernetes.io/controller"],
            "kube-lego-once"
        );
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
        assert_eq!(address.service.spec.and_then(|spec| spec.selector), None);
        let slice = address.endpoint_slice.expect("a slice");
        assert_eq!(slice.endpoints.expect("endpoints")[0].addresses, ["192.0.2.1"]);
    }
}
