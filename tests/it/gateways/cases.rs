//! Gateways as people write them: each is a function from a place to its manifests.

use crate::scene::{Controller, Scene};

pub struct Site<'a> {
    pub scene: &'a Scene,
    pub namespace: String,
}

impl<'a> Site<'a> {
    /// In a namespace of its own.
    pub fn of(scene: &'a Scene) -> Self {
        Self {
            scene,
            namespace: scene.namespace("web"),
        }
    }

    /// An annotated object with these listeners. `spec` is what stands before them.
    pub fn object(&self, kind: &str, name: &str, spec: &str, listeners: &[String]) -> String {
        let (annotation, namespace) = (&self.scene.annotation, &self.namespace);
        let listeners = listeners.concat();
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotation}: \"true\"}}}}
spec:
  {spec}
  listeners:{listeners}
---"
        )
    }

    pub fn gateway(&self, name: &str, listeners: &[String]) -> String {
        let controller = &self.scene.controller;
        let spec = format!("gatewayClassName: {}\n  {}", controller.class, controller.gateway_spec);
        self.object("Gateway", name, &spec, listeners)
    }

    /// A Gateway, `g`, that wants nothing itself, and takes ListenerSets of its own namespace (`Same`) or of all (`All`).
    pub fn open_gateway(&self, listeners: &[String], from: &str) -> String {
        self.gateway("g", listeners)
            .replace("tls-acme: \"true\"", "tls-acme: \"false\"")
            .replace(
                "  listeners:",
                &format!("  allowedListeners: {{namespaces: {{from: {from}}}}}\n  listeners:"),
            )
    }

    /// A second namespace of the same scene.
    fn elsewhere(&self) -> Self {
        Self {
            scene: self.scene,
            namespace: self.scene.namespace("app"),
        }
    }

    pub fn http(&self) -> String {
        self.http_for("http", "")
    }

    /// With more of it, from a comma on.
    pub fn http_for(&self, name: &str, more: &str) -> String {
        let port = self.scene.controller.listener_ports.0;
        format!("\n  - {{name: {name}, port: {port}, protocol: HTTP{more}}}")
    }

    pub fn https(&self, name: &str, host: &str, secret: &str) -> String {
        let port = self.scene.controller.listener_ports.1;
        format!(
            "\n  - {{name: {name}, port: {port}, protocol: HTTPS, hostname: '{host}', tls: {{certificateRefs: [{{name: {secret}}}]}}}}"
        )
    }

    pub fn route(&self, name: &str, parent: &str, hostnames: &str, rule: &str) -> String {
        let namespace = &self.namespace;
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{parentRefs: [{parent}], hostnames: [{hostnames}], rules: [{rule}]}}
---"
        )
    }

    /// What serves hosts, at all listeners of a Gateway.
    pub fn served(&self, name: &str, gateway: &str, hostnames: &str) -> String {
        self.route(name, &format!("{{name: {gateway}}}"), hostnames, WEB)
    }
}

pub const WEB: &str = "{backendRefs: [{name: web, port: 80}]}";
const REDIRECT: &str = "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}";

/// How a case has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Issued, and served over HTTPS.
    Served,
    /// Issued; nobody serves it.
    Stored,
    /// The controller has not what it takes: the words say what.
    Untried(&'static str),
}

