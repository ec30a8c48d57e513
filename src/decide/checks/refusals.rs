//! When a certificate is refused: each refusal is one function and one row.

use compact_str::CompactString;

use super::check::{Answer, Check, NO_CERTIFICATE, NO_DIRECTORY, NO_SECRET, Subject, always, classes, when_due};
use super::reason::Reason;
use crate::decide::desired::Contribution;
use crate::decide::directory::{Directory, Trust};
use crate::decide::inspection::Inspection;
use crate::decide::key_type::KeyType;
use crate::decide::name::{ClassName, DnsName, DnsNameProblem, IngressRef};
use crate::decide::observed::{
    CERT_MANAGER, CHALLENGE_PATH, CHALLENGE_PREFIX, HttpRoute, Ingress, Leftover, Observed, Read, covers,
};
use crate::decide::policy::TLS_ACME;
use crate::decide::route::{RuleHost, class_name, controller, http_listener, specificity, ways_in};

/// The most names that a certificate can have with the CAs that sign many (Let's Encrypt's classic profile).
pub const MOST_HOSTS: usize = 100;
/// Another program's claims on a Secret, which a store that takes it over removes.
pub fn claims_to_remove() -> Vec<String> {
    vec![CERT_MANAGER.to_owned()]
}

/// Endings that no public CA can sign: reserved or local (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`).
const LOCAL_ENDINGS: &[&str] = &[
    "local",
    "internal",
    "localhost",
    "lan",
    "home.arpa",
    "svc.cluster.local",
];

/// When a certificate is refused: the first match wins; hosts, then claims, then the Secret.
pub(in crate::decide) const REFUSALS: &[Check] = &[
    always(Reason::InvalidHost, invalid_host),
    when_due(Reason::WildcardHost, wildcard_host),
    always(Reason::TooManyHosts, too_many_hosts),
    always(Reason::HostClaimed, host_claimed),
    when_due(Reason::UnsupportedController, unsupported_controller),
    when_due(Reason::ChallengePathTaken, challenge_path_taken),
    when_due(Reason::NoHttpListener, no_http_listener),
    always(Reason::UnclearKeyType, unclear_key_type),
    always(Reason::InvalidSecretName, invalid_secret_name),
    always(Reason::Unknown, unknown),
    always(Reason::Terminating, terminating),
    always(Reason::WrongSecretType, wrong_secret_type),
    always(Reason::ManagedElsewhere, managed_elsewhere),
    when_due(Reason::ImmutableSecret, immutable_secret),
    when_due(Reason::ForeignSecret, foreign_secret),
    when_due(Reason::WouldDropHosts, would_drop_hosts),
    when_due(Reason::WouldDowngrade, would_downgrade),
];

fn invalid_host(subject: &Subject<'_>) -> Answer {
    let certificate = subject.certificate;
    if let Some((host, problem)) = certificate.invalid_hosts.first() {
        return Answer::Yes(format!("host `{host}` {problem}: correct it in the Ingress"));
    }
    let public = subject
        .policy
        .directory
        .as_ref()
        .is_some_and(|directory| directory.trust() != Trust::Private);
    let single = |host: &&DnsName| host.label_count() < 2;
    if let Some(host) = certificate
        .hosts
        .iter()
        .find(single)
        .filter(|_| public || !subject.policy.single_label_hosts)
    {
        return Answer::Yes(format!(
            "host `{host}` has no dot (a single-label name), and public CAs do not sign such names: write the full name, or, for a private CA, allow it with `--allow-single-label-hosts`"
        ));
    }
    let local = |host: &&DnsName| {
        LOCAL_ENDINGS.iter().any(|ending| {
            host.as_str()
                .strip_suffix(ending)
                .is_some_and(|rest| rest.ends_with('.'))
        })
    };
    match certificate.hosts.iter().find(local).filter(|_| public) {
        Some(host) => Answer::Yes(format!(
            "host `{host}` has an ending that no public CA signs: use a private CA, or a public name"
        )),
        None => Answer::no("all hosts are names that the CA can sign"),
    }
}

fn wildcard_host(subject: &Subject<'_>) -> Answer {
    match subject.certificate.hosts.iter().find(|host| host.is_wildcard()) {
        Some(host) => Answer::Yes(format!(
            "host `{host}` is a wildcard, which HTTP-01 cannot prove: list the names, or use a client that speaks DNS-01"
        )),
        None => Answer::no("no host is a wildcard"),
    }
}

