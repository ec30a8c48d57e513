//! The host of a challenge rule: the one under which the class's controller serves a host now (I8).
//!
//! A controller gives a request to the most specific host that any Ingress of its class names, and looks for a path only
//! there. A challenge rule that is more specific than what serves a host takes the host away from it: the site answers 404.
//! A rule that is less specific takes nothing from anybody; at worst the CA's question does not get through, which the probe
//! finds out before anything is ordered. So where two views of a cluster differ, the less specific rule is the right one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use compact_str::CompactString;

use super::controllers::{Controller, Deeper, Hosts, class_name, class_object, controller};
use super::rule::RuleHost;
use crate::decide::name::{ClassName, DnsName};
use crate::decide::observed::{Ingress, IngressClass};

/// Which hosts the Ingresses in sight serve, class by class.
pub(in crate::decide) struct Serving<'a> {
    classes: &'a [IngressClass],
    /// By the class's name: what certainly serves, because it has this class and stays.
    certain: HashMap<Option<&'a str>, Served<'a>>,
    /// By controller, as far as that can be known: what may serve besides. Classes may share a controller's one instance, an
    /// Ingress that is being deleted serves until it is gone, and some controllers serve rules without paths.
    possible: HashMap<Option<&'a str>, Served<'a>>,
    /// The same for all controllers together: which one serves an Ingress without a class cannot be known.
    anywhere: Served<'a>,
}

#[derive(Default)]
struct Served<'a> {
    names: HashSet<&'a str>,
    /// A host and the host of the rule that serves it under this name too.
    aliases: HashMap<String, &'a str>,
    any: bool,
}

impl<'a> Serving<'a> {
    /// Puts together what these Ingresses serve.
    pub(in crate::decide) fn of(ingresses: &'a [Arc<Ingress>], classes: &'a [IngressClass]) -> Self {
        let mut serving = Self {
            classes,
            certain: HashMap::new(),
            possible: HashMap::new(),
            anywhere: Served::default(),
        };
        for ingress in ingresses {
            serving.add(ingress);
        }
        serving
    }

    fn add(&mut self, ingress: &'a Ingress) {
        let row = controller(&ingress.class, self.classes);
        let (class, controller) = (
            class_name(&ingress.class, self.classes),
            self.controller(&ingress.class, row),
        );
        if !ingress.deleting {
            let certain = self.certain.entry(class).or_default();
            certain.add(ingress, &row.hosts, row.hosts.pathless);
        }
        let possible = self.possible.entry(controller).or_default();
        possible.add(ingress, &row.hosts, true);
        self.anywhere.add(ingress, &row.hosts, true);
    }

    /// The host of the rule by which a challenge for `host` reaches its responder and takes nothing away; nothing where no
    /// Ingress in sight serves the host.
    pub(in crate::decide) fn rule(&self, class: &ClassName, host: &DnsName) -> Option<RuleHost> {
        let row = controller(class, self.classes);
        let certain = self.certain.get(&class_name(class, self.classes));
        let possible = match self.controller(class, row) {
            None => Some(&self.anywhere),
            controller => self.possible.get(&controller),
        };
        let unclassed = self.possible.get(&None);
        [certain, possible, unclassed]
            .into_iter()
            .flatten()
            .find_map(|served| served.rule(host, row.hosts.deeper))
    }

    /// What stands for the controller of a class: none where no IngressClass says which one serves Ingresses without a class.
    fn controller<'b>(&self, class: &'b ClassName, row: &'static Controller) -> Option<&'b str>
    where
        'a: 'b,
    {
        match class_object(class, self.classes) {
            Some(object) => Some(&object.controller),
            None if row.controller.is_empty() => class.as_str(),
            None => Some(row.controller),
        }
    }
}

