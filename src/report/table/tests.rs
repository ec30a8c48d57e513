use super::*;
use crate::decide::fixtures::{certificate, days, endless_certificate, ingress, now, observed, secret};
use crate::decide::name::SecretRef;
use crate::decide::observed::{Leftover, LeftoverKind, Observed, Read};
use crate::decide::outcome::{Outcome, Outcomes};
use crate::decide::plan::plan;
use crate::decide::policy::Policy;
use crate::report::ExitStatus;

const TERMINAL: Style = Style {
    bar: true,
    color: true,
    width: Some(80),
};

/// What a report writes, as text.
fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut text = Vec::new();
    write(&mut text).expect("memory takes all");
    String::from_utf8(text).expect("UTF-8")
}

/// One that is kept, one that is due, one that is refused, and an Ingress that is rejected.
fn four() -> Observed {
    let hosts = ["shop.a-rather-long-name-of-a-customer.example", "www.example"];
    let pair = certificate(&hosts, "Test CA", now() - days(30), now() + days(60));
    let mut observed = observed(
        vec![
            ingress("web", "a").tls("a-tls", &hosts),
            ingress("web", "b").tls("b-tls", &["b.example"]),
            ingress("web", "c").tls("c-tls", &["*.c.example"]),
            ingress("web", "d"),
        ],
        Read::Found(secret(&pair, None)),
    );
    observed.secrets.insert(SecretRef::new("web", "b-tls"), Read::Absent);
    observed
}

fn report(outcome: Option<Outcome>) -> Report {
    let plan = plan(&four(), &Policy::default());
    let Some(outcome) = outcome else {
        return Report::of_plan(plan, None);
    };
    let outcomes = Outcomes::from([(SecretRef::new("web", "b-tls"), outcome)]);
    Report::of_run(plan, outcomes, None)
}

#[test]
fn a_pipe_gets_every_letter_and_a_sentence_a_line() {
    let expected = "\
NAMESPACE   SECRET   HOSTS                                              EXPIRES   DUE   ACTION   REASON
web         a-tls    shop.a-rather-long-name-of-a-customer.example +1   60d       30d   keep     Valid
web         b-tls    b.example                                          -         now   issue    Missing
web         c-tls    *.c.example                                        -         -     refuse   WildcardHost

rejected ingress web/d NoTls: has no `spec.tls`: add an entry with `hosts` and `secretName`, or remove the annotation
refused web/c-tls WildcardHost: host `*.c.example` is a wildcard, which HTTP-01 cannot prove: list the names, or use a client that speaks DNS-01
3 certificates: 1 due, 1 valid, 1 refused, 1 rejected
";
    assert_eq!(written(|out| report(None).write_text(out, &Style::default())), expected);
}

#[test]
fn clean_says_what_is_gone() {
    let leftover = |name: &str| Leftover {
        kind: LeftoverKind::Service,
        namespace: "home".into(),
        name: name.into(),
        uid: "u".into(),
        run: "r1".into(),
    };
    for (names, expected) in [
        (&[] as &[&str], "nothing of an earlier run is left\n"),
        (&["a"], "removed Service home/a of run r1\n1 object removed\n"),
        (
            &["a", "b"],
            "removed Service home/a of run r1\nremoved Service home/b of run r1\n2 objects removed\n",
        ),
    ] {
        let mut observed = observed(vec![], Read::Absent);
        observed.leftovers = names.iter().map(|name| leftover(name)).collect();
        let plan = plan(&observed, &Policy::default()).only_sweep();
        let report = Report::of_run(plan, Outcomes::new(), None);
        assert_eq!(
            written(|out| report.write_clean_text(out, &Style::default(), true)),
            expected
        );
    }
}

#[test]
fn what_many_hosts_failed_of_is_a_line_for_each() {
    let with = |causes: &[&str]| {
        let causes = causes.iter().map(ToString::to_string).collect();
        let failed = Failure {
            causes,
            ..Failure::new("no order was made", None)
        };
        written(|out| report(Some(Outcome::Failed(failed))).write_text(out, &Style::default()))
    };
    for (causes, expected) in [
        (
            &["`a.example` is dead"] as &[_],
            "\nfailed web/b-tls: no order was made: `a.example` is dead\n",
        ),
        (
            &["`a.example` is dead", "`b.example` too"],
            "\nfailed web/b-tls: no order was made:\n  `a.example` is dead\n  `b.example` too\n",
        ),
    ] {
        assert!(with(causes).contains(expected), "{}", with(causes));
    }
}

