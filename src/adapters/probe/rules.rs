//! What CAs do, as pure functions: which addresses they reach, which redirects they follow, which answers are right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, StatusCode};

use super::failure::{ProbeFailure, Speaker};
use crate::decide::name::{DnsName, RunId};
use crate::decide::route::RUN_HEADER;

/// Whether the ingress way may be tried after the public one: it failed to connect to the host itself, and either DNS
/// gave an address of that status, or the status holds only private addresses (hairpin NAT).
pub(super) fn may_fall_back(failure: &ProbeFailure, status: &[IpAddr]) -> bool {
    // After a redirect there has been an HTTP answer, and that is final.
    let ProbeFailure::ConnectFailed {
        addresses,
        redirects: 0,
        ..
    } = failure
    else {
        return false;
    };
    let in_status = addresses.iter().any(|address| status.contains(address));
    let all_private = !status.is_empty() && status.iter().all(|address| private_class(*address).is_some());
    in_status || all_private
}

/// Those of `addresses` to which a public probe may connect, or the first one that bars them all.
pub(super) fn reachable(addresses: Vec<IpAddr>, allow_private: bool) -> Result<Vec<IpAddr>, (IpAddr, &'static str)> {
    if allow_private {
        return Ok(addresses);
    }
    let (barred, open): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .map(|address| (address, private_class(address)))
        .partition(|(_, class)| class.is_some());
    match barred.first() {
        Some((address, Some(class))) if open.is_empty() => Err((*address, class)),
        _ => Ok(open.into_iter().map(|(address, _)| address).collect()),
    }
}

/// Why a public CA cannot reach an address, as the words before "address"; nothing if it can.
fn private_class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(four) => private_class_four(four),
        IpAddr::V6(six) => private_class_six(six),
    }
}

fn private_class_four(four: Ipv4Addr) -> Option<&'static str> {
    match four.octets() {
        [0, ..] => Some("the unspecified"),
        [127, ..] => Some("a loopback"),
        [169, 254, ..] => Some("a link-local"),
        // RFC 1918 and, for a provider's own customers, RFC 6598.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Some("a private"),
        [224..=239, ..] => Some("a multicast"),
        [240..=255, ..] => Some("a reserved"),
        _ => None,
    }
}

fn private_class_six(six: Ipv6Addr) -> Option<&'static str> {
    // An IPv4 address in another dress leads to the same place: compatible and mapped (RFC 4291 section 2.5.5), by NAT64 (RFC 6052
    // section 2.1), by 6to4 (RFC 3056 section 2).
    let embedded = match six.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = six.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        [0x2002, ..] => {
            let [_, _, a, b, c, d, ..] = six.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    };
    match six.segments()[0] {
        _ if six.is_unspecified() => Some("the unspecified"),
        _ if six.is_loopback() => Some("a loopback"),
        // NAT64 of one's own (RFC 8215): where the IPv4 address is in it, only its owner knows.
        0x64 if six.segments()[1..3] == [0xff9b, 1] => Some("a private"),
        0xfe80..=0xfebf => Some("a link-local"),
        0xfc00..=0xfdff => Some("a private"),
        0xff00.. => Some("a multicast"),
        _ => embedded.and_then(private_class_four),
    }
}

/// What is asked for, with the port that is dialled for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) secure: bool,
    pub(super) host: DnsName,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl Target {
    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The `Host` header: the port where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (false, 80) | (true, 443) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// The URL for people: a random token says nothing.
    pub(super) fn shown(&self, token: &str) -> String {
        let url = format!("{}://{}{}", self.scheme(), self.authority(), self.path);
        url.replace(token, "...").chars().take(300).collect()
    }

    /// Where a `Location` leads (RFC 9110 section 10.2.2), or why CAs do not follow it.
    pub(super) fn follow(&self, location: &str, http_port: u16, https_port: u16) -> Result<Self, &'static str> {
        const NO_URL: &str = "which is not a URL";
        let location = location.split('#').next().unwrap_or_default();
        let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
            scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        let absolute = if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if has_scheme {
            location.to_owned()
        } else {
            let folder = self.path.split('?').next().and_then(|path| path.rsplit_once('/'));
            let path = match folder {
                Some((folder, _)) if !location.starts_with('/') => format!("{folder}/{location}"),
                _ => location.to_owned(),
            };
            path.parse::<PathAndQuery>().map_err(|_| NO_URL)?;
            return Ok(Self { path, ..self.clone() });
        };
        let uri: Uri = absolute.parse().map_err(|_| NO_URL)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("which is neither http nor https"),
        };
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let port = match uri.port_u16() {
            None if secure => https_port,
            None | Some(80) => http_port,
            Some(443) => https_port,
            Some(port) if port == http_port || port == https_port => port,
            Some(_) => return Err("whose port is neither 80 nor 443, so CAs do not follow"),
        };
        Ok(Self {
            secure,
            host: host.parse().map_err(|_| "whose host is not a DNS name")?,
            port,
            path: uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
        })
    }
}

