use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::*;
use crate::decide::checks::Reason;
use crate::decide::desired::{Rejected, Rejection};
use crate::decide::fixtures::{certificate, days, ingress, now, observed, secret};
use crate::decide::name::{ClassName, SecretRef, SourceKind, SourceRef};
use crate::decide::observed::{Leftover, LeftoverKind, Pairs, Read};
use crate::decide::outcome::{FAILURE_CLASSES, Failure, Outcome, Outcomes};
use crate::decide::plan::{Plan, plan};
use crate::decide::policy::Policy;
use crate::report::prometheus::Timing;

const TEMPLATE: &str = include_str!("page.html");

/// What a tenant or a CA might say.
const HOSTILE: &str = "<script>alert(\"x\")</script><img src=x onerror='y()'>--></style></title>&lt;b>\u{202e}\u{200b}\u{1b}]0;\u{7}\n{{ x }}";

fn page(report: &Report) -> String {
    let mut text = Vec::new();
    report.write_html(&mut text).expect("memory takes all");
    String::from_utf8(text).expect("UTF-8")
}

/// A certificate that nobody has yet.
fn decision(namespace: &str, name: &str) -> Decision {
    let ingresses = vec![ingress("web", "site").tls("a-tls", &["a.example"])];
    let mut decision = plan(&observed(ingresses, Read::Absent), &Policy::default())
        .issue
        .remove(0);
    decision.certificate.secret = SecretRef::new(namespace, name);
    decision
}

fn empty() -> Plan {
    plan(&observed(vec![], Read::Absent), &Policy::default())
}

fn rejected(name: &str, reason: Rejection) -> Rejected {
    Rejected {
        source: SourceRef::new(SourceKind::Gateway, "web", name),
        reason,
        class: ClassName::Default,
        labels: Pairs::new(),
    }
}

/// One of each kind, with this text wherever a text comes from outside.
fn with(text: &str) -> Report {
    let mut plan = empty();
    let place = |name: &str| format!("{name}{text}");
    let reasoned = |name: &str, reason| Decision {
        reason,
        said: Some(format!("host `{text}` is not well").into()),
        notes: [format!("a note on {text}")].into_iter().collect(),
        ..decision(&place("web"), &place(name))
    };
    let invalid = ingress(&place("web"), &place("invalid")).tls(&place("invalid"), &[text]);
    let ended = certificate(&["a.example"], "Test CA", now() - days(95), now() - days(5));
    let mut ended_web = observed(
        vec![ingress("web", "a").tls("a-tls", &["a.example"])],
        Read::Found(secret(&ended, None)),
    );
    ended_web.now = now() - days(10);
    plan.refuse = crate::decide::plan::plan(&observed(vec![invalid], Read::Absent), &Policy::default()).refuse;
    let ended = crate::decide::plan::plan(&ended_web, &Policy::default());
    plan.refuse
        .extend(ended.decisions().into_iter().map(|(_, decision)| Decision {
            reason: Reason::Unknown,
            ..decision.clone()
        }));
    plan.keep = vec![
        reasoned("waits", Reason::BackingOff),
        reasoned("later", Reason::Deferred),
    ];
    plan.issue = ["failed", "refused", "narrowed", "unreached"]
        .map(|name| reasoned(name, Reason::Missing))
        .into();
    plan.rejected = vec![
        rejected(&place("a"), Rejection::NoHttpsListener),
        rejected(&place("b"), Rejection::NoHostname { listener: text.into() }),
    ];
    plan.notes = vec![format!("a note on `{text}`")];
    plan.sweep = vec![Leftover {
        kind: LeftoverKind::Ingress,
        namespace: text.into(),
        name: text.into(),
        uid: text.into(),
        run: text.into(),
    }];
    let failure = |causes: &[&str]| {
        Outcome::Failed(Failure {
            causes: causes.iter().map(ToString::to_string).collect(),
            ..Failure::new(text, Some(text.into()))
        })
    };
    let issued = Outcome::Issued {
        not_after: now() + days(90),
        issuer: text.into(),
        dropped: vec!["b.example".parse().expect("a name")],
    };
    let outcomes = [
        ("failed", failure(&[text, text])),
        ("refused", failure(&[])),
        ("narrowed", issued),
    ];
    let outcomes = outcomes.map(|(name, outcome)| (SecretRef::new(place("web"), place(name)), outcome));
    Report::of_run(plan, Outcomes::from(outcomes), Some(text)).timed(Timing {
        ended: now(),
        duration: SignedDuration::from_secs(12),
        succeeded: false,
    })
}