#[test]
fn a_terminal_gets_bars_and_lines_that_fit() {
    let failed = Outcome::Failed(Failure::new("no answer within 10 s", Some("ask again".into())));
    let plain = Style {
        color: false,
        ..TERMINAL
    };
    let text = written(|out| report(Some(failed)).write_text(out, &plain));
    let expected = "\
NAMESPACE   SECRET   HOSTS               EXPIRES     DUE   ACTION   REASON
web         a-tls    shop.a-rather… +1   ▰▰▰▰▱ 60d   30d   keep     Valid
web         b-tls    b.example                 -     -     failed   Missing
web         c-tls    *.c.example               -     -     refuse   WildcardHost

rejected ingress web/d NoTls: has no `spec.tls`: add an entry with `hosts` and
  `secretName`, or remove the annotation
refused web/c-tls WildcardHost: host `*.c.example` is a wildcard, which HTTP-01
  cannot prove: list the names, or use a client that speaks DNS-01
failed web/b-tls: no answer within 10 s
  hint: ask again
3 certificates: 0 issued, 1 failed, 1 valid, 1 refused, 1 rejected
";
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn colour_changes_nothing_but_the_colour() {
    let plain = Style {
        color: false,
        ..TERMINAL
    };
    let mut text = written(|out| report(None).write_text(out, &TERMINAL));
    assert!(text.contains("\x1b[33missue\x1b[39m    Missing"), "{text:?}");
    assert!(text.contains("\x1b[31mrefused\x1b[39m web/c-tls"), "{text:?}");
    for code in [31, 32, 33, 39] {
        text = text.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(text, written(|out| report(None).write_text(out, &plain)));
}

#[test]
fn wide_has_all_hosts_however_narrow_the_terminal() {
    let issued = Outcome::Issued {
        not_after: now() + days(90),
        issuer: "CN=Test".into(),
        dropped: Vec::new(),
    };
    let text = written(|out| report(Some(issued)).write_wide_text(out, &TERMINAL));
    assert!(
        text.contains("shop.a-rather-long-name-of-a-customer.example,www.example"),
        "{text}"
    );
    assert!(
        text.contains("Missing        2027-02-22T12:00:00Z   b           CN=Test\n"),
        "{text}"
    );
}

#[test]
fn a_certificate_without_a_well_defined_end_is_kept_and_printed() {
    let pair = endless_certificate(&["a.example"], now() - days(1));
    let ingresses = vec![ingress("web", "a").tls("a-tls", &["a.example"])];
    let mut observed = observed(ingresses, Read::Found(secret(&pair, None)));
    for at in [now(), now() + days(365_000)] {
        observed.now = at;
        let report = Report::of_plan(plan(&observed, &Policy::default()), None);
        let text = written(|out| report.write_wide_text(out, &Style::default()));
        assert!(text.contains("keep     Valid    9999-12-30T22:00:00Z"), "{text}");
        assert!(text.contains("d   keep"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&written(|out| report.write_json(out))).expect("JSON");
        let row = &json["certificates"][0];
        assert_eq!(row["notAfter"], "9999-12-30T22:00:00Z");
        assert!(row["renewAt"].as_str().is_some_and(|time| time.ends_with('Z')), "{row}");
    }
}

#[test]
fn names_are_what_kubectl_takes() {
    assert_eq!(written(|out| report(None).write_names(out)), "secret/b-tls -n web\n");
}

#[test]
fn whatever_is_left_shows_in_the_bar() {
    for (share, expected) in [
        (0.0, "▱▱▱▱▱"),
        (0.01, "▰▱▱▱▱"),
        (0.2, "▰▱▱▱▱"),
        (0.7, "▰▰▰▰▱"),
        (1.0, "▰▰▰▰▰"),
    ] {
        assert_eq!(bar(share), expected, "{share}");
    }
}

#[test]
fn a_certificate_that_lacks_a_host_is_no_success() {
    let issued = Outcome::Issued {
        not_after: now() + days(90),
        issuer: "CN=Test".into(),
        dropped: vec!["x.example".parse().expect("a name")],
    };
    let report = report(Some(issued));
    assert_eq!(report.exit_status(), ExitStatus::Failure);
    let text = written(|out| report.write_text(out, &Style::default()));
    assert!(
        text.contains("issued web/b-tls: HostDropped: it was renewed without `x.example`"),
        "{text}"
    );
    assert!(text.contains("1 issued, 0 failed"), "{text}");
}
