//! The table of ingress controllers: what is known of each, and how that was learnt.

use std::time::Duration;

use super::rule::Via;
use crate::decide::name::ClassName;
use crate::decide::observed::IngressClass;

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
    /// What shows that it has taken up a challenge route for good.
    pub proof: Proof,
    /// Whether the challenge is answered even if the user's Ingress has the very same path.
    pub wins_equal_path: bool,
    /// Its name, if it serves a certificate only for hosts that a rule names; nothing where it does more, or that is not known.
    pub tls_by_rule: Option<&'static str>,
    /// Why it cannot serve a challenge Ingress beside the user's own.
    pub refusal: Option<&'static str>,
    /// How we know.
    pub learnt: &'static str,
}

/// The good answers in a row by which a route counts as taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How many.
    pub answers: u32,
    /// The least time between the first and the last.
    pub over: Duration,
}

/// While nginx reloads, old and new workers answer in turn for 100 ms and more (measured). The rule for whatever reloads, and
/// for all that is not known.
const RELOADS: Proof = Proof {
    answers: 4,
    over: Duration::from_secs(1),
};

/// Envoy swaps its routes at once, each of its threads by itself within milliseconds (measured through Contour).
const SWAPS: Proof = Proof {
    answers: 3,
    over: Duration::from_millis(200),
};

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
            ("nginx.ingress.kubernetes.io/force-ssl-redirect", "false"),
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
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: Some("ingress-nginx (but not Traefik in its place)"),
        refusal: None,
        learnt: "measured with main after v1.11.0, whose webhook refuses the same host and path twice, and with Traefik v3.7.13's provider for its class, where either of two equal paths may win",
    },
    Controller {
        controller: "haproxy-ingress.github.io/controller",
        classes: &["haproxy"],
        path_type: "ImplementationSpecific",
        // Its ConfigMap may have each of these for all Ingresses (measured).
        annotations: &[
            ("haproxy-ingress.github.io/ssl-redirect", "false"),
            ("haproxy-ingress.github.io/allowlist-source-range", "0.0.0.0/0,::/0"),
            ("haproxy-ingress.github.io/auth-url", ""),
        ],
        // A wildcard stands for one label (measured); both prefixes are known, and a host without a path is none (read in its source).
        hosts: Hosts {
            aliases: &[
                "haproxy-ingress.github.io/server-alias",
                "ingress.kubernetes.io/server-alias",
            ],
            ..PLAIN
        },
        // A reload gives no mixed answers (0 of 17,000 over 8 reloads), but each replica reloads by itself, at most once in 2 s.
        proof: RELOADS,
        // Of two equal paths it takes the older Ingress's, of a prefix and an ImplementationSpecific one the prefix (measured).
        wins_equal_path: false,
        tls_by_rule: None,
        refusal: None,
        learnt: "measured with v0.14.7: with strict-host, a challenge rule for the exact host takes it away from a wildcard rule",
    },
    Controller {
        controller: "istio.io/ingress-controller",
        classes: &["istio"],
        path_type: "Prefix",
        annotations: &[],
        hosts: PLAIN,
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: None,
        refusal: None,
        learnt: "measured: ImplementationSpecific is an exact match there",
    },
    Controller {
        controller: "nginx.org/ingress-controller",
        classes: &[],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: None,
        refusal: Some("NGINX Inc.'s controller refuses one host in two Ingresses"),
        learnt: "read in its documentation",
    },
    Controller {
        controller: "k8s.io/ingress-gce",
        classes: &["gce", "gce-internal"],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: None,
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
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: None,
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
        proof: SWAPS,
        // Of two it takes the one that comes last in the order of a Go map, so another one each time (read in its source, and seen).
        wins_equal_path: false,
        tls_by_rule: Some("Contour"),
        refusal: None,
        learnt: "measured with Contour v1.33.8",
    },
    Controller {
        controller: "traefik.io/ingress-controller",
        classes: &["traefik"],
        path_type: "ImplementationSpecific",
        // Else the longest rule wins, and of two equal ones either.
        annotations: &[("traefik.ingress.kubernetes.io/router.priority", "1000000")],
        hosts: PLAIN,
        proof: RELOADS,
        wins_equal_path: true,
        tls_by_rule: None,
        refusal: None,
        learnt: "measured with Traefik v3.7.13",
    },
    Controller {
        controller: "",
        classes: &[],
        path_type: "ImplementationSpecific",
        annotations: &[],
        hosts: PLAIN,
        proof: RELOADS,
        wins_equal_path: false,
        tls_by_rule: None,
        refusal: None,
        learnt: "nothing is known of it: what is safe with those above",
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

/// One name for a class, however an Ingress says it: in the field, in the annotation, or not at all where there is a default.
pub fn class_name<'a>(class: &'a ClassName, classes: &'a [IngressClass]) -> Option<&'a str> {
    let default = || Some(class_object(class, classes)?.name.as_str());
    class.as_str().or_else(default)
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

/// What shows that a route by this door was taken up. Of an implementation of Gateways nothing is known that would need less.
pub fn proof(via: &Via, classes: &[IngressClass]) -> Proof {
    via.class().map_or(RELOADS, |class| controller(class, classes).proof)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (ClassName::Spec("traefik".into()), "traefik.io/ingress-controller"),
            (ClassName::Spec("other".into()), ""),
        ] {
            assert_eq!(controller(&name, &classes).controller, expected, "{name}");
            let reversed: Vec<_> = classes.iter().rev().cloned().collect();
            assert_eq!(controller(&name, &reversed).controller, expected, "{name}");
        }
    }
}
