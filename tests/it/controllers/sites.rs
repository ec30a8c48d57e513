//! The ways in which people use an ingress controller: each is a function from a place to its manifests.

use serde_json::{Value, json};

use kube_lego_once::decide::observed::CHALLENGE_PREFIX;

use super::front;
use crate::scene::{Controller, Scene, kubectl};

/// Where a case is laid out.
pub struct Site<'a> {
    pub scene: &'a Scene,
    pub namespace: &'a str,
    pub host: &'a str,
}

/// How a case has to end. Nothing is ordered, but where it is issued.
#[derive(Clone, Copy, PartialEq)]
pub enum Ends {
    Issued,
    /// For this reason.
    Refused(&'static str),
    /// With this hint.
    Failed(&'static str),
}

pub struct Case {
    pub name: &'static str,
    /// As the table says it.
    pub what: &'static str,
    /// How many certificates it wants.
    pub certificates: usize,
    /// Of how many classes, each of which has a challenge Ingress of its own.
    pub classes: usize,
    /// How it has to end.
    pub ends: fn(&Controller) -> Ends,
    /// The controller, where another of its ports is asked.
    pub entrance: fn(&Controller) -> Controller,
    /// The manifests; nothing where the controller has no such thing.
    pub manifests: fn(&Site<'_>) -> Option<String>,
    /// Takes back what it did beside its manifests.
    pub after: fn(&Controller),
}

const fn case(name: &'static str, what: &'static str, manifests: fn(&Site<'_>) -> Option<String>) -> Case {
    Case {
        name,
        what,
        certificates: 1,
        classes: 1,
        ends: |_| Ends::Issued,
        entrance: Clone::clone,
        manifests,
        after: |_| {},
    }
}

pub const SIDE_BY_SIDE: &[Case] = &[
    case("plain", "plain", |site| Some(site.plain())),
    case("https", "the application forces HTTPS", |site| {
        site.annotated(match site.dialect() {
            Dialect::Nginx => &[("nginx.ingress.kubernetes.io/force-ssl-redirect", "true")],
            Dialect::Haproxy => &[("haproxy-ingress.github.io/ssl-redirect", "true")],
            Dialect::Contour => &[("ingress.kubernetes.io/force-ssl-redirect", "true")],
            Dialect::Traefik => &[("traefik.ingress.kubernetes.io/router.entrypoints", "websecure")],
        })
    }),
    case("basic", "basic authentication", |site| {
        let users = match site.dialect() {
            // In SHA-1, as htpasswd -s writes it.
            Dialect::Nginx => "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n",
            _ => "user::password\n",
        };
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users", "namespace": site.namespace},
            "stringData": {"auth": users},
        });
        let ingress = site.in_dialect(
            &[
                ("nginx.ingress.kubernetes.io/auth-type", "basic"),
                ("nginx.ingress.kubernetes.io/auth-secret", "users"),
            ],
            &[("haproxy-ingress.github.io/auth-secret", "users")],
        )?;
        Some(format!("---\n{secret}\n{}", text(&ingress)))
    }),
    case("auth", "external authentication, which answers nobody", |site| {
        let ingress = site.in_dialect(
            &[("nginx.ingress.kubernetes.io/auth-url", NOBODY)],
            &[("haproxy-ingress.github.io/auth-url", NOBODY)],
        );
        Some(text(&ingress?))
    }),
    case("whitelist", "a list of addresses that may come", |site| {
        let ingress = site.in_dialect(
            &[("nginx.ingress.kubernetes.io/whitelist-source-range", ELSEWHERE)],
            &[("haproxy-ingress.github.io/allowlist-source-range", ELSEWHERE)],
        );
        Some(text(&ingress?))
    }),
    case("rewrite", "paths by regular expression, rewritten", |site| {
        let mut ingress = site.in_dialect(
            &[
                ("nginx.ingress.kubernetes.io/use-regex", "true"),
                ("nginx.ingress.kubernetes.io/rewrite-target", "/$1"),
            ],
            &[
                ("haproxy-ingress.github.io/path-type", "regex"),
                ("haproxy-ingress.github.io/rewrite-target", "/rewritten"),
            ],
        )?;
        ingress["spec"]["rules"][0]["http"]["paths"] = json!([path("/(.*)", "ImplementationSpecific")]);
        Some(text(&ingress))
    }),
    case("canary", "a canary Ingress of the same host", |site| {
        let mut canary = site.ingress(&[
            ("nginx.ingress.kubernetes.io/canary", "true"),
            ("nginx.ingress.kubernetes.io/canary-weight", "50"),
        ]);
        canary["metadata"]["name"] = json!("canary");
        canary["metadata"]["annotations"]
            .as_object_mut()
            .expect("annotations")
            .remove(&site.scene.annotation);
        canary["spec"].as_object_mut().expect("a spec").remove("tls");
        let canary = text(&canary);
        (site.dialect() == Dialect::Nginx).then(|| format!("{}{canary}", site.plain()))
    }),
    Case {
        ends: path_is_taken,
        ..case(
            "owner",
            "the application owns the challenge path, as a prefix",
            |site| Some(site.with_path(CHALLENGE_PREFIX, "ImplementationSpecific")),
        )
    },
    case(
        "above",
        "another ACME client has that path for a wildcard above the host",
        |site| {
            let (class, (_, above)) = (&site.scene.controller.class, site.host.split_once('.')?);
            let theirs = leftover(class, site.namespace, &format!("*.{above}"));
            Some(format!("{}{theirs}", site.plain()))
        },
    ),
    Case {
        ends: path_is_taken,
        ..case(
            "leftover",
            "another ACME client left its Ingress for the host and path",
            |site| {
                let class = &site.scene.controller.class;
                Some(format!(
                    "{}{}",
                    leftover(class, site.namespace, site.host),
                    site.plain()
                ))
            },
        )
    },
    case(
        "exact",
        "the application owns an exact path under the challenge path",
        |site| {
            // ingress-nginx's webhook takes no dot in an exact path.
            let type_ = if site.scene.controller.name == "nginx" {
                "ImplementationSpecific"
            } else {
                "Exact"
            };
            Some(site.with_path("/.well-known/acme-challenge/own", type_))
        },
    ),
    case("wildcard", "a wildcard rule serves the host", |site| {
        let mut ingress = site.ingress(&[]);
        let (_, domain) = site.host.split_once('.').expect("a domain");
        ingress["spec"]["rules"][0]["host"] = json!(format!("*.{domain}"));
        Some(text(&ingress))
    }),
    case("legacy", "the class by annotation", |site| {
        let class = site.scene.controller.class.clone();
        let mut ingress = site.ingress(&[("kubernetes.io/ingress.class", &class)]);
        ingress["spec"]
            .as_object_mut()
            .expect("a spec")
            .remove("ingressClassName");
        Some(text(&ingress))
    }),
    case(
        "two",
        "two Ingresses of one host, of which one wants the certificate",
        |site| {
            let mut second = site.ingress(&[]);
            second["metadata"] = json!({"name": "second", "namespace": site.namespace});
            second["spec"].as_object_mut().expect("a spec").remove("tls");
            second["spec"]["rules"][0]["http"]["paths"] = json!([path("/second", "Prefix")]);
            Some(format!("{}{}", site.plain(), text(&second)))
        },
    ),
    Case {
        ends: |_| Ends::Failed("does one serve the default class"),
        ..case("none", "no class, and none is the default", |site| {
            Some(site.without_class())
        })
    },
    Case {
        ends: |_| Ends::Failed("there is no IngressClass `nobody`"),
        ..case("nobody", "a class that does not exist", |site| {
            let mut ingress = site.ingress(&[]);
            ingress["spec"]["ingressClassName"] = json!("nobody");
            Some(text(&ingress))
        })
    },
    Case {
        certificates: 30,
        ..case("thirty", "30 certificates at once", |site| {
            let more = (1..30).map(|number| {
                let mut ingress = site.ingress(&[]);
                let host = format!("a{number}-{}", site.host);
                ingress["metadata"]["name"] = json!(format!("a{number}"));
                ingress["spec"]["tls"] = json!([{"hosts": [host], "secretName": format!("a{number}-tls")}]);
                ingress["spec"]["rules"][0]["host"] = json!(host);
                text(&ingress)
            });
            Some(more.chain([site.plain()]).collect())
        })
    },
];

/// What another ACME client leaves: its Service, behind which nobody is, and its Ingress.
pub fn leftover(class: &str, namespace: &str, host: &str) -> String {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "gone", "namespace": namespace},
        "spec": {"ports": [{"port": 80}]},
    });
    let mut path = path(CHALLENGE_PREFIX, "ImplementationSpecific");
    path["backend"]["service"]["name"] = json!("gone");
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "leftover", "namespace": namespace},
        "spec": {"ingressClassName": class, "rules": [{"host": host, "http": {"paths": [path]}}]},
    });
    format!("{}{}", text(&service), text(&ingress))
}

