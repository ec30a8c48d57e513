//! Listeners -> certificates and refusals, offline: a table.
//!
//! A row has listeners, separated by `;`: `H [HOST] [@PORT] [!none|!kind|!all|!some]` is HTTP, `S HOST REF` is HTTPS, `T HOST REF` is TLS, `P HOST` passes TLS
//! through, `O` is another protocol. `-` is no hostname, a REF is `[NAMESPACE/]NAME` or `KIND:NAME`, several with `,`. `R HOSTS` is an HTTPRoute
//! of the Gateway, `R@SECTION HOSTS` of one listener, `N HOSTS` one in another namespace, `C HOSTS` one of another ACME client, `E HOSTS` one with
//! the very path of ours. `L HOST` is a ListenerSet of another namespace for HTTP. `!yes`, `!no` and `!part` at a letter say whether it is `Accepted`.
//! `contour` makes it Contour's Gateway.
//! Then what comes of it: `SECRET=HOSTS` and, for each host whose challenge is under another name, `>NAME`, with `@` where it attaches to
//! all listeners, `^` where it attaches to the ListenerSet, and more of them after `+`; `SECRET!Reason`; `~Rejection`.

use std::sync::Arc;

use jiff::Timestamp;
use kube_lego_once::decide::name::SourceKind;
use kube_lego_once::decide::observed::{GatewayClass, GatewayObject, HttpRouteObject, Observed};
use kube_lego_once::decide::plan::plan;
use kube_lego_once::decide::policy::Policy;
use kube_lego_once::decide::route::RuleHost;
use serde_json::{Value, json};

