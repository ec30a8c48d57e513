//! What `explain` prints: each check's answer, with the values that it compared. It decides nothing.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::text::{Color, Style, plain};
use crate::decide::checks::Answer;
use crate::decide::observed::Observed;
use crate::decide::plan::{Decision, Explained, Plan, Verdict, explain};
use crate::decide::policy::Policy;
use crate::decide::route::{Route, RuleHost};

/// Where a check's sentence begins: behind the longest reason and the answer.
const SENTENCE_COLUMN: usize = 32;

/// The explanation of every decision and rejection of a plan that was made from this observation.
pub fn explanation(observed: &Observed, policy: &Policy, plan: &Plan, style: &Style) -> String {
    let decisions = plan.decisions();
    let mut parts: Vec<String> = decisions
        .iter()
        .map(|(verdict, decision)| {
            let checks = explain(observed, policy, decision);
            of_decision(*verdict, decision, plan.at, &checks, style)
        })
        .collect();
    parts.extend(plan.rejected.iter().map(|rejected| {
        let action = style.paint(Color::Red, "rejected");
        let mut text = format!(
            "{} {}: {action}, {}\n",
            rejected.source.kind.word(),
            rejected.source,
            rejected.reason.word()
        );
        text.push_str(&style.wrapped("  ", &plain(&format!("it {}", rejected.reason.message())), 2));
        text
    }));
    parts.join("\n")
}

fn of_decision(verdict: Verdict, decision: &Decision, now: Timestamp, checks: &[Explained], style: &Style) -> String {
    let certificate = &decision.certificate;
    let color = match verdict {
        Verdict::Issue => Color::Yellow,
        Verdict::Keep => Color::Green,
        Verdict::Refuse => Color::Red,
    };
    let action = style.paint(color, verdict.word());
    let mut text = format!(
        "secret {}: {action}, {}\n",
        plain(&certificate.secret.to_string()),
        decision.reason.word()
    );
    text.push_str(&style.wrapped("  ", &plain(&decision.message(now).to_string()), 2));
    for contribution in &certificate.contributions {
        let hosts: Vec<_> = contribution.hosts.iter().map(ToString::to_string).collect();
        let hosts = if hosts.is_empty() {
            "no valid host".to_owned()
        } else {
            hosts.join(", ")
        };
        let line = format!(
            "{} {} (class {}): {hosts}",
            contribution.source.place().kind.word(),
            contribution.source.place(),
            contribution.source.class()
        );
        text.push_str(&style.wrapped("  ", &plain(&line), 4));
    }
    let elsewhere = decision
        .routes
        .iter()
        .filter(|route| route.rule.name() != Some(&route.host) && !is_beside(route, &decision.routes));
    for route in elsewhere {
        let line = format!(
            "for `{}` the challenge object has {}, like the rule that serves this host today",
            route.host, route.rule
        );
        text.push_str(&style.wrapped("  ", &plain(&line), 4));
    }
    for note in &decision.notes {
        text.push_str(&style.wrapped("  note: ", &plain(note), 8));
    }
    for (verdict, heading) in [(Verdict::Refuse, "refused if"), (Verdict::Issue, "due if")] {
        let _ = writeln!(text, "\n  {heading}");
        for explained in checks.iter().filter(|explained| explained.verdict == verdict) {
            let decisive = explained.reason == decision.reason;
            text.push_str(&line(explained, decisive, style));
        }
    }
    text
}

/// `>` marks the check that decided.
fn line(explained: &Explained, decisive: bool, style: &Style) -> String {
    let (answer, sentence) = match &explained.answer {
        Some(Answer::Yes(sentence)) => ("yes", sentence.as_str()),
        Some(Answer::No(sentence)) => ("no", sentence.as_str()),
        Some(Answer::NotAsked(why)) => ("-", *why),
        None => ("-", "asked only when something is due"),
    };
    let mark = if decisive { '>' } else { ' ' };
    let head = format!("  {mark} {:<21}  {answer:<3}  ", explained.reason.word());
    style.wrapped(&head, &plain(sentence), SENTENCE_COLUMN)
}

/// Whether it is there in case that the host's other route is ignored ([`crate::decide::route::Via::Listener`] of Contour).
fn is_beside(route: &Route, routes: &[Route]) -> bool {
    let other = |it: &&Route| it.host == route.host && it.rule != RuleHost::Any && it.via.listener().is_some();
    route.rule == RuleHost::Any && route.via.listener().is_some() && routes.iter().any(|it| other(&it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::{ingress, observed};
    use crate::decide::name::SecretRef;
    use crate::decide::observed::{Ingress, Read};
    use crate::decide::plan::plan;

    const COLUMNS: usize = 80;

    fn explained(ingresses: Vec<Ingress>, name: &str) -> String {
        let mut observed = observed(ingresses, Read::Absent);
        observed.secrets.insert(SecretRef::new("web", "b-tls"), Read::Absent);
        let mut policy = Policy::default();
        policy.selection.names.insert(name.parse().expect("a name"));
        let style = Style {
            width: Some(COLUMNS),
            ..Style::default()
        };
        explanation(&observed, &policy, &plan(&observed, &policy), &style)
    }

    #[test]
    fn a_secret_is_explained_check_by_check() {
        let ingresses = vec![
            ingress("web", "a").tls("a-tls", &["a.example"]),
            ingress("shop", "old").without_annotation().rule("a.example").created(9),
        ];
        let text = explained(ingresses, "a-tls");
        let expected = "\
secret web/a-tls: refuse, HostClaimed
  host `a.example` belongs to namespace `shop`, where the older Ingress `old`
  has it: remove the host there or here, or let both namespaces have it with
  `--allow-shared-hosts=a.example`
  ingress web/a (class contour): a.example

  refused if
    InvalidHost            no   all hosts are names that the CA can sign
    WildcardHost           no   no host is a wildcard
    TooManyHosts           no   1 of at most 100 hosts
  > HostClaimed            yes  host `a.example` belongs to namespace `shop`,
                                where the older Ingress `old` has it: remove the
                                host there or here, or let both namespaces have
                                it with `--allow-shared-hosts=a.example`
";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("\n  due if\n    Missing                yes  there is no such Secret yet"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn where_a_challenge_goes_is_said_where_it_is_not_to_the_host_itself() {
        let ingresses = vec![
            ingress("web", "a").tls("a-tls", &["a.x.example", "b.example", "c.example"]),
            ingress("web", "b").rule("*.x.example").rule("b.example"),
            ingress("web", "c").any_host(),
        ];
        let text = explained(ingresses, "a-tls");
        let expected = "
  ingress web/a (class contour): a.x.example, b.example, c.example
  for `a.x.example` the challenge object has a rule for `*.x.example`, like the
    rule that serves this host today
  for `c.example` the challenge object has a rule without a host, like the rule
    that serves this host today
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn an_ingress_is_explained_by_all_that_it_asks_for_and_does_not_get() {
        let text = explained(
            vec![
                ingress("web", "a")
                    .tls("a-tls", &["a.example"])
                    .tls("b-tls", &["b.example"])
                    .tls("", &["c.example"]),
            ],
            "a",
        );
        let heads: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with(char::is_alphabetic))
            .collect();
        assert_eq!(
            heads,
            [
                "secret web/a-tls: issue, Missing",
                "secret web/b-tls: issue, Missing",
                "ingress web/a: rejected, NoSecretName",
            ]
        );
        let last = "
ingress web/a: rejected, NoSecretName
  it has an entry in `spec.tls` for `c.example` without `secretName`: name the
  Secret
";
        assert!(text.ends_with(last), "{text}");
    }
}