/// A page without the contents of its style and script, which no text comes into.
fn marked_up(page: &str) -> String {
    page.replacen(STYLE, "", 1).replacen(SCRIPT, "", 1)
}

/// The elements of a page with the names of their attributes, in their order.
fn skeleton(page: &str) -> Vec<String> {
    let page = marked_up(page);
    let tags = page
        .split('<')
        .skip(1)
        .map(|tag| tag.split('>').next().expect("its end"));
    tags.map(|tag| tag.split('"').step_by(2).collect()).collect()
}

/// The values of an attribute, in their order.
fn values(page: &str, attribute: &str) -> Vec<String> {
    let page = marked_up(page);
    let start = format!(" {attribute}=\"");
    let rests = page.split(start.as_str()).skip(1);
    rests
        .map(|rest| rest.split('"').next().expect("its end").to_owned())
        .collect()
}

#[test]
fn a_hostile_text_is_only_ever_text() {
    let (hostile, tame) = (page(&with(HOSTILE)), page(&with("tame text")));
    assert_eq!(
        skeleton(&hostile),
        skeleton(&tame),
        "the same elements, whatever the text"
    );
    assert!(
        hostile.matches("&lt;script&gt;alert(&quot;x&quot;)").count() > 40,
        "{hostile}"
    );
    let odd = hostile
        .chars()
        .find(|letter| *letter != '\n' && harmless(*letter) != *letter);
    assert_eq!(odd, None, "no control or hidden character is left");
    // A digest of the style and of the script is in the policy, and no other may run.
    assert_eq!(TEMPLATE.matches("|safe").count(), 2, "the style and the script");
    for attribute in skeleton(&hostile).iter().flat_map(|tag| tag.split_whitespace().skip(1)) {
        assert!(
            !attribute.starts_with("on") && attribute != "style=",
            "the policy refuses `{attribute}`"
        );
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let page = page(&with("https://elsewhere.example/"));
    let policy = &values(&page, "content")[0];
    for part in [
        "default-src &#39;none&#39;",
        "base-uri &#39;none&#39;",
        "form-action &#39;none&#39;",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(values(&page, "src"), [""; 0]);
    let links = values(&page, "href");
    assert!(links.len() > 5, "{links:?}");
    assert!(
        links.iter().all(|link| link.starts_with('#') || link == "data:,"),
        "{links:?}"
    );
    for word in ["url(", "@import", "fetch", "innerHTML", "eval", "http:", "https:"] {
        assert!(!STYLE.contains(word) && !SCRIPT.contains(word), "{word}");
    }
}

#[test]
fn failures_come_first_and_headings_in_their_order() {
    let page = page(&with("tame"));
    let ids = values(&page, "id");
    let sections: Vec<&str> = ids
        .iter()
        .map(String::as_str)
        .filter(|id| ids.contains(&format!("{id}-title")))
        .collect();
    let expected = [
        "failed",
        "dropped",
        "waiting",
        "refused",
        "rejected",
        "calendar",
        "run-notes",
        "notes",
        "leftovers",
        "certificates",
    ];
    assert_eq!(sections, expected);
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "an id is there once"
    );
    for attribute in ["aria-labelledby", "for"] {
        assert!(
            values(&page, attribute).iter().all(|id| ids.contains(id)),
            "{attribute}"
        );
    }
    for link in values(&page, "href").iter().filter_map(|link| link.strip_prefix('#')) {
        assert!(ids.iter().any(|id| id == link), "#{link} leads nowhere");
    }
    let mut last = 0;
    let levels = page
        .match_indices("<h")
        .filter_map(|(at, _)| page[at + 2..].chars().next()?.to_digit(10));
    for level in levels {
        assert!(
            level <= last + 1,
            "a heading of level {level} after one of level {last}"
        );
        last = level;
    }
    assert_eq!(page.matches("<h1>").count(), 1);
    let skeleton = skeleton(&page);
    let count = |wanted: &str| {
        skeleton
            .iter()
            .filter(|tag| *tag == wanted || tag.starts_with(&format!("{wanted} ")))
            .count()
    };
    assert!(
        page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"),
        "{}",
        &page[..40]
    );
    for (one, other) in [
        ("table", "caption"),
        ("section", "/section"),
        ("li", "/li"),
        ("tr", "/tr"),
        ("td", "/td"),
        ("p", "/p"),
        ("div", "/div"),
        ("details", "/details"),
        ("bdi", "/bdi"),
    ] {
        assert_eq!(count(one), count(other), "{one}");
    }
    assert_eq!(
        count("th"),
        values(&page, "scope").len(),
        "each head of a table says what it is of"
    );
    for landmark in ["header", "nav", "main", "footer"] {
        assert_eq!(count(landmark), 1, "{landmark}");
    }
    assert!(page.contains("<title>3 failed, 1 without a host, 2 waiting, 2 refused, 2 rejected: certificates</title>"));
    assert!(page.contains("Run that ended 2026-11-24 12:00 UTC and took 12 s, CA <bdi>tame</bdi>"));
    let order = ["failedtame</bdi>", "unreachedtame</bdi>", "narrowedtame</bdi>"];
    let order = order.map(|word| page.find(word).expect(word));
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn an_empty_report_is_a_page() {
    let page = page(&Report::of_plan(empty(), None));
    assert!(
        page.contains("<p class=\"calm\">No annotated object asks for a certificate.</p>"),
        "{page}"
    );
    assert!(!page.contains("<table"), "{page}");
    assert!(
        page.contains("Dry run of 2026-11-24 12:00 UTC: nothing was changed"),
        "{page}"
    );
    assert!(page.contains("<title>none: certificates</title>"), "{page}");
}

#[test]
fn every_reason_rejection_and_class_of_failures_shows() {
    let mut plan = empty();
    for reason in Reason::ALL {
        let decision = Decision {
            reason: *reason,
            said: Some(format!("because of {}", reason.word()).into()),
            ..decision("web", reason.word())
        };
        match reason {
            Reason::BackingOff | Reason::Deferred | Reason::Valid => plan.keep.push(decision),
            _ if *reason < Reason::Missing => plan.refuse.push(decision),
            _ => plan.issue.push(decision),
        }
    }
    let all = [
        Rejection::RetiredVersion {
            version: "extensions/v1beta1".into(),
        },
        Rejection::NoTls,
        Rejection::NoSecretName {
            hosts: vec!["a.example".into()],
        },
        Rejection::NoHosts { secret: "a".into() },
        Rejection::NoHttpsListener,
        Rejection::NoHostname { listener: "a".into() },
        Rejection::Passthrough { listener: "a".into() },
        Rejection::NoCertificateRef { listener: "a".into() },
        Rejection::CrossNamespaceReference {
            listener: "a".into(),
            namespace: "b".into(),
            secret: "c".into(),
        },
        Rejection::UnsupportedReference {
            listener: "a".into(),
            kind: "b".into(),
            name: "c".into(),
        },
    ];
    plan.rejected = all
        .iter()
        .map(|rejection| rejected(rejection.word(), rejection.clone()))
        .collect();
    let foreseen = page(&Report::of_plan(plan.clone(), None));
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Valid) {
        assert!(
            foreseen.contains(&format!("<h3><code>{}</code> <span", reason.word())),
            "{reason:?}"
        );
        assert!(
            foreseen.contains(&format!("<p>because of {}</p>", reason.word())),
            "{reason:?}"
        );
    }
    assert!(foreseen.contains("<span class=\"valid\">valid</span> <span class=\"soft\">Valid</span>"));
    for rejection in &all {
        assert!(
            foreseen.contains(&format!("<h3><code>{}</code> <span", rejection.word())),
            "{rejection:?}"
        );
    }
    // Each class of failures, on as many certificates.
    plan.issue = FAILURE_CLASSES
        .iter()
        .map(|class| decision("web", &class.to_lowercase()))
        .collect();
    let outcomes = plan.issue.iter().zip(FAILURE_CLASSES).filter_map(|(decision, class)| {
        let refused = crate::decide::backoff::Refused {
            class: (*class).into(),
            problem: "no".into(),
            not_before: None,
        };
        let failure = Failure {
            refused: Some(Box::new(refused)),
            ..Failure::new("no", None)
        };
        (*class != "stopped").then(|| (decision.certificate.secret.clone(), Outcome::Failed(failure)))
    });
    let outcomes = outcomes.collect();
    let failed = page(&Report::of_run(plan, outcomes, None));
    for class in FAILURE_CLASSES {
        assert!(
            failed.contains(&format!("<h3><code>{class}</code> <span class=\"count\">1</span></h3>")),
            "{class}"
        );
    }
}

#[test]
fn what_ends_first_comes_first_and_more_than_fifty_are_folded() {
    let mut plan = empty();
    for left in 1..=60 {
        let pair = certificate(&["a.example"], "Test CA", now() - days(80), now() + days(61 - left));
        let one = observed(
            vec![ingress("web", "a").tls("a-tls", &["a.example"])],
            Read::Found(secret(&pair, None)),
        );
        let mut decision = crate::decide::plan::plan(&one, &Policy::default())
            .decisions()
            .first()
            .expect("one")
            .1
            .clone();
        decision.certificate.secret = SecretRef::new("web", format!("tls-{left:02}"));
        plan.refuse.push(Decision {
            reason: Reason::ForeignSecret,
            ..decision
        });
    }
    let page = page(&Report::of_plan(plan, None));
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no `{text}`"));
    assert!(place("web/tls-60</bdi>") < place("web/tls-59</bdi>"));
    assert!(place("web/tls-11</bdi>") < place("<summary>10 more</summary>"));
    assert!(place("<summary>10 more</summary>") < place("web/tls-10</bdi>"));
    assert!(page.contains("ends 2026-11-25, in 24h"), "{page}");
    assert!(
        page.contains("<span class=\"count\">7</span> at risk</summary>"),
        "a week of them"
    );
}

#[test]
fn a_sentence_has_code_between_its_backticks() {
    let report = Report::of_plan(empty(), None);
    let decisions = report.plan.decisions();
    let page = Page {
        report: &report,
        sections: Vec::new(),
        calendar: Calendar::of(&report, &decisions),
        decisions,
    };
    for (text, expected) in [
        ("no code", vec![(false, "no code")]),
        ("a `b` c", vec![(false, "a "), (true, "b"), (false, " c")]),
        ("an odd ` one", vec![(false, "an odd ` one")]),
    ] {
        assert_eq!(page.parts(text).collect::<Vec<_>>(), expected);
    }
    for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(Number(number).to_string(), expected);
    }
}