const TABLE: &[(&str, &str)] = &[
    // What is wanted.
    ("H; S a.example a", "a=a.example"),
    ("H; T a.example a", "a=a.example"),
    ("H; S a.example a; S b.example a", "a=a.example,b.example"),
    ("H; S a.example a; S b.example b", "a=a.example b=b.example"),
    ("H; S a.example a; S a.example a", "a=a.example"),
    ("H; S a.example a,b", "a=a.example b=a.example"),
    ("H; S a.example web/a", "a=a.example"),
    ("H; S a.example a; T b.example a", "a=a.example,b.example"),
    ("H; S a.example Secret:a", "a=a.example"),
    ("H; S a.b.c.example a", "a=a.b.c.example"),
    // What is rejected.
    ("", "~NoTls"),
    ("H", "~NoTls"),
    ("O", "~NoTls"),
    ("H; S - a", "~NoHostname"),
    ("H; T - a", "~NoHostname"),
    ("H; P a.example", "~Passthrough"),
    ("H; P -", "~Passthrough"),
    ("H; S a.example", "~NoSecretName"),
    ("H; S a.example other/a", "~CrossNamespaceReference"),
    ("H; S a.example ConfigMap:a", "~UnsupportedReference"),
    ("H; S a.example Vault:a,b", "b=a.example ~UnsupportedReference"),
    ("H; S - a; S b.example b", "b=b.example ~NoHostname"),
    ("H; P a.example; S b.example b", "b=b.example ~Passthrough"),
    ("H; S a.example other/a,a", "a=a.example ~CrossNamespaceReference"),
    (
        "H; S - a; P b.example; S c.example",
        "~NoHostname ~NoSecretName ~Passthrough",
    ),
    // What is refused.
    ("H; S A.example a", "a!InvalidHost"),
    ("H; S a.example. a", "a!InvalidHost"),
    ("H; S 192.0.2.1 a", "a!InvalidHost"),
    ("H; S a.example a; S b_.example a", "a!InvalidHost"),
    ("H; S *.example.com a", "a!WildcardHost"),
    ("H; S *.example.com a; S a.example.com a", "a!WildcardHost"),
    (
        "H; S *.example.com w; S a.example.com a",
        "a=a.example.com w!WildcardHost",
    ),
    ("H; S a.example A_", "A_!InvalidSecretName"),
    // Where the CA can ask.
    ("S a.example a", "a!NoHttpListener"),
    ("O; S a.example a", "a!NoHttpListener"),
    ("H b.example; S a.example a", "a!NoHttpListener"),
    ("H a.example; S a.example a", "a=a.example"),
    ("H *.example; S a.example a", "a=a.example"),
    ("H *.example; S a.b.example a", "a=a.b.example"),
    ("H *.a.example; S a.example a", "a!NoHttpListener"),
    ("H a.example; S a.example a; S b.example a", "a!NoHttpListener"),
    (
        "H a.example; S a.example a; S b.example b",
        "a=a.example b!NoHttpListener",
    ),
    ("H @8080; S a.example a", "a=a.example"),
    ("H !none; S a.example a", "a!NoHttpListener"),
    ("H !kind; S a.example a", "a!NoHttpListener"),
    ("H !none; H b.example; S b.example a", "a=b.example"),
    // Under which name the challenge stands (I8).
    ("H; S a.x.example a; R a.x.example", "a=a.x.example@"),
    ("H; S a.x.example a; R *.x.example", "a=a.x.example>*.x.example@"),
    ("H; S a.x.example a; R *.example", "a=a.x.example>*.example@"),
    (
        "H; S a.x.example a; R *.example; R *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H; S a.x.example a; R *.x.example,a.x.example", "a=a.x.example@"),
    ("H; S a.x.example a; R *.x.example; R a.x.example", "a=a.x.example@"),
    ("H; S a.x.example a; R", "a=a.x.example>any@"),
    ("H; S a.x.example a; R; R *.x.example", "a=a.x.example>*.x.example@"),
    ("H; S a.x.example a; R b.x.example", "a=a.x.example"),
    ("H; S a.x.example a; R@l0 *.x.example", "a=a.x.example>*.x.example"),
    ("H; S a.x.example a; R@l1 *.x.example", "a=a.x.example"),
    ("H; S a.x.example a; R@l1 a.x.example; R@l0", "a=a.x.example>any"),
    ("H; S a.x.example a; C a.x.example", "a=a.x.example"),
    (
        "H; S a.x.example a; C a.x.example; R *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H; H *.x.example; S a.x.example a; R@l0", "a=a.x.example"),
    ("H; H *.x.example; S a.x.example a; R@l1", "a=a.x.example>any"),
    ("H @8080; H; S a.x.example a; R@l0 *.x.example", "a=a.x.example"),
    // It attaches as that which serves the host, where that reaches the same listeners.
    (
        "H; S a.x.example a; R@l0 *.x.example; R *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H; S a.x.example a; R@l0 a.x.example; R *.x.example", "a=a.x.example"),
    ("H !all; S a.x.example a; N *.x.example", "a=a.x.example>*.x.example"),
    ("H !some; S a.x.example a; N *.x.example", "a=a.x.example>*.x.example"),
    ("H; S a.x.example a; H !all; N *.x.example", "a=a.x.example>*.x.example"),
    (
        "H !all; S a.x.example a !all; N *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H !all; S a.x.example a !all; N", "a=a.x.example>any@"),
    // Anybody may ask for a place at a Gateway: what is not admitted takes nothing.
    ("H; S a.x.example a; N *.x.example", "a=a.x.example"),
    (
        "H; S a.x.example a; N a.x.example; R *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H !some; S a.x.example a; N!no *.x.example", "a=a.x.example"),
    (
        "H !some; S a.x.example a; N!yes *.x.example",
        "a=a.x.example>*.x.example",
    ),
    (
        "H; S a.x.example a; R!no a.x.example; R *.x.example",
        "a=a.x.example>*.x.example@",
    ),
    ("H; S a.x.example a; E!no a.x.example", "a=a.x.example"),
    ("H; S a.x.example a; L a.x.example", "a=a.x.example"),
    ("H; S a.x.example a; L!no a.x.example", "a=a.x.example"),
    ("H; S a.x.example a; L!yes a.x.example", "a=a.x.example^"),
    ("H @8080; S a.x.example a; L a.x.example", "a=a.x.example"),
    ("S a.x.example a; L a.x.example", "a=a.x.example^"),
    ("S a.x.example a; L!no a.x.example", "a!NoHttpListener"),
    // Contour serves the rest of a route of which it does not take a part.
    ("H; S a.x.example a; R!part *.x.example", "a=a.x.example>*.x.example@"),
    // Contour ignores hostnames that other listeners have: one more without any.
    ("contour; H; S a.x.example a", "a=a.x.example+any"),
    ("contour; H; S a.x.example a; R a.x.example", "a=a.x.example@+any"),
    (
        "contour; H; S a.x.example a; R *.x.example",
        "a=a.x.example>*.x.example@+any",
    ),
    ("contour; H; S a.x.example a; R@l0", "a=a.x.example>any"),
    ("contour; H a.x.example; S a.x.example a", "a=a.x.example+any"),
    // Of two equal paths the older one wins, and ours is new.
    ("H; S a.x.example a; E a.x.example", "a!ChallengePathTaken"),
    (
        "H; S a.x.example a; E a.x.example; R a.x.example",
        "a!ChallengePathTaken",
    ),
    (
        "H; S a.x.example a; E a.x.example; R *.x.example",
        "a!ChallengePathTaken",
    ),
    ("H; S a.x.example a; E *.x.example", "a=a.x.example"),
    ("H; S a.x.example a; E", "a=a.x.example"),
    ("H; S a.x.example a; E; R@l0", "a!ChallengePathTaken"),
    (
        "H; S a.x.example a; E *.x.example; R *.x.example",
        "a!ChallengePathTaken",
    ),
    ("H; S a.x.example a; E b.x.example", "a=a.x.example"),
    ("H; S a.x.example a; E@l1 a.x.example", "a=a.x.example"),
    ("contour; H; S a.x.example a; E", "a=a.x.example+any"),
];

