use super::*;

fn problem(json: &str) -> Cause {
    let problem: instant_acme::Problem = serde_json::from_str(json).expect("a problem");
    Cause::from(instant_acme::Error::Api(problem))
}

fn failed(cause: Cause, status: u16, retry_after: Option<&str>) -> AcmeError {
    let exchange = Exchange {
        status: StatusCode::from_u16(status).expect("a status"),
        retry_after: retry_after.map(|text| text.parse().expect("a time")),
        ..Exchange::default()
    };
    AcmeError::new("create an order for `a.example`", "https://c/d", cause)
        .after(Some(&exchange))
        .of_account("`acme-1.json` from the Secret `home/kube-lego-account`")
}

const URN: &str = "urn:ietf:params:acme:error:";

#[test]
fn a_problem_document_reaches_the_user_whole_on_one_line() {
    let json = format!(
        r#"{{"type":"{URN}compound","detail":"two\nof them","subproblems":[
            {{"type":"{URN}caa","detail":"CAA \u001b[31mforbids","identifier":{{"type":"dns","value":"a.example"}}}},
            {{"type":"{URN}dns","detail":"NXDOMAIN","identifier":{{"type":"dns","value":"b.example"}}}}]}}"#
    );
    assert_eq!(
        failed(problem(&json), 403, None).to_string(),
        "cannot create an order for `a.example` at `https://c/d`: compound: two of them (status 403); \
             a.example: caa: CAA [31mforbids; b.example: dns: NXDOMAIN"
    );
}