fn too_many_hosts(subject: &Subject<'_>) -> Answer {
    let count = subject.certificate.hosts.len();
    if count > MOST_HOSTS {
        return Answer::Yes(format!(
            "{count} hosts are more than the {MOST_HOSTS} that a certificate can have: use several Secrets"
        ));
    }
    Answer::No(format!("{count} of at most {MOST_HOSTS} hosts"))
}

fn host_claimed(subject: &Subject<'_>) -> Answer {
    let claimed = &subject.certificate.claimed;
    match claimed
        .iter()
        .find(|(host, _)| !subject.policy.shared_hosts.contain(host.as_str()))
    {
        Some((host, owner)) => Answer::Yes(format!(
            "host `{host}` belongs to namespace `{}`, where the older {} `{}` has it: remove the host there or here, or let both namespaces have it with `--allow-shared-hosts={host}`",
            owner.namespace,
            owner.kind.kind(),
            owner.name
        )),
        None if claimed.is_empty() => Answer::no("no older Ingress of another namespace has any of the hosts"),
        None => Answer::no("`--allow-shared-hosts` allows the hosts that other namespaces have too"),
    }
}

fn unsupported_controller(subject: &Subject<'_>) -> Answer {
    let refusal = subject.certificate.contributions.iter().find_map(|contribution| {
        let ingress = contribution.source.ingress()?;
        let refusal = controller(&ingress.class, classes(subject.observed)).refusal?;
        Some(format!(
            "ingress `{}` has class `{}`: {refusal}; use another client for it",
            ingress.name, ingress.class
        ))
    });
    refusal.map_or_else(
        || Answer::no("the classes' controllers can serve a challenge"),
        Answer::Yes,
    )
}

/// Few Ingresses have such a path, and few certificates are due: all of them are looked at.
fn challenge_path_taken(subject: &Subject<'_>) -> Answer {
    let classes = classes(subject.observed);
    let may_lose = |class: &ClassName| !controller(class, classes).wins_equal_path;
    let ours = |ingress: &Ingress| is_left(subject.observed, &ingress.name.namespace, &ingress.name.name);
    let with_path = subject
        .observed
        .ingresses
        .iter()
        .filter(|ingress| !ingress.challenge_hosts.is_empty() && !ingress.deleting && may_lose(&ingress.class));
    for ingress in with_path.filter(|ingress| !ours(ingress)) {
        let name = class_name(&ingress.class, classes);
        let same_class = |it: &&Contribution| {
            let wanting = it.source.ingress();
            wanting.is_some_and(|wanting| class_name(&wanting.class, classes) == name)
        };
        let contributions = subject.certificate.contributions.iter().filter(same_class);
        // A request for a host goes to the most specific rule for it, whatever paths others have (measured on all controllers of the table).
        let goes_there = |host: &&DnsName| {
            let rule = (subject.rule)(&ingress.class, host).unwrap_or_else(|| RuleHost::Named((*host).clone()));
            let our_name = rule.name().map_or("", DnsName::as_str);
            // By an alias the rule has another name.
            let ours = rule.covers(host).unwrap_or(usize::MAX);
            ingress.challenge_hosts.iter().any(|its| {
                let is_for_it = its.is_empty() || host.is_covered_by(its);
                // Traefik in ingress-nginx's place prefers the longer rule, be it a wildcard's.
                let is_as_long = its.len() >= host.as_str().len();
                its == our_name || is_for_it && (covers(its, host).unwrap_or(0) >= ours || is_as_long)
            })
        };
        let Some(host) = contributions.flat_map(|it| &it.hosts).find(goes_there) else {
            continue;
        };
        let IngressRef { namespace, name } = &ingress.name;
        let remedy = if ingress.serves_only_challenges {
            format!("if no other ACME client needs it, `kubectl delete ingress {name} -n {namespace}`")
        } else {
            format!("remove the path with `kubectl edit ingress {name} -n {namespace}`")
        };
        return Answer::Yes(format!(
            "ingress `{}` has the path `{CHALLENGE_PREFIX}` for host `{host}`, so the CA's requests may go there instead of to this run: {remedy}",
            ingress.name
        ));
    }
    path_taken_at_a_gateway(subject).map_or_else(
        || Answer::no("nothing that may be preferred has the challenge's path"),
        Answer::Yes,
    )
}

/// Whether it is an object of a dead run, which this one sweeps before it makes its own.
fn is_left(observed: &Observed, namespace: &str, name: &str) -> bool {
    let here = |left: &Leftover| left.namespace == namespace && left.name == name;
    observed.leftovers.iter().any(here)
}

