use super::*;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut builder = http::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).expect("a response").into_parts();
    Answer {
        parts,
        body: Bytes::from(body.to_owned()),
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "2026-11-24T10:00:00Z".parse().expect("time");
    for (text, expected) in [
        ("120", Some("2026-11-24T10:02:00Z")),
        (" 5 ", Some("2026-11-24T10:00:05Z")),
        ("Tue, 24 Nov 2026 11:00:00 GMT", Some("2026-11-24T11:00:00Z")),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("4294967296", Some("2162-12-31T16:28:16Z")),
        ("99999999999999999999", Some("9999-12-30T22:00:00.999999999Z")),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("value"));
        let expected = expected.map(|text| text.parse::<Timestamp>().expect("time"));
        assert_eq!(retry_after(&headers, now), expected, "{text:?}");
    }
}

#[test]
fn an_answer_without_a_problem_document_is_its_status() {
    for (answer, expected) in [
        (
            answer(503, &[], "<html>\n  <b>down</b>"),
            "the server answered 503 Service Unavailable: `<html> <b>down</b>`",
        ),
        (answer(502, &[], ""), "the server answered 502 Bad Gateway"),
        (answer(400, &[], "{}"), "the server answered 400 Bad Request: `{}`"),
        (
            answer(301, &[("location", "https://b.example/dir")], "moved"),
            "the server answered 301 Moved Permanently: `https://b.example/dir`",
        ),
        (
            answer(
                429,
                &[("content-type", "text/plain")],
                r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"slow\ndown"}"#,
            ),
            "rateLimited: slow down",
        ),
    ] {
        assert_eq!(answer.into_cause().to_string(), expected);
    }
    let long = answer(500, &[], &"\u{fc}".repeat(2000)).beginning();
    assert_eq!(long.chars().count(), EXCERPT_CHARACTERS + 3);
}

#[test]
fn a_proxy_is_used_exempted_or_refused_and_its_password_is_not_shown() {
    let proxy = |url: &str, exempt: &str| Proxy {
        url: url.into(),
        exempt: exempt.into(),
    };
    let goes = |exempt: &str, host: &str| {
        let (matcher, _) = matcher(&proxy("http://u:PASS@proxy:3128", exempt)).expect("a proxy");
        let uri = format!("https://{host}/dir").parse().expect("uri");
        matcher.intercept(&uri).map(|intercept| intercept.uri().to_string())
    };
    assert_eq!(goes("", "ca.example").as_deref(), Some("http://proxy:3128/"));
    assert_eq!(goes("example,10.0.0.0/8", "ca.example"), None);
    assert_eq!(goes("10.0.0.0/8", "10.1.2.3"), None);
    assert_eq!(goes("other", "ca.example").as_deref(), Some("http://proxy:3128/"));
    for (url, words) in [
        ("socks5://u:PASS@proxy:1080", "not `socks5://`"),
        ("https://u:PASS@proxy", "not `https://`"),
        ("u:PASS@pro xy", "cannot be read"),
    ] {
        let message = matcher(&proxy(url, "")).map(drop).expect_err(url).to_string();
        assert!(message.contains(words) && !message.contains("PASS"), "{message}");
    }
    assert!(!format!("{:?}", proxy("http://u:PASS@proxy:3128", "")).contains("PASS"));
}

#[test]
fn a_bundle_without_certificates_is_an_error() {
    for (pem, words) in [
        ("", "`ca.pem` has no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 of",
        ),
        ("-----BEGIN CERTIFICATE-----\n", "certificate 1 of"),
    ] {
        let bundle = CaBundle {
            name: "ca.pem".into(),
            pem: pem.into(),
        };
        let message = roots(Some(&bundle)).map(drop).expect_err(pem).to_string();
        assert!(message.contains(words), "{message}");
    }
    assert!(roots(None).is_ok_and(|roots| roots.len() > 50));
}

#[test]
fn our_name_comes_first() {
    let mut headers = HeaderMap::new();
    assert!(
        agent(&headers)
            .to_str()
            .is_ok_and(|name| name.starts_with("kube-lego-once/"))
    );
    headers.insert(USER_AGENT, HeaderValue::from_static("instant-acme/1"));
    assert!(
        agent(&headers)
            .to_str()
            .is_ok_and(|name| name.ends_with(" instant-acme/1"))
    );
}