fn reference(text: &str) -> Value {
    match (text.split_once(':'), text.split_once('/')) {
        (Some(("Vault", name)), _) => json!({"group": "vault.example", "kind": "Vault", "name": name}),
        (Some((kind, name)), _) => json!({"kind": kind, "name": name}),
        (None, Some((namespace, name))) => json!({"namespace": namespace, "name": name}),
        (None, None) => json!({"name": text}),
    }
}

fn listener(index: usize, words: &[&str]) -> Value {
    let (protocol, port) = match words[0] {
        "H" => ("HTTP", 80),
        "S" => ("HTTPS", 443),
        "T" | "P" => ("TLS", 443),
        _ => ("UDP", 53),
    };
    let mut listener = json!({"name": format!("l{index}"), "protocol": protocol, "port": port});
    for word in &words[1..] {
        match (word.split_at(1), words[0]) {
            (("@", port), _) => listener["port"] = json!(port.parse::<i32>().expect("a port")),
            (("!", "all"), _) => listener["allowedRoutes"] = json!({"namespaces": {"from": "All"}}),
            (("!", "some"), _) => listener["allowedRoutes"] = json!({"namespaces": {"from": "Selector"}}),
            (("!", "none"), _) => listener["allowedRoutes"] = json!({"namespaces": {"from": "None"}}),
            (("!", _), _) => listener["allowedRoutes"] = json!({"kinds": [{"kind": "GRPCRoute"}]}),
            (("-", ""), _) => {}
            _ if listener["hostname"].is_null() && word == &words[1] => listener["hostname"] = json!(word),
            _ => {
                let references: Vec<Value> = word.split(',').map(reference).collect();
                listener["tls"] = json!({"certificateRefs": references});
            }
        }
    }
    if words[0] == "P" {
        listener["tls"] = json!({"mode": "Passthrough"});
    }
    listener
}

/// The conditions of what has `!yes`, `!no` or `!part` at its letter.
fn conditions(word: &str) -> Value {
    let condition = |status, reason| json!([{"type": "Accepted", "status": status, "reason": reason, "message": "x", "lastTransitionTime": "2026-12-01T12:00:00Z"}]);
    match word.split_once('!') {
        Some((_, "yes")) => condition("True", "Accepted"),
        Some((_, "part")) => condition("False", "UnsupportedValue"),
        Some(_) => condition("False", "NotAllowedByListeners"),
        None => json!([]),
    }
}

fn listener_set(words: &[&str]) -> Value {
    json!({
        "metadata": {"namespace": "app", "name": "set"},
        "spec": {
            "parentRef": {"namespace": "web", "name": "g"},
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80, "hostname": words[1]}],
        },
        "status": {"conditions": conditions(words[0])},
    })
}

fn route(words: &[&str]) -> Value {
    let hostnames: Vec<&str> = words.get(1).into_iter().flat_map(|names| names.split(',')).collect();
    let mut parent = json!({"namespace": "web", "name": "g"});
    if let Some((_, section)) = words[0].split_once('@') {
        parent["sectionName"] = json!(section);
    }
    let letter = words[0].split(['@', '!']).next();
    let path = match letter {
        Some("C") => "/.well-known/acme-challenge/token",
        Some("E") => "/.well-known/acme-challenge/",
        _ => "/",
    };
    let namespace = if letter == Some("N") { "app" } else { "web" };
    let rules = json!([{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}]);
    let status = json!({"parents": [{"controllerName": "x.example/c", "parentRef": parent, "conditions": conditions(words[0])}]});
    json!({"metadata": {"namespace": namespace, "name": "r"}, "spec": {"hostnames": hostnames, "parentRefs": [parent], "rules": rules}, "status": status})
}