/// Of two HTTPRoutes with equal paths the older one gets the request (`HTTPRouteRule` of the Gateway API), and ours is new.
fn path_taken_at_a_gateway(subject: &Subject<'_>) -> Option<String> {
    let observed = subject.observed;
    let ours = |route: &HttpRoute| is_left(observed, &route.namespace, &route.name);
    let routes = observed.http_routes.iter();
    let with_path: Vec<&HttpRoute> = routes
        .filter(|route| route.has_challenge_path && !ours(route))
        .collect();
    if with_path.is_empty() {
        return None;
    }
    for contribution in &subject.certificate.contributions {
        let Some(gateway) = contribution.source.gateway() else {
            continue;
        };
        for host in &contribution.hosts {
            let Some((owner, listener)) = http_listener(gateway, &observed.gateways, host) else {
                continue;
            };
            let ways = ways_in(owner, listener, &observed.http_routes, &observed.gateway_classes, host);
            let ours = ways.iter().filter_map(|(_, rule)| rule.covers(host)).max().unwrap_or(0);
            let wins = |route: &&&HttpRoute| specificity(route, owner, listener, host).is_some_and(|its| its >= ours);
            let Some(HttpRoute { namespace, name, .. }) = with_path.iter().find(wins) else {
                continue;
            };
            return Some(format!(
                "HTTPRoute `{namespace}/{name}` has the path `{CHALLENGE_PATH}` for host `{host}`, so the CA's requests go there instead of to this run: if nothing else needs it, `kubectl delete httproute {name} -n {namespace}`"
            ));
        }
    }
    None
}

/// An Ingress that wants the same host gives the CA a door too: so a site may move to a Gateway while it has none.
fn no_http_listener(subject: &Subject<'_>) -> Answer {
    let contributions = &subject.certificate.contributions;
    let by_ingress = |host: &DnsName| {
        let mut ingresses = contributions.iter().filter(|it| it.source.ingress().is_some());
        ingresses.any(|it| it.hosts.contains(host))
    };
    for contribution in contributions {
        let Some(gateway) = contribution.source.gateway() else {
            continue;
        };
        let closed =
            |host: &&DnsName| http_listener(gateway, &subject.observed.gateways, host).is_none() && !by_ingress(host);
        if let Some(host) = contribution.hosts.iter().find(closed) {
            return Answer::Yes(format!(
                "{} `{}` has no listener where the CA could ask for `{host}` by plain HTTP: add one such as `{{name: http, port: 80, protocol: HTTP}}`. It needs no `allowedRoutes`: by default a listener accepts HTTPRoutes of its own namespace, and the run makes its HTTPRoute there",
                gateway.name.kind.word(),
                gateway.name
            ));
        }
    }
    Answer::no("an Ingress, or a listener with protocol `HTTP`, takes the CA's requests")
}

/// Asked although nothing is due: who wrote it reads of it now, and not when the certificate is about to end.
fn unclear_key_type(subject: &Subject<'_>) -> Answer {
    match KeyType::asked_for(subject.certificate) {
        Err(why) => Answer::Yes(why),
        Ok(Some(asked)) => Answer::No(format!("its Ingresses ask for a key of type `{asked}`")),
        Ok(None) => Answer::No(format!(
            "no Ingress asks for a type of key; `--key-type` is `{}`",
            subject.policy.key_type
        )),
    }
}

/// The name of an object is a DNS-1123 subdomain: like a host, but a single label will do, may be long, and may look like an address.
fn invalid_secret_name(subject: &Subject<'_>) -> Answer {
    let name = &subject.certificate.secret.name;
    let ends = |label: &str| label.is_empty() || label.starts_with('-') || label.ends_with('-');
    let valid = match name.parse::<DnsName>() {
        Ok(parsed) => !parsed.is_wildcard(),
        Err(DnsNameProblem::Address) => !name.contains(':'),
        Err(DnsNameProblem::Label) => !name.split('.').any(ends),
        Err(_) => false,
    };
    if valid {
        return Answer::No(format!("`{name}` is a name that a Secret can have"));
    }
    Answer::Yes(format!(
        "`{name}` is no name for a Secret: use lower-case letters, digits, `-` and `.`"
    ))
}

fn unknown(subject: &Subject<'_>) -> Answer {
    match subject.secret {
        Read::Unknown(unread) => {
            let hint = unread.hint.as_ref().map(|hint| format!("; hint: {hint}"));
            Answer::Yes(format!(
                "the Secret could not be read: {unread}{}",
                hint.unwrap_or_default()
            ))
        }
        Read::Found(_) | Read::Absent => Answer::no("the API server answered"),
    }
}