/// Of two equal paths ingress-nginx's webhook and haproxy-ingress take the first one only; Contour, and Traefik in ingress-nginx's
/// place, take either.
fn path_is_taken(controller: &Controller) -> Ends {
    match controller.class.as_str() {
        "nginx" | "haproxy" | "contour" => Ends::Refused("ChallengePathTaken"),
        _ => Ends::Issued,
    }
}

/// Cases that concern every host there is, so that nothing else runs beside them.
pub const ALONE: &[Case] = &[
    case("hostless", "a rule without a host serves it", |site| {
        let mut ingress = site.ingress(&[]);
        ingress["spec"]["rules"][0]
            .as_object_mut()
            .expect("a rule")
            .remove("host");
        Some(text(&ingress))
    }),
    case(
        "everywhere",
        "another ACME client has that path for every host",
        |site| {
            let theirs = leftover(&site.scene.controller.class, site.namespace, "");
            Some(format!("{}{theirs}", site.plain()))
        },
    ),
    case("default", "a default backend serves it", |site| {
        let mut ingress = site.ingress(&[]);
        ingress["spec"].as_object_mut().expect("a spec").remove("rules");
        ingress["spec"]["defaultBackend"] = backend();
        Some(text(&ingress))
    }),
    Case {
        after: |controller| default_class(controller, "-"),
        ..case(
            "default-class",
            "no class, and the controller's is the default",
            |site| {
                default_class(&site.scene.controller, "=true");
                Some(site.without_class())
            },
        )
    },
    Case {
        entrance: |controller| Controller {
            http_port: controller.redirecting_port.unwrap_or(controller.http_port),
            ..controller.clone()
        },
        after: |controller| HTTPS.take_back(controller),
        ..case(
            "redirect",
            "the controller redirects all of HTTP to HTTPS, the challenge too",
            |site| {
                let controller = &site.scene.controller;
                (controller.redirecting_port.is_some() || HTTPS.set(controller)).then(|| site.plain())
            },
        )
    },
    Case {
        after: |controller| ADDRESSES.take_back(controller),
        ..case(
            "addresses",
            "a list of addresses that may come, for the whole controller",
            |site| ADDRESSES.set(&site.scene.controller).then(|| site.plain()),
        )
    },
    Case {
        after: |controller| AUTHENTICATION.take_back(controller),
        ..case(
            "global-auth",
            "external authentication for the whole controller, the challenge too",
            |site| AUTHENTICATION.set(&site.scene.controller).then(|| site.plain()),
        )
    },
    Case {
        certificates: 2,
        classes: 2,
        entrance: |controller| match beside(controller) {
            Some(other) => Controller {
                http_port: front::of_two(controller.http_port, other.http_port),
                ..controller.clone()
            },
            None => controller.clone(),
        },
        ..case(
            "classes",
            "two classes in one run, with Contour's (Contour: with the next one's)",
            |site| {
                let mut other = site.ingress(&[]);
                let host = site.host.replacen("site.", front::SECOND, 1);
                other["metadata"]["name"] = json!("b");
                other["spec"]["ingressClassName"] = json!(beside(&site.scene.controller)?.class);
                other["spec"]["tls"] = json!([{"hosts": [host], "secretName": "b-tls"}]);
                other["spec"]["rules"][0]["host"] = json!(host);
                Some(format!("{}{}", site.plain(), text(&other)))
            },
        )
    },
];