fn outcome(row: &str) -> String {
    let items = row.split(';').map(|item| item.split_whitespace().collect::<Vec<_>>());
    let items: Vec<Vec<&str>> = items.filter(|words| !words.is_empty()).collect();
    let (classes, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|words| words[0] == "contour");
    let (sets, items): (Vec<_>, Vec<_>) = items.into_iter().partition(|words| words[0].starts_with('L'));
    let (routes, listeners): (Vec<_>, Vec<_>) = items
        .iter()
        .partition(|words| words[0].starts_with(['R', 'C', 'E', 'N']));
    let listeners: Vec<Value> = listeners
        .iter()
        .enumerate()
        .map(|(index, words)| listener(index, words))
        .collect();
    let object = |value| serde_json::from_value::<GatewayObject>(value).expect("a Gateway");
    let gateway = object(json!({
        "metadata": {"namespace": "web", "name": "g", "creationTimestamp": "2026-11-01T12:00:00Z", "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {"gatewayClassName": "x", "listeners": listeners},
    }));
    let mut observed = Observed::at(Timestamp::now());
    observed.gateways = vec![Arc::new(gateway.into_gateway(SourceKind::Gateway))];
    let sets = sets
        .iter()
        .map(|words| object(listener_set(words)).into_gateway(SourceKind::ListenerSet));
    observed.gateways.extend(sets.map(Arc::new));
    let routes = routes.iter().map(|words| {
        serde_json::from_value::<HttpRouteObject>(route(words))
            .expect("a route")
            .into()
    });
    observed.http_routes = routes.collect();
    let controller = if classes.is_empty() {
        "traefik.io/c"
    } else {
        "projectcontour.io/gateway-controller"
    };
    observed.gateway_classes = vec![GatewayClass {
        name: "x".into(),
        controller: controller.into(),
    }];
    let plan = plan(&observed, &Policy::default());
    let mut said = Vec::new();
    for (_, decision) in plan.decisions() {
        let certificate = &decision.certificate;
        let secret = &certificate.secret.name;
        if plan
            .refuse
            .iter()
            .any(|refused| refused.certificate.secret == certificate.secret)
        {
            said.push(format!("{secret}!{}", decision.reason.word()));
            continue;
        }
        let hosts = certificate.hosts.iter().map(|host| {
            let mut said = String::new();
            for (index, route) in decision.routes.iter().filter(|route| route.host == *host).enumerate() {
                let listener = route.via.listener().expect("a listener");
                said += &match &route.rule {
                    RuleHost::Any if index > 0 => "+any".to_owned(),
                    RuleHost::Any => format!("{host}>any"),
                    RuleHost::Named(name) if name == host => host.to_string(),
                    RuleHost::Named(name) => format!("{host}>{name}"),
                };
                said += if listener.section.is_none() { "@" } else { "" };
                said += if listener.gateway.kind == SourceKind::ListenerSet {
                    "^"
                } else {
                    ""
                };
            }
            said
        });
        said.push(format!("{secret}={}", hosts.collect::<Vec<_>>().join(",")));
    }
    let mut rejected: Vec<_> = plan
        .rejected
        .iter()
        .map(|it| format!("~{}", it.reason.word()))
        .collect();
    rejected.sort();
    said.extend(rejected);
    said.join(" ")
}

#[test]
fn listeners_become_certificates_and_refusals() {
    assert!(TABLE.len() >= 60);
    let wrong = TABLE.iter().filter(|(row, expected)| outcome(row) != *expected);
    let wrong: Vec<_> = wrong
        .map(|(row, expected)| format!("{row}\n  {}\n  expected {expected}", outcome(row)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_gateway_of_the_most_that_the_api_takes_is_planned() {
    // 64 listeners, and a hostname of 253 characters.
    let long = format!(
        "{}.example",
        ["a".repeat(61).as_str(); 4]
            .join(".")
            .split_at(245)
            .0
            .trim_end_matches('.')
    );
    let listeners: Vec<String> = (0..62).map(|n| format!("S h{n}.example a")).collect();
    let said = outcome(&format!("H; {}; S {long} long", listeners.join("; ")));
    assert!(
        said.starts_with("a=h0.example,h1.example,") && said.ends_with(&format!("long={long}")),
        "{said}"
    );
    assert_eq!(long.len(), 253);
    assert_eq!(outcome(&format!("H; S {long}s long")), "long!InvalidHost");
}