/// Of a site, from a function that makes a host of its first label.
type Manifests = fn(&Site<'_>, &dyn Fn(&str) -> String) -> String;

pub struct Case {
    pub name: &'static str,
    /// As the table says it.
    pub what: &'static str,
    pub manifests: Manifests,
    /// The Secrets, each with a host that it must serve.
    pub secrets: &'static [(&'static str, &'static str)],
    pub ends: fn(&Controller) -> Ends,
}

pub const CASES: &[Case] = &[
    Case {
        name: "plain",
        what: "a listener for HTTP, one for HTTPS",
        manifests: |site, host| {
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")]) + &site.served("r", "g", &host("a"))
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "named",
        what: "the listener for HTTP has the hostname too",
        manifests: |site, host| {
            let http = site.http_for("http", &format!(", hostname: {}", host("a")));
            site.gateway("g", &[http, site.https("a", &host("a"), "a-tls")]) + &site.served("r", "g", &host("a"))
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "no-route",
        what: "nothing attached yet",
        manifests: |site, host| site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")]),
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Stored,
    },
    Case {
        name: "redirected",
        what: "HTTP redirects everything",
        manifests: |site, host| {
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")])
                + &site.route("to-https", "{name: g, sectionName: http}", "", REDIRECT)
                + &site.route("r", "{name: g, sectionName: a}", &host("a"), WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "wildcard",
        what: "a route for `*.example.com`",
        manifests: |site, host| {
            let wildcard = host("*");
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "a-tls")])
                + &site.served("r", "g", &format!("'{wildcard}'"))
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "beside",
        what: "a wildcard listener beside an exact one",
        manifests: |site, host| {
            let wildcard = site.http_for("wild", &format!(", hostname: '{}'", host("*")));
            let exact = site.http_for("exact", &format!(", hostname: {}", host("a")));
            site.gateway("g", &[wildcard, exact, site.https("a", &host("a"), "a-tls")])
                + &site.route("wild", "{name: g, sectionName: wild}", "", WEB)
                + &site.route("r1", "{name: g, sectionName: exact}", "", WEB)
                + &site.route("r2", "{name: g, sectionName: a}", "", WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "same",
        what: "`allowedRoutes: Same`",
        manifests: |site, host| {
            let http = site.http_for("http", ", allowedRoutes: {namespaces: {from: Same}}");
            site.gateway("g", &[http, site.https("a", &host("a"), "a-tls")]) + &site.served("r", "g", &host("a"))
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "elsewhere",
        what: "the route is in another namespace",
        manifests: |site, host| {
            let all = "allowedRoutes: {namespaces: {from: All}}";
            let http = site.http_for("http", &format!(", {all}"));
            let https = site
                .https("a", &host("a"), "a-tls")
                .replace(", tls", &format!(", {all}, tls"));
            let elsewhere = site.elsewhere();
            let parent = format!("{{name: g, namespace: {}}}", site.namespace);
            site.gateway("g", &[http, https]) + &elsewhere.route("r", &parent, &host("a"), WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "shared",
        what: "two Gateways share a Secret",
        manifests: |site, host| {
            site.gateway("g", &[site.http(), site.https("a", &host("a"), "both-tls")])
                + &site.gateway("g2", &[site.http(), site.https("b", &host("b"), "both-tls")])
                + &site.served("r1", "g", &host("a"))
                + &site.served("r2", "g2", &host("b"))
        },
        secrets: &[("both-tls", "a"), ("both-tls", "b")],
        ends: |controller| match controller.only_gateway {
            None => Ends::Served,
            Some(_) => Ends::Untried("it serves one Gateway"),
        },
    },
    Case {
        name: "moving",
        what: "a Gateway and an Ingress share a Secret",
        manifests: |site, host| {
            let ingress = site
                .scene
                .ingress(&site.namespace, "old", "a-tls", &[&host("a"), &host("b")]);
            let gateway = site.gateway(
                "g",
                &[
                    site.http(),
                    site.https("a", &host("a"), "a-tls"),
                    site.https("b", &host("b"), "a-tls"),
                ],
            );
            format!("{ingress}\n---{gateway}") + &site.served("r", "g", &format!("{}, {}", host("a"), host("b")))
        },
        secrets: &[("a-tls", "a"), ("a-tls", "b")],
        ends: |_| Ends::Served,
    },
    Case {
        name: "set",
        what: "a ListenerSet",
        manifests: |site, host| {
            let open = site.open_gateway(&[site.http()], "Same");
            let parent = "parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}";
            let attached = "{group: gateway.networking.k8s.io, kind: ListenerSet, name: s}";
            open + &site.object("ListenerSet", "s", parent, &[site.https("a", &host("a"), "a-tls")])
                + &site.route("to-https", "{name: g, sectionName: http}", "", REDIRECT)
                + &site.route("r", attached, &host("a"), WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |controller| match controller.listener_sets {
            true => Ends::Served,
            false => Ends::Stored,
        },
    },
    Case {
        name: "set-elsewhere",
        what: "a ListenerSet in another namespace, with its Secret",
        manifests: |site, host| {
            let open = site.open_gateway(&[site.http()], "All");
            let elsewhere = site.elsewhere();
            let parent = format!(
                "parentRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: g, namespace: {}}}",
                site.namespace
            );
            let attached = "{group: gateway.networking.k8s.io, kind: ListenerSet, name: s}";
            open + &elsewhere.object("ListenerSet", "s", &parent, &[site.https("a", &host("a"), "a-tls")])
                + &site.route("to-https", "{name: g, sectionName: http}", "", REDIRECT)
                + &elsewhere.route("r", attached, &host("a"), WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |controller| match controller.listener_sets {
            true => Ends::Served,
            false => Ends::Stored,
        },
    },
    Case {
        name: "set-http",
        what: "a ListenerSet that has the listener for HTTP too",
        manifests: |site, host| {
            let other = site.http_for("http", &format!(", hostname: {}", host("other")));
            let open = site.open_gateway(&[other], "Same");
            let parent = "parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}";
            let attached = "{group: gateway.networking.k8s.io, kind: ListenerSet, name: s}";
            let http = site.http_for("http", &format!(", hostname: {}", host("a")));
            open + &site.object(
                "ListenerSet",
                "s",
                parent,
                &[http, site.https("a", &host("a"), "a-tls")],
            ) + &site.route("r", attached, &host("a"), WEB)
        },
        secrets: &[("a-tls", "a")],
        ends: |controller| match controller.listener_sets {
            true => Ends::Served,
            false => Ends::Untried("it reads no ListenerSets"),
        },
    },
    Case {
        name: "twenty",
        what: "20 listeners, one Secret",
        manifests: |site, host| {
            let names: Vec<String> = (0..20).map(|n| host(&format!("h{n}"))).collect();
            let listeners = names
                .iter()
                .enumerate()
                .map(|(n, name)| site.https(&format!("l{n}"), name, "many-tls"));
            let listeners: Vec<String> = [site.http()].into_iter().chain(listeners).collect();
            site.gateway("g", &listeners)
                + &site.served("r1", "g", &names[..10].join(", "))
                + &site.served("r2", "g", &names[10..].join(", "))
        },
        secrets: &[("many-tls", "h0"), ("many-tls", "h19")],
        ends: |_| Ends::Served,
    },
];