/// The controller of the other class: Contour, or for Contour another one.
fn beside(controller: &Controller) -> Option<Controller> {
    let others = Controller::all().into_iter();
    let mut others = others.filter(|other| other.name != controller.name);
    others.find(|other| [&controller.name, &other.name].iter().any(|name| *name == "contour"))
}

/// Keys and values for a ConfigMap with which an admin changes a controller as a whole.
struct Settings {
    nginx: &'static [(&'static str, &'static str)],
    haproxy: &'static [(&'static str, &'static str)],
}

/// Redirects spare the challenge path by default.
const HTTPS: Settings = Settings {
    nginx: &[("force-ssl-redirect", "true"), ("no-tls-redirect-locations", "/none")],
    haproxy: &[("no-tls-redirect-locations", "/none")],
};
const ADDRESSES: Settings = Settings {
    nginx: &[("whitelist-source-range", ELSEWHERE)],
    haproxy: &[("allowlist-source-range", ELSEWHERE)],
};
/// That of ingress-nginx spares the challenge path by default.
const AUTHENTICATION: Settings = Settings {
    nginx: &[("global-auth-url", NOBODY), ("no-auth-locations", "/none")],
    haproxy: &[("auth-url", NOBODY)],
};
/// A URL that nobody answers, and addresses that nobody here has.
const NOBODY: &str = "http://127.0.0.1:1/";
const ELSEWHERE: &str = "203.0.113.0/24";