#[test]
fn a_reader_that_is_gone_is_said_to_be() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("nobody reads"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = with("tame").write_html(&mut Gone).expect_err("nobody reads");
    assert_eq!(error.to_string(), "nobody reads");
}

/// The contrast of two colours, WCAG 2.2: `#rrggbb`.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |color: &str| {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).expect("a colour")) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

#[test]
fn text_can_be_read_in_light_and_in_dark() {
    assert!((contrast("#ffffff", "#000000") - 21.0).abs() < 0.01);
    let themes: Vec<&str> = STYLE
        .split(":root {")
        .skip(1)
        .map(|rest| rest.split('}').next().expect("its end"))
        .collect();
    assert_eq!(themes.len(), 3, "light, dark and print");
    for theme in &themes[..2] {
        let color = |name: &str| {
            let (_, rest) = theme
                .split_once(&format!("--{name}: "))
                .unwrap_or_else(|| panic!("no `{name}`"));
            rest.split(';').next().expect("a colour")
        };
        for text in ["ink", "soft", "bad", "warn", "good", "link"] {
            let found = contrast(color(text), color("paper"));
            assert!(found >= 7.0, "{text}: {found}");
        }
        // WCAG asks for 3 of what is no text.
        assert!(contrast(color("bar"), color("paper")) >= 3.0, "{theme}");
    }
}