fn terminating(subject: &Subject<'_>) -> Answer {
    let namespace = &subject.certificate.secret.namespace;
    if subject
        .observed
        .terminating_namespaces
        .iter()
        .any(|name| name == namespace)
    {
        return Answer::Yes(format!("namespace `{namespace}` is being deleted"));
    }
    if subject.found().is_some_and(|secret| secret.deleting) {
        return Answer::Yes("the Secret is being deleted: a later run makes it anew".into());
    }
    Answer::no("neither the Secret nor its namespace is being deleted")
}

fn wrong_secret_type(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    let type_ = &*secret.version.type_;
    if type_ == "kubernetes.io/tls" {
        return Answer::no("the Secret has type `kubernetes.io/tls`");
    }
    Answer::Yes(format!(
        "the Secret has type `{type_}`, which cannot be changed to `kubernetes.io/tls`: delete it, or name another in the Ingress"
    ))
}

fn managed_elsewhere(subject: &Subject<'_>) -> Answer {
    if let Some((source, annotation)) = subject.certificate.cert_manager.as_deref() {
        return Answer::Yes(format!(
            "cert-manager looks after it: {} `{}` has the annotation `{annotation}`; remove that or `{}`",
            source.place().kind.word(),
            source.place(),
            subject.policy.annotation
        ));
    }
    match subject.found().and_then(|secret| secret.cert_manager.as_ref()) {
        Some(certificate) if !subject.policy.adopt => Answer::Yes(format!(
            "cert-manager's Certificate `{certificate}` writes this Secret: delete that Certificate, then take the Secret over with `--adopt`"
        )),
        Some(_) => Answer::no("`--adopt` takes it over from cert-manager"),
        None => Answer::no("nothing says that cert-manager looks after it"),
    }
}

fn immutable_secret(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    if secret.immutable {
        return Answer::Yes("the Secret is immutable: delete it, and the next run makes it anew".into());
    }
    Answer::no("the Secret can change")
}

fn foreign_secret(subject: &Subject<'_>) -> Answer {
    let Some(secret) = subject.found() else {
        return NO_SECRET;
    };
    if secret.version.marker.is_some() {
        return Answer::no("the Secret carries our marker");
    }
    if let Some(annotation) = [TLS_ACME, subject.policy.annotation.as_str()]
        .iter()
        .find(|annotation| secret.opt_ins.iter().any(|name| name == **annotation))
    {
        return Answer::No(format!("the Secret is annotated with `{annotation}`"));
    }
    if secret.inspection == Inspection::Empty {
        return Answer::no("the Secret holds nothing");
    }
    if subject.policy.adopt {
        return Answer::no("`--adopt` takes it over");
    }
    Answer::Yes(format!(
        "the Secret holds what somebody else put there: annotate it with `{TLS_ACME}: \"true\"`, or run with `--adopt`, to have it replaced"
    ))
}

fn would_drop_hosts(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let wanted: Vec<CompactString> = subject
        .certificate
        .hosts
        .iter()
        .map(|host| host.as_str().into())
        .collect();
    let covered = |host: &DnsName, by: &[CompactString]| by.iter().any(|name| host.is_covered_by(name));
    let dropped = subject.certificate.bystanders.iter().find_map(|(source, hosts)| {
        let dropped = hosts.iter().find(|host| covered(host, &facts.names) && !covered(host, &wanted))?;
        let (place, kind) = (source.place(), source.place().kind.word());
        Some(format!(
            "a new certificate would not cover `{dropped}`, for which {kind} `{place}` uses this Secret: annotate {kind} `{place}` with `{}: \"true\"` too, or name another Secret in it",
            subject.policy.annotation
        ))
    });
    dropped.map_or_else(
        || Answer::no("no Ingress without the annotation would lose a host"),
        Answer::Yes,
    )
}

fn would_downgrade(subject: &Subject<'_>) -> Answer {
    let Some(facts) = subject.facts() else {
        return NO_CERTIFICATE;
    };
    let Some(directory) = &subject.policy.directory else {
        return NO_DIRECTORY;
    };
    if directory.trust() != Trust::Staging {
        return Answer::No(format!("`{directory}` is no staging directory"));
    }
    let from_staging = facts.is_from_staging()
        || subject
            .marker()
            .and_then(|marker| marker.directory.parse::<Directory>().ok())
            .is_some_and(|from| from.trust() == Trust::Staging);
    if facts.not_after <= subject.observed.now || from_staging {
        return Answer::no("what is there is no better");
    }
    Answer::Yes(format!(
        "a certificate by `{}` is still valid, and `{directory}` is a staging directory, which nobody trusts: wait until it ends, or use another Secret",
        facts.issuer
    ))
}