impl Settings {
    /// Whether the controller has such settings.
    fn set(&self, controller: &Controller) -> bool {
        self.write(controller, |value| json!(value))
    }

    fn take_back(&self, controller: &Controller) {
        self.write(controller, |_| Value::Null);
    }

    fn write(&self, controller: &Controller, to: impl Fn(&str) -> Value) -> bool {
        let (namespace, name, settings) = match controller.name.as_str() {
            "nginx" => ("ingress-nginx", "ingress-nginx-controller", self.nginx),
            "haproxy" => ("ingress-controller", "haproxy-ingress", self.haproxy),
            _ => return false,
        };
        let data: Value = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), to(value)))
            .collect();
        let patch = json!({"data": data}).to_string();
        kubectl(
            &[
                "patch",
                "configmap",
                name,
                "-n",
                namespace,
                "--type=merge",
                "-p",
                &patch,
            ],
            "",
        );
        true
    }
}

/// Makes a controller's class the one of Ingresses without a class (`=true`), or no more (`-`).
fn default_class(controller: &Controller, change: &str) {
    let annotation = format!("ingressclass.kubernetes.io/is-default-class{change}");
    kubectl(&["annotate", "ingressclass", &controller.class, &annotation], "");
}

/// Whose annotations a controller obeys.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Contour,
    Haproxy,
    Nginx,
    Traefik,
}

impl Site<'_> {
    fn dialect(&self) -> Dialect {
        match self.scene.controller.name.as_str() {
            "nginx" | "traefik-nginx" => Dialect::Nginx,
            "haproxy" => Dialect::Haproxy,
            "traefik" => Dialect::Traefik,
            _ => Dialect::Contour,
        }
    }

    /// An annotated Ingress of the host, as JSON.
    fn ingress(&self, annotations: &[(&str, &str)]) -> Value {
        let own = self.scene.ingress(self.namespace, "a", "a-tls", &[self.host]);
        let mut ingress: Value = serde_json::from_str(own.trim_start_matches("---")).expect("JSON");
        for (name, value) in annotations {
            ingress["metadata"]["annotations"][name] = json!(value);
        }
        ingress
    }

    fn without_class(&self) -> String {
        let mut ingress = self.ingress(&[]);
        ingress["spec"]
            .as_object_mut()
            .expect("a spec")
            .remove("ingressClassName");
        text(&ingress)
    }

    fn plain(&self) -> String {
        text(&self.ingress(&[]))
    }

    fn annotated(&self, annotations: &[(&str, &str)]) -> Option<String> {
        Some(text(&self.ingress(annotations)))
    }

    /// With the annotations of ingress-nginx or of haproxy-ingress; nothing for others.
    fn in_dialect(&self, nginx: &[(&str, &str)], haproxy: &[(&str, &str)]) -> Option<Value> {
        match self.dialect() {
            Dialect::Nginx => Some(self.ingress(nginx)),
            Dialect::Haproxy => Some(self.ingress(haproxy)),
            _ => None,
        }
    }

    fn with_path(&self, at: &str, type_: &str) -> String {
        let mut ingress = self.ingress(&[]);
        let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_array_mut();
        paths.expect("paths").push(path(at, type_));
        text(&ingress)
    }
}

fn backend() -> Value {
    json!({"service": {"name": "web", "port": {"number": 80}}})
}

fn path(path: &str, type_: &str) -> Value {
    json!({"path": path, "pathType": type_, "backend": backend()})
}

fn text(object: &Value) -> String {
    format!("---\n{object}\n")
}
