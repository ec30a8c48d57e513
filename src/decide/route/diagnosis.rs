//! Why a challenge is most likely not answered, as far as classes, status and DNS show it.

use std::net::IpAddr;

use super::controllers::class_object;
use crate::decide::name::{ClassName, DnsName};
use crate::decide::observed::{IngressClass, Source};

/// The likeliest cause where nobody, or somebody else, answered at `reached`; nothing where all looks right.
///
/// Without IngressClasses none can be missed: they may not have been read.
pub fn diagnosis(source: &Source, host: &DnsName, classes: &[IngressClass], reached: &[IpAddr]) -> Option<String> {
    let (name, kind) = (source.place(), source.place().kind.word());
    if let Some(ingress) = source.ingress()
        && let ClassName::Spec(class) = &ingress.class
        && class_object(&ingress.class, classes).is_none()
        && !classes.is_empty()
    {
        return Some(format!(
            "there is no IngressClass `{class}`, which ingress `{name}` names: `kubectl get ingressclasses` lists those that there are"
        ));
    }
    if source.addresses().is_empty() {
        let class = source.class();
        let class = class.as_str();
        let class = class.map_or_else(|| "the default class".to_owned(), |class| format!("class `{class}`"));
        return Some(format!(
            "no controller has written its address into the status of {kind} `{name}`: does one serve {class}, and does it run?"
        ));
    }
    let status: Vec<IpAddr> = source
        .addresses()
        .iter()
        .map(|it| it.parse().ok())
        .collect::<Option<_>>()?;
    if reached.is_empty() || reached.iter().any(|address| status.contains(address)) {
        return None;
    }
    if reached.iter().all(IpAddr::is_ipv6) && status.iter().all(IpAddr::is_ipv4) {
        return Some(format!(
            "the AAAA record of `{host}` leads to {}, and the controller's address is {}: CAs ask IPv6 first, so remove the AAAA record, or point it at the controller",
            listed(reached),
            listed(&status)
        ));
    }
    Some(format!(
        "`{host}` leads to {}, but the controller's address is {}: point the DNS record of `{host}` at the controller, unless what is there forwards to it",
        listed(reached),
        listed(&status)
    ))
}

/// What to do where DNS leads to the controller's own address, and nothing there takes a connection.
pub fn hairpin(source: &Source, host: &DnsName, tried: &[IpAddr]) -> Option<String> {
    let own = |address: &&IpAddr| source.addresses().iter().any(|it| it.parse() == Ok(**address));
    let own: Vec<IpAddr> = tried.iter().filter(own).copied().collect();
    if own.is_empty() {
        return None;
    }
    Some(format!(
        "{} is the controller's own address: does `curl -sI http://{host}/` from outside of the cluster get an answer? If not, port 80 is closed, or the controller does not run; if it does, the cluster cannot connect to its own load balancer (hairpin): let the controller write an address into the Ingress's status that the cluster can connect to, and `--probe auto` asks there",
        listed(&own)
    ))
}

fn listed(addresses: &[IpAddr]) -> String {
    let quoted: Vec<String> = addresses.iter().map(|address| format!("`{address}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::ingress;

    #[test]
    fn the_likeliest_cause_is_named() {
        let classes = [IngressClass {
            name: "contour".into(),
            controller: "projectcontour.io/ingress-controller".into(),
            is_default: true,
        }];
        let spec = |class: &str| ClassName::Spec(class.into());
        let (here, there) = ("192.0.2.1", "198.51.100.7");
        for (class, status, reached, expected) in [
            (
                spec("contur"),
                vec![here],
                here,
                Some("there is no IngressClass `contur`, which ingress `web/a` names"),
            ),
            (
                spec("contour"),
                vec![],
                here,
                Some("status of ingress `web/a`: does one serve class `contour`"),
            ),
            (
                ClassName::Default,
                vec![],
                here,
                Some("does one serve the default class"),
            ),
            (
                spec("contour"),
                vec![here, "192.0.2.2"],
                there,
                Some("`a.example` leads to `198.51.100.7`, but the controller's address is `192.0.2.1`, `192.0.2.2`"),
            ),
            (
                spec("contour"),
                vec![here],
                "2001:db8::7",
                Some("the AAAA record of `a.example` leads to `2001:db8::7`"),
            ),
            (spec("contour"), vec!["2001:db8::7", here], "2001:db8::7", None),
            (spec("contour"), vec![here], here, None),
            // A name in the status leads anywhere.
            (spec("contour"), vec!["lb.example"], there, None),
            // Controllers that go by the annotation need no object.
            (ClassName::Annotation("old".into()), vec![here], here, None),
        ] {
            let mut ingress = ingress("web", "a");
            ingress.addresses = status.into_iter().map(Into::into).collect();
            ingress.class = class;
            let source = Source::Ingress(ingress.into());
            let reached = [reached.parse().expect("an address")];
            let said = diagnosis(&source, &"a.example".parse().expect("a name"), &classes, &reached);
            match expected {
                Some(words) => assert!(said.as_deref().unwrap_or_default().contains(words), "{words}: {said:?}"),
                None => assert_eq!(said, None),
            }
            let unread = diagnosis(&source, &"a.example".parse().expect("a name"), &[], &reached);
            assert!(!unread.unwrap_or_default().contains("no IngressClass"));
        }
    }

    #[test]
    fn only_the_controllers_own_address_is_a_hairpin() {
        let mut ingress = ingress("web", "a");
        ingress.addresses = ["192.0.2.1".into(), "lb.example".into()].into_iter().collect();
        let source = Source::Ingress(ingress.into());
        let host = "a.example".parse().expect("a name");
        let said = |tried: &[&str]| {
            let tried: Vec<IpAddr> = tried.iter().map(|it| it.parse().expect("an address")).collect();
            hairpin(&source, &host, &tried)
        };
        let own = said(&["2001:db8::7", "192.0.2.1"]).expect("a hint");
        assert!(own.starts_with("`192.0.2.1` is the controller's own address"), "{own}");
        assert_eq!(said(&["2001:db8::7", "198.51.100.7"]), None);
    }
}