/// What there is to judge of an HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Read only where the status is 200; nothing where it was longer than any answer of ours.
    pub(super) body: Option<Bytes>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Redirect(String),
    Wrong(Speaker),
}

/// Good is 200, exactly the key authorization, and this run's header.
pub(super) fn judge(answer: &Answer, expected: &str, run: &RunId) -> Verdict {
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    if matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308)
        && let Some(location) = text("location")
    {
        return Verdict::Redirect(location.to_owned());
    }
    let is_right = answer.status == StatusCode::OK && answer.body.as_deref() == Some(expected.as_bytes());
    match text(RUN_HEADER) {
        Some(seen) if seen == run.as_str() && is_right => Verdict::Good,
        Some(seen) if seen == run.as_str() => Verdict::Wrong(Speaker::ThisRun),
        Some(seen) => Verdict::Wrong(Speaker::OtherRun(seen.chars().take(63).collect())),
        None if is_right => Verdict::Wrong(Speaker::Unnamed),
        None => Verdict::Wrong(Speaker::Stranger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_private_by_its_class() {
        for (text, class) in [
            ("192.0.2.1", None),
            ("8.8.8.8", None),
            ("172.15.0.1", None),
            ("172.32.0.1", None),
            ("100.63.0.1", None),
            ("100.128.0.1", None),
            ("2001:db8::1", None),
            ("64:ff9b::8.8.8.8", None),
            ("0.0.0.0", Some("the unspecified")),
            ("127.1.2.3", Some("a loopback")),
            ("169.254.169.254", Some("a link-local")),
            ("10.0.0.1", Some("a private")),
            ("172.16.0.1", Some("a private")),
            ("172.31.255.255", Some("a private")),
            ("192.168.1.1", Some("a private")),
            ("100.64.0.1", Some("a private")),
            ("100.127.0.1", Some("a private")),
            ("224.0.0.1", Some("a multicast")),
            ("255.255.255.255", Some("a reserved")),
            ("::", Some("the unspecified")),
            ("::1", Some("a loopback")),
            ("fe80::1", Some("a link-local")),
            ("fd00::1", Some("a private")),
            ("fc00::1", Some("a private")),
            ("ff02::1", Some("a multicast")),
            ("::ffff:10.0.0.1", Some("a private")),
            ("::10.0.0.1", Some("a private")),
            ("::8.8.8.8", None),
            ("64:ff9b::127.0.0.1", Some("a loopback")),
            ("64:ff9b:1::8.8.8.8", Some("a private")),
            ("2002:7f00:1::1", Some("a loopback")),
            ("2002:808:808::1", None),
        ] {
            assert_eq!(private_class(text.parse().expect("an address")), class, "{text}");
        }
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn private_addresses_are_left_out_and_bar_a_name_that_has_no_other() {
        let mixed = addresses(&["fd00::1", "192.0.2.1", "10.0.0.1"]);
        assert_eq!(reachable(mixed.clone(), false), Ok(addresses(&["192.0.2.1"])));
        assert_eq!(reachable(mixed.clone(), true), Ok(mixed));
        let expected = ("10.0.0.1".parse().expect("an address"), "a private");
        assert_eq!(reachable(addresses(&["10.0.0.1", "::1"]), false), Err(expected));
    }

    #[test]
    fn the_ingress_way_is_for_failed_connections_and_known_addresses() {
        let failed = |redirects| ProbeFailure::ConnectFailed {
            url: "http://a.example/".into(),
            addresses: addresses(&["192.0.2.1"]),
            redirects,
            cause: "refused".into(),
        };
        let missing = ProbeFailure::NameMissing {
            host: "a.example".parse().expect("a name"),
        };
        for (name, failure, status, expected) in [
            (
                "DNS gave an address of the status",
                failed(0),
                &["198.51.100.1", "192.0.2.1"][..],
                true,
            ),
            ("only private ones", failed(0), &["10.0.0.1", "fd00::1"], true),
            (
                "a private one and a public one",
                failed(0),
                &["10.0.0.1", "198.51.100.1"],
                false,
            ),
            (
                "a public one that DNS does not know",
                failed(0),
                &["198.51.100.1"],
                false,
            ),
            ("no status", failed(0), &[], false),
            ("a redirect was answered", failed(1), &["192.0.2.1"], false),
            ("no such name", missing, &["10.0.0.1"], false),
        ] {
            assert_eq!(may_fall_back(&failure, &addresses(status)), expected, "{name}");
        }
    }

    #[test]
    fn redirects_lead_where_cas_follow() {
        let at = Target {
            secure: false,
            host: "a.example".parse().expect("a name"),
            port: 80,
            path: "/x/y?z=1".into(),
        };
        let ports = "whose port is neither 80 nor 443, so CAs do not follow";
        for (location, expected) in [
            ("https://a.example/x", Ok("https a.example 443 /x")),
            ("https://a.example:443/x?q=1#f", Ok("https a.example 443 /x?q=1")),
            ("http://B.example", Ok("http b.example 80 /")),
            ("HTTP://b.example:80/", Ok("http b.example 80 /")),
            ("http://b.example:443/", Ok("http b.example 443 /")),
            ("//b.example/x", Ok("http b.example 80 /x")),
            (
                "/w?next=http://c.example/",
                Ok("http a.example 80 /w?next=http://c.example/"),
            ),
            ("w", Ok("http a.example 80 /x/w")),
            ("https://a.example:8443/", Err(ports)),
            ("http://a.example:22/", Err(ports)),
            ("ftp://a.example/", Err("which is neither http nor https")),
            ("javascript:alert(1)", Err("which is neither http nor https")),
            ("http://192.0.2.1/", Err("whose host is not a DNS name")),
            ("http://[::1]/", Err("whose host is not a DNS name")),
            ("http://a b/", Err("which is not a URL")),
        ] {
            let target = at.follow(location, 80, 443);
            let shown =
                target.map(|target| format!("{} {} {} {}", target.scheme(), target.host, target.port, target.path));
            assert_eq!(shown, expected.map(str::to_owned), "{location}");
        }
        for (location, expected) in [
            ("https://a.example/", Ok(5001)),
            ("https://a.example:443/", Ok(5001)),
            ("http://a.example:80/", Ok(5002)),
            ("http://a.example:5002/", Ok(5002)),
            ("https://a.example:5001/", Ok(5001)),
            ("https://a.example:444/", Err(ports)),
        ] {
            let target = at.follow(location, 5002, 5001);
            assert_eq!(target.map(|target| target.port), expected, "{location}");
        }
    }

    #[test]
    fn an_answer_is_good_only_if_all_of_it_is() {
        let run: RunId = "run-1".parse().expect("a run's id");
        let judged = |status: u16, fields: &[(&'static str, &'static str)], body: Option<&'static str>| {
            let headers = fields
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        http::HeaderValue::from_static(value),
                    )
                })
                .collect();
            let answer = Answer {
                status: StatusCode::from_u16(status).expect("a status"),
                headers,
                body: body.map(Bytes::from),
            };
            judge(&answer, "T.K", &run)
        };
        let ours = (RUN_HEADER, "run-1");
        let wrong = Verdict::Wrong;
        for (seen, expected) in [
            (judged(200, &[ours], Some("T.K")), Verdict::Good),
            (judged(200, &[ours], Some("T.K\n")), wrong(Speaker::ThisRun)),
            (judged(200, &[ours], None), wrong(Speaker::ThisRun)),
            (judged(404, &[ours], Some("T.K")), wrong(Speaker::ThisRun)),
            (judged(200, &[], Some("T.K")), wrong(Speaker::Unnamed)),
            (judged(404, &[], None), wrong(Speaker::Stranger)),
            (
                judged(200, &[(RUN_HEADER, "run-2")], Some("T.K")),
                wrong(Speaker::OtherRun("run-2".into())),
            ),
            (judged(307, &[("location", "/x")], None), Verdict::Redirect("/x".into())),
            (judged(301, &[], None), wrong(Speaker::Stranger)),
            (judged(304, &[("location", "/x")], None), wrong(Speaker::Stranger)),
        ] {
            assert_eq!(seen, expected);
        }
    }
}
