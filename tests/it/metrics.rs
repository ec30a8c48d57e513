//! Metrics and the rules that use them, as promtool reads them.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::scene::{Ran, Scene, break_dns, tool};

#[test]
#[ignore = "needs the test cluster"]
fn a_run_writes_metrics_and_promtool_has_nothing_to_say() {
    let scene = Scene::new("metrics");
    let namespace = scene.namespace("web");
    for (name, host) in [
        ("good", "good.metrics.example"),
        ("dead", "dead.metrics.example"),
        ("wild", "*.metrics.example"),
    ] {
        scene.apply(&scene.ingress(&namespace, name, name, &[host]));
    }
    break_dns("dead.metrics.example");

    let foreseen = scene.run(&["--dry-run", "-o", "prometheus"]).exits(0);
    check(&foreseen.stdout);
    assert_eq!(value(&foreseen.stdout, "certificates_due"), Some(2.0));
    assert!(!foreseen.stdout.contains("run_duration"), "{}", foreseen.stdout);

    let failed = scene.run(&["-o", "prometheus"]).exits(1).stdout;
    println!("{failed}");
    check(&failed);
    for (name, expected) in [
        ("certificates_due", 2.0),
        ("certificates_issued", 1.0),
        ("certificates_failed{class=\"noAnswer\"}", 1.0),
        ("certificates_failed{class=\"rateLimited\"}", 0.0),
        ("certificates_refused{reason=\"WildcardHost\"}", 1.0),
        ("certificates_refused{reason=\"ForeignSecret\"}", 0.0),
    ] {
        assert_eq!(value(&failed, name), Some(expected), "{name}");
    }
    assert!(value(&failed, "run_duration_seconds").expect("a duration") > 0.0);
    let ended = value(&failed, "last_run_timestamp_seconds").expect("an end");
    let end = format!("certificate_not_after_timestamp_seconds{{namespace=\"{namespace}\",secret=\"good\"}}");
    assert!(value(&failed, &end).expect("an end") > ended + 80.0 * 86_400.0);
    assert_eq!(value(&failed, "last_success_timestamp_seconds"), None, "it failed");

    crate::scene::kubectl(&["delete", "ingress", "dead", "-n", &namespace], "");
    let good = scene.run(&["-o", "prometheus"]).exits(0).stdout;
    check(&good);
    assert!(value(&good, "last_success_timestamp_seconds").expect("a success") >= ended);
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("kube_lego_once_{series} ")))?;
    Some(line.parse().expect("a number"))
}

/// `promtool check metrics`.
fn check(metrics: &str) {
    let mut promtool = tool("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(metrics.as_bytes()).expect("promtool reads");
    drop(stdin);
    let ran = Ran::from(promtool.wait_with_output().expect("its end")).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "promtool has something to say"
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn the_documented_alerts_fire_when_they_should() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts");
    std::fs::create_dir_all(&folder).expect("a folder");
    let document = include_str!("../../docs/operations.md");
    let rules: Vec<&str> = document
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split_once("```").map(|(block, _)| block))
        .filter(|block| block.contains("alert: "))
        .collect();
    assert_eq!(rules.len(), 2, "two groups of rules");
    let files: Vec<String> = (0..rules.len()).map(|n| format!("rules-{n}.yaml")).collect();
    for (file, rules) in files.iter().zip(&rules) {
        std::fs::write(folder.join(file), rules).expect("a file");
        let output = tool("promtool")
            .args(["check", "rules", file])
            .current_dir(&folder)
            .output();
        Ran::from(output.expect("promtool")).exits(0);
    }
    // Of alerts that fire, promtool compares the annotations too: their words are not what is tested.
    let bare: Vec<String> = files.iter().map(|file| format!("bare-{file}")).collect();
    for (file, rules) in bare.iter().zip(&rules) {
        let mut rules: Value = serde_yaml_ng::from_str(rules).expect("YAML");
        for rule in rules["groups"][0]["rules"].as_array_mut().expect("rules") {
            rule.as_object_mut().expect("a rule").remove("annotations");
        }
        std::fs::write(folder.join(file), rules.to_string()).expect("a file");
    }
    // Time begins at 0 in these tests; a day is 1440 minutes.
    let series = |name: &str, values: &str| json!({"series": name, "values": values});
    let alerts = |time: &str, name: &str, labels: &[Value]| {
        let expected: Vec<_> = labels.iter().map(|labels| json!({"exp_labels": labels})).collect();
        json!({"eval_time": time, "alertname": name, "exp_alerts": expected})
    };
    let ours = |extra: Value| {
        let mut labels = json!({"job": "kube-lego-once", "severity": "warning"});
        for (key, value) in extra.as_object().expect("an object") {
            labels[key] = value.clone();
        }
        labels
    };
    let of = json!({"namespace": "web", "secret": "a-tls", "severity": "critical"});
    let tests = json!({
        "rule_files": bare,
        "evaluation_interval": "1h",
        "tests": [{
            "interval": "1h",
            "input_series": [
                // Ends after 20 days; the last success is that of the first hour; one is refused from the start.
                series("kube_lego_once_certificate_not_after_timestamp_seconds{job=\"kube-lego-once\",namespace=\"web\",secret=\"a-tls\"}", "1728000x480"),
                series("kube_lego_once_certificate_not_after_timestamp_seconds{job=\"kube-lego-once\",namespace=\"web\",secret=\"b-tls\"}", "7776000x480"),
                series("kube_lego_once_last_success_timestamp_seconds{job=\"kube-lego-once\"}", "3600x480"),
                series("kube_lego_once_certificates_refused{job=\"kube-lego-once\",reason=\"WildcardHost\"}", "1x480"),
                series("kube_lego_once_certificates_refused{job=\"kube-lego-once\",reason=\"Unknown\"}", "0x480"),
                series("kube_lego_once_certificates_failed{job=\"kube-lego-once\",class=\"rateLimited\"}", "0x24 1x455"),
            ],
            "alert_rule_test": [
                alerts("2d", "RunsDoNotSucceed", &[]),
                alerts("4d", "RunsDoNotSucceed", &[ours(json!({}))]),
                alerts("9d", "StoredCertificateRunsOut", &[]),
                alerts("11d", "StoredCertificateRunsOut", &[of]),
                alerts("12h", "CertificatesAreRefused", &[]),
                alerts("2d", "CertificatesAreRefused", &[ours(json!({"reason": "WildcardHost"}))]),
                alerts("24h", "CertificatesFail", &[]),
                alerts("3d", "CertificatesFail", &[ours(json!({"class": "rateLimited"}))]),
            ],
        }],
    });
    let path = folder.join("tests.yaml");
    std::fs::write(&path, tests.to_string()).expect("a file");
    let output = tool("promtool")
        .args(["test", "rules", "tests.yaml"])
        .current_dir(&folder)
        .output();
    let ran = Ran::from(output.expect("promtool")).exits(0);
    println!("{}", ran.stdout);
}