impl<'a> Served<'a> {
    fn add(&mut self, ingress: &'a Ingress, hosts: &Hosts, pathless: bool) {
        let counts = |host: &&CompactString| pathless || ingress.pathless_hosts.binary_search(host).is_err();
        let names = ingress.rule_hosts.iter().filter(counts).map(CompactString::as_str);
        self.any |= ingress.serves_any_host;
        self.names.extend(names.clone());
        let annotation = |name: &&str| ingress.annotations.get(*name);
        if let Some(first) = names.clone().next() {
            let lists = hosts.aliases.iter().filter_map(annotation);
            let aliases = lists.flat_map(|list| list.split(',')).map(str::trim);
            self.aliases.extend(aliases.map(|alias| (alias.to_owned(), first)));
        }
        if hosts
            .www
            .as_ref()
            .and_then(annotation)
            .is_some_and(|value| value == "true")
        {
            self.aliases.extend(names.map(|name| match name.strip_prefix("www.") {
                Some(bare) => (bare.to_owned(), name),
                None => (format!("www.{name}"), name),
            }));
        }
    }

    fn rule(&self, host: &DnsName, deeper: Deeper) -> Option<RuleHost> {
        let host_name = host.as_str();
        if self.names.contains(host_name) {
            return Some(RuleHost::Named(host.clone()));
        }
        if let Some(name) = self.aliases.get(host_name) {
            return Some(RuleHost::Named(name.parse().ok()?));
        }
        let mut rest = host_name;
        let mut depth = 0;
        while let Some((_, parent)) = rest.split_once('.') {
            rest = parent;
            depth += 1;
            let wildcard = format!("*.{parent}");
            if !self.names.contains(wildcard.as_str()) {
                continue;
            }
            match deeper {
                // Nothing serves the host, and no wider rule would be asked.
                Deeper::Caught if depth > 1 => return Some(RuleHost::Named(host.clone())),
                Deeper::Passed if depth > 1 => continue,
                _ => return Some(RuleHost::Named(wildcard.parse().ok()?)),
            }
        }
        self.any.then_some(RuleHost::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::ingress;

    fn class(name: &str, controller: &str) -> IngressClass {
        IngressClass {
            name: name.into(),
            controller: controller.into(),
            is_default: false,
        }
    }

    fn spec(name: &str) -> ClassName {
        ClassName::Spec(name.into())
    }

    fn site(class: &str) -> Ingress {
        ingress("site", "site").class(spec(class))
    }

    /// Asks for `a.x.example` (or another host) in a class, and says the rule's host, `any`, or `-` where nothing serves it.
    fn rule(sites: &[Ingress], classes: &[IngressClass], class: &ClassName, host: &str) -> String {
        let sites: Vec<_> = sites.iter().cloned().map(Arc::new).collect();
        let serving = Serving::of(&sites, classes);
        match serving.rule(class, &host.parse().expect("a host")) {
            Some(RuleHost::Named(name)) => name.to_string(),
            Some(RuleHost::Any) => "any".into(),
            None => "-".into(),
        }
    }

    #[test]
    fn a_challenge_is_under_the_host_that_serves_it() {
        let (exact, wildcard) = ("a.x.example", "*.x.example");
        let one = |site: Ingress| vec![site];
        for (what, sites, expected) in [
            ("nothing serves it", vec![], "-"),
            ("exact", one(site("c").rule(exact)), exact),
            ("wildcard", one(site("c").rule(wildcard)), wildcard),
            (
                "a rule without a host, or a default backend",
                one(site("c").any_host()),
                "any",
            ),
            (
                "several: the most specific",
                vec![site("c").any_host(), site("c").rule(wildcard), site("c").rule(exact)],
                exact,
            ),
            (
                "several, without the exact one",
                vec![site("c").any_host(), site("c").rule(wildcard)],
                wildcard,
            ),
            (
                "another namespace",
                one(ingress("other", "o").class(spec("c")).rule(wildcard)),
                wildcard,
            ),
            (
                "not annotated",
                one(site("c").rule(wildcard).without_annotation()),
                wildcard,
            ),
            (
                "the same class by annotation",
                one(site("").class(ClassName::Annotation("c".into())).rule(wildcard)),
                wildcard,
            ),
            ("another class", one(site("d").rule(wildcard)), "-"),
            (
                "another class, by default backend",
                vec![site("d").rule(exact), site("c").any_host()],
                "any",
            ),
            ("only another host", one(site("c").rule("b.x.example")), "-"),
            ("a wildcard one label up", one(site("c").rule("*.example")), "-"),
            (
                "a wildcard one label up, and a default backend",
                one(site("c").rule("*.example").any_host()),
                "any",
            ),
            (
                "being deleted, and nothing else",
                one(site("c").rule(wildcard).deleting()),
                wildcard,
            ),
            (
                "being deleted, beside what stays",
                vec![site("c").rule(exact).deleting(), site("c").rule(wildcard)],
                wildcard,
            ),
            (
                "a rule without paths",
                one(site("c").pathless_rule(exact).any_host()),
                "any",
            ),
            (
                "a rule without paths, and nothing else",
                one(site("c").pathless_rule(exact)),
                exact,
            ),
        ] {
            assert_eq!(rule(&sites, &[], &spec("c"), exact), expected, "{what}");
        }
    }

    #[test]
    fn what_a_class_does_not_serve_another_class_of_its_controller_may() {
        let (exact, wildcard) = ("a.x.example", "*.x.example");
        let classes = [
            class("c", "example.com/one"),
            class("c-internal", "example.com/one"),
            class("d", "example.com/other"),
        ];
        for (what, sites, expected) in [
            (
                "another class of the controller",
                vec![site("c-internal").rule(wildcard)],
                wildcard,
            ),
            (
                "its own class first",
                vec![site("c-internal").rule(wildcard), site("c").any_host()],
                "any",
            ),
            ("another controller", vec![site("d").rule(wildcard)], "-"),
            (
                "no class at all: perhaps the same controller",
                vec![site("").class(ClassName::Default).rule(wildcard)],
                wildcard,
            ),
        ] {
            assert_eq!(rule(&sites, &classes, &spec("c"), exact), expected, "{what}");
        }
        let no_class = |sites: &[Ingress], classes: &[IngressClass]| rule(sites, classes, &ClassName::Default, exact);
        let of_d = [site("d").rule(wildcard)];
        assert_eq!(
            no_class(&of_d, &classes),
            wildcard,
            "who serves it is not known: perhaps d's"
        );
        let default = IngressClass {
            is_default: true,
            ..class("c", "example.com/one")
        };
        let classes = [default, class("d", "example.com/other")];
        assert_eq!(no_class(&of_d, &classes), "-", "c is the default class");
        assert_eq!(no_class(&[site("c").rule(wildcard)], &classes), wildcard);
    }

    #[test]
    fn controllers_differ_in_what_a_wildcard_an_empty_rule_and_an_alias_serve() {
        let deep = |class: &str| [site(class).rule("*.example").any_host()];
        let pathless = |class: &str| [site(class).pathless_rule("a.x.example").any_host()];
        let alias =
            |class: &str, annotation: &str, value: &str| [site(class).rule("x.example").annotated(annotation, value)];
        let nginx_alias = "nginx.ingress.kubernetes.io/server-alias";
        let www = "nginx.ingress.kubernetes.io/from-to-www-redirect";
        for (what, sites, class, host, expected) in [
            (
                "nginx's wildcards cover any depth",
                deep("nginx"),
                "nginx",
                "a.x.example",
                "*.example",
            ),
            (
                "Contour's catch and do not serve it",
                deep("contour"),
                "contour",
                "a.x.example",
                "a.x.example",
            ),
            ("others pass it on", deep("traefik"), "traefik", "a.x.example", "any"),
            (
                "nginx makes a server of it",
                pathless("nginx"),
                "nginx",
                "a.x.example",
                "a.x.example",
            ),
            (
                "Contour leaves it out",
                pathless("contour"),
                "contour",
                "a.x.example",
                "any",
            ),
            (
                "an alias",
                alias("nginx", nginx_alias, "b.example, a.example"),
                "nginx",
                "a.example",
                "x.example",
            ),
            (
                "an alias of nginx's is none elsewhere",
                alias("contour", nginx_alias, "a.example"),
                "contour",
                "a.example",
                "-",
            ),
            (
                "www is redirected",
                alias("nginx", www, "true"),
                "nginx",
                "www.x.example",
                "x.example",
            ),
            (
                "www is not redirected",
                alias("nginx", www, "false"),
                "nginx",
                "www.x.example",
                "-",
            ),
        ] {
            assert_eq!(rule(&sites, &[], &spec(class), host), expected, "{what}");
        }
    }
}
