use serde_json::{Value, json};

use super::*;

fn kept() -> Kept {
    let data = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect()
    };
    Kept::from([
        (
            Keeper::config_map("settings"),
            data(&[("email", "a@b.example"), ("DIRECTORY", "https://all.example/dir")]),
        ),
        (Keeper::secret("eab"), data(&[("kid", "k1")])),
    ])
}

fn cronjob(pod: Value) -> batch::CronJob {
    let object = json!({
        "metadata": {"namespace": "home", "name": "kube-lego-once"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    });
    serde_json::from_value(object).expect("a CronJob")
}

fn installation(pod: Value) -> Result<Installation, String> {
    Installation::of(&cronjob(pod), &kept())
}

fn with(arguments: Value, env: Value, env_from: Value) -> Value {
    let command = json!(["/program", "run"]);
    json!({"containers": [
        {"name": "any", "command": command, "args": arguments, "env": env, "envFrom": env_from},
    ]})
}

#[test]
fn the_command_line_is_that_of_the_pod() {
    let found = installation(with(
        json!([
            "--directory=$(KUBE_LEGO_ONCE_DIRECTORY)",
            "-l",
            "$(NONE)=$$x",
            "-n",
            "$"
        ]),
        json!([
            {"name": "HOST", "value": "ca.example"},
            {"name": "KUBE_LEGO_ONCE_DIRECTORY", "value": "https://$(HOST)/dir"},
        ]),
        json!([]),
    ))
    .expect("an installation");
    assert_eq!(found.name, "home/kube-lego-once");
    assert_eq!(
        found.arguments,
        [
            "run",
            "--directory=https://ca.example/dir",
            "-l",
            "$(NONE)=$x",
            "-n",
            "$"
        ]
    );
}

#[test]
fn variables_come_from_where_the_pod_has_them_and_the_later_one_counts() {
    let from = |kind: &str, name: &str, key: &str| json!({kind: {"name": name, "key": key}});
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let pod = with(
        json!([]),
        json!([
            {"name": "KUBE_LEGO_ONCE_EMAIL", "value": "no"},
            {"name": "KUBE_LEGO_ONCE_EMAIL", "valueFrom": from("configMapKeyRef", "settings", "email")},
            {"name": "KUBE_LEGO_ONCE_EAB_KEY_ID", "valueFrom": from("secretKeyRef", "eab", "kid")},
            {"name": "KUBE_LEGO_ONCE_HOME_NAMESPACE", "valueFrom": field("metadata.namespace")},
            {"name": "KUBE_LEGO_ONCE_POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "PROXY", "valueFrom": from("secretKeyRef", "proxy", "url")},
            {"name": "KUBE_LEGO_ONCE_PROFILE", "value": "$(PROXY)"},
        ]),
        json!([{"prefix": "KUBE_LEGO_ONCE_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "none", "optional": true}}]),
    );
    let read: Vec<_> = keepers_of_variables(&cronjob(pod.clone()));
    let expected = [
        (Keeper::config_map("settings"), false),
        (Keeper::secret("none"), true),
        (Keeper::config_map("settings"), false),
        (Keeper::secret("eab"), false),
    ];
    assert_eq!(read, expected, "another program's Secrets are nothing to us");
    let found = installation(pod).expect("an installation");
    for (name, value) in [
        ("EMAIL", "a@b.example"),
        ("DIRECTORY", "https://all.example/dir"),
        ("EAB_KEY_ID", "k1"),
        ("HOME_NAMESPACE", "home"),
    ] {
        assert_eq!(found.variables[&format!("KUBE_LEGO_ONCE_{name}")], value);
    }
    let unknown: Vec<_> = found.unknown.keys().map(String::as_str).collect();
    assert_eq!(unknown, ["KUBE_LEGO_ONCE_POD_NAME", "KUBE_LEGO_ONCE_PROFILE", "PROXY"]);
}

#[test]
fn what_only_a_pod_knows_is_no_argument() {
    let ip = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let error = installation(with(json!(["-n", "$(IP)"]), ip, json!([]))).expect_err("nobody knows");
    assert_eq!(
        error,
        "only its Pods know the value of `$(IP)`, which its argument `$(IP)` needs"
    );
}

#[test]
fn a_key_that_no_pod_starts_without_is_not_left_out() {
    let from = |optional: bool| {
        json!([{"name": "KUBE_LEGO_ONCE_EMAIL", "valueFrom": {
            "configMapKeyRef": {"name": "settings", "key": "no", "optional": optional},
        }}])
    };
    let found = installation(with(json!([]), from(true), json!([]))).expect("an installation");
    assert_eq!((found.variables.len(), found.unknown.len()), (0, 0));
    let found = installation(with(json!([]), from(false), json!([]))).expect("an installation");
    let expected = "ConfigMap `settings` has no key `no`, and no Pod starts without it";
    assert_eq!(found.unknown["KUBE_LEGO_ONCE_EMAIL"], expected);
}

#[test]
fn what_a_shell_runs_is_not_known() {
    let shell = json!({"containers": [{"name": "any", "command": ["/bin/sh", "-c", "kube-lego-once run"]}]});
    let expected = "its command is `/bin/sh`, and what that runs is not known";
    assert_eq!(installation(shell), Err(expected.into()));
}

#[test]
fn of_several_containers_ours_is_known_by_name() {
    let others = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(installation(others), Err("it has no container `kube-lego-once`".into()));
    let ours = json!({"containers": [{"name": "a"}, {"name": "kube-lego-once", "image": "x"}]});
    assert_eq!(installation(ours).expect("ours").template.image(), Some("x"));
}

#[test]
fn a_file_of_the_pod_is_found_where_it_is_kept() {
    let found = installation(json!({
        "volumes": [
            {"name": "ca", "configMap": {"name": "roots"}},
            {"name": "eab", "secret": {"secretName": "account", "items": [{"key": "k", "path": "hmac/key"}]}},
            {"name": "both", "projected": {"sources": [{"secret": {"name": "a"}}, {"configMap": {"name": "b"}}]}},
            {"name": "host", "hostPath": {"path": "/etc"}},
        ],
        "containers": [{"name": "any", "volumeMounts": [
            {"name": "ca", "mountPath": "/etc/ca/"},
            {"name": "eab", "mountPath": "/etc/ca/eab"},
            {"name": "both", "mountPath": "/both"},
            {"name": "host", "mountPath": "/host"},
            {"name": "ca", "mountPath": "/one.pem", "subPath": "root.pem"},
            {"name": "ca", "mountPath": "/made.pem", "subPathExpr": "$(X)"},
        ]}],
    }))
    .expect("an installation");
    let roots = (Keeper::config_map("roots"), "root.pem".to_owned());
    for (path, expected) in [
        ("/etc/ca/root.pem", vec![roots.clone()]),
        ("/one.pem", vec![roots]),
        ("/etc/ca/eab/hmac/key", vec![(Keeper::secret("account"), "k".into())]),
        (
            "/both/x",
            vec![(Keeper::secret("a"), "x".into()), (Keeper::config_map("b"), "x".into())],
        ),
        ("/etc/ca/eab/other", vec![]),
        ("/host/ca.pem", vec![]),
        ("/made.pem", vec![]),
        ("/etc/ssl/ca.pem", vec![]),
    ] {
        assert_eq!(found.file(Path::new(path)), expected, "{path}");
    }
}