#[test]
fn each_cause_has_its_words_its_hint_and_its_permanence() {
    let kind = |kind: &str, detail: &str| problem(&format!(r#"{{"type":"{URN}{kind}","detail":"{detail}"}}"#));
    let later = Some("2026-11-24T11:00:00Z");
    for (error, message, hint, permanent) in [
        (
            failed(kind("rateLimited", "too many"), 429, later),
            "rateLimited: too many (status 429)",
            Some("not to come back before 2026-11-24T11:00:00Z"),
            true,
        ),
        (
            failed(kind("rateLimited", "paused, see https://u.example/unpause"), 429, None),
            "https://u.example/unpause",
            Some("open the URL"),
            true,
        ),
        (
            failed(kind("rateLimited", "busy"), 503, later),
            "busy (status 503)",
            Some("2026-11-24T11:00:00Z"),
            false,
        ),
        (failed(kind("serverInternal", "oops"), 500, None), "oops", None, false),
        (
            failed(kind("caa", "forbidden"), 403, None),
            "caa",
            Some("CAA record"),
            true,
        ),
        (
            failed(kind("rejectedIdentifier", "no"), 400, None),
            "rejectedIdentifier: no",
            Some("take the host out"),
            true,
        ),
        (failed(kind("badCSR", "no"), 400, None), "badCSR: no", None, true),
        (
            failed(kind("unauthorized", "no"), 403, None),
            "unauthorized: no",
            Some("leads to this cluster"),
            true,
        ),
        (
            failed(kind("unsupportedIdentifier", "no"), 400, None),
            "unsupported",
            None,
            true,
        ),
        (
            failed(kind("invalidProfile", "no"), 400, None),
            "invalidProfile",
            Some("`--profile`"),
            true,
        ),
        (
            failed(kind("externalAccountRequired", "no"), 403, None),
            "externalAccountRequired",
            Some("`--eab-key-id` and `--eab-hmac-key-file`"),
            true,
        ),
        (
            failed(Cause::ExternalAccountRequired, 200, None),
            "wants an external account",
            Some("`--eab-key-id`"),
            true,
        ),
        (
            failed(kind("accountDoesNotExist", "no"), 400, None),
            "accountDoesNotExist",
            Some("remove `acme-1.json` from the Secret `home/kube-lego-account`:"),
            true,
        ),
        (
            failed(kind("userActionRequired", "agree to https://t.example"), 403, None),
            "https://t.example",
            Some("somebody"),
            true,
        ),
        (
            failed(problem("{}"), 400, None),
            "no reason was given (status 400)",
            None,
            true,
        ),
    ] {
        let text = error.to_string();
        assert!(text.contains(message), "{text}");
        assert_eq!(error.is_permanent(), permanent, "{text}");
        match (error.hint(), hint) {
            (Some(said), Some(words)) => assert!(said.contains(words), "{text}: {said}"),
            (said, wanted) => assert_eq!(said.as_deref(), wanted, "{text}"),
        }
    }
}

#[test]
fn what_a_ca_says_is_said_once() {
    let host = |host: &str, detail: &str| HostProblem {
        host: host.into(),
        kind: "connection".into(),
        detail: detail.into(),
    };
    let problem = |detail: &str, hosts| Problem {
        kind: "unauthorized".into(),
        detail: detail.into(),
        status: Some(403),
        hosts,
    };
    let invalid = |hosts, order| Cause::Invalid { hosts, order };
    for (what, cause, expected) in [
        (
            "hosts of which the same is said",
            invalid(
                vec![
                    host("a.example", "refused"),
                    host("b.example", "reset"),
                    host("c.example", "refused"),
                ],
                Some(problem("failed", vec![])),
            ),
            ": the order is `invalid`: a.example, c.example: connection: refused; b.example: connection: reset",
        ),
        (
            "no host, but the order",
            invalid(vec![], Some(problem("failed", vec![]))),
            ": the order is `invalid`: unauthorized: failed (status 403)",
        ),
        (
            "nothing",
            invalid(vec![], None),
            ": the order is `invalid`: no reason was given",
        ),
        (
            "a subproblem that the detail has word for word",
            Cause::Problem(problem(
                "Cannot issue for a.example: forbidden (and 1 more problem)",
                vec![host("a.example", "forbidden"), host("b.example", "forbidden")],
            )),
            ": unauthorized: Cannot issue for a.example: forbidden (and 1 more problem) (status 403); \
                 b.example: connection: forbidden",
        ),
    ] {
        let text = AcmeError::new("ask", "https://c/o", cause).to_string();
        assert_eq!(text, format!("cannot ask at `https://c/o`{expected}"), "{what}");
    }
}

#[test]
fn an_order_ends_where_no_certificate_can_come_of_it_any_more() {
    assert!(failed(problem(r#"{"detail":"no such order"}"#), 404, None).ends_the_order());
    assert!(failed(problem(r#"{"detail":"no"}"#), 403, None).ends_the_order());
    let later = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"later"}"#;
    assert!(!failed(problem(later), 429, None).ends_the_order());
    assert!(!failed(problem(r#"{"detail":"down"}"#), 503, None).ends_the_order());
    assert!(!AcmeError::new("ask", "u", Cause::TimedOut(30)).ends_the_order());
}

#[test]
fn a_refusal_is_remembered_and_trouble_is_not() {
    let kind = |kind: &str, detail: &str| problem(&format!(r#"{{"type":"{URN}{kind}","detail":"{detail}"}}"#));
    let later = Some("2026-11-24T11:00:00Z");
    let host = HostProblem {
        host: "a.example".into(),
        kind: "unauthorized".into(),
        detail: "404".into(),
    };
    let invalid = |hosts| Cause::Invalid { hosts, order: None };
    for (error, expected) in [
        (failed(invalid(vec![host]), 200, None), Some(("unauthorized", None))),
        (failed(invalid(vec![]), 200, None), Some(("invalid", None))),
        (
            failed(kind("rateLimited", "slow"), 429, later),
            Some(("rateLimited", later)),
        ),
        (
            failed(
                kind(
                    "rateLimited",
                    "too many, retry after 2026-11-24 11:00:00 UTC: see https://x",
                ),
                429,
                None,
            ),
            Some(("rateLimited", later)),
        ),
        (
            failed(kind("rejectedIdentifier", "no"), 400, None),
            Some(("rejectedIdentifier", None)),
        ),
        (failed(kind("badNonce", "again"), 400, None), None),
        (failed(kind("serverInternal", "oops"), 500, None), None),
        (failed(Cause::TimedOut(30), 200, None), None),
        (
            failed(Cause::Waiting(crate::adapters::acme::OrderState::Processing), 200, None),
            None,
        ),
    ] {
        let refused = error.refused();
        let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
        let found = refused
            .as_ref()
            .map(|refused| (refused.class.as_str(), refused.not_before));
        assert_eq!(found, expected.map(|(class, text)| (class, text.map(time))), "{error}");
    }
}
