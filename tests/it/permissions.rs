//! `rbac.yaml` grants what the program uses, and nothing more: compared with the API server's audit log.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::documents::{blocks, read};
use crate::scene::{Ran, Request, Scene, cluster, kubectl, requests, shipped};

/// One verb on one resource, in one of the two roles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    role: String,
    /// Of a role that a cluster without Gateways leaves out.
    of_gateways: bool,
    group: String,
    resource: String,
    /// Empty for any name.
    name: String,
    verb: String,
}

impl Grant {
    fn allows(&self, request: &Request) -> bool {
        let scope = self.role == "ClusterRole" || request.namespace == request.home;
        // A create has no name that a rule could see.
        let named = self.name.is_empty() || self.name == request.name;
        scope && named && self.group == request.group && self.resource == request.resource && self.verb == request.verb
    }
}

fn grants() -> BTreeSet<Grant> {
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|text| text.as_str().expect("text").to_owned())
            .collect()
    };
    let mut grants = BTreeSet::new();
    for role in shipped() {
        for rule in role["rules"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let names = Some(texts(&rule["resourceNames"])).filter(|names| !names.is_empty());
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        for name in names.clone().unwrap_or_else(|| vec![String::new()]) {
                            grants.insert(Grant {
                                of_gateways: role["metadata"]["name"]
                                    .as_str()
                                    .is_some_and(|name| name.ends_with("-gateways")),
                                role: role["kind"].as_str().expect("a kind").to_owned(),
                                group: group.clone(),
                                resource: resource.clone(),
                                name,
                                verb: verb.clone(),
                            });
                        }
                    }
                }
            }
        }
    }
    assert!(!grants.is_empty());
    grants
}

/// Runs last, over the audit log of all the other tests: see the Makefile.
#[test]
#[ignore = "needs the audit log of the whole suite"]
fn every_right_is_used_and_none_is_missing() {
    let grants = grants();
    let all = requests();
    assert!(all.len() > 500, "the whole suite is in the log: {} requests", all.len());
    // A scene whose name says so has had rights taken away.
    let regular: Vec<_> = all
        .iter()
        .filter(|request| !request.home.starts_with("denied-"))
        .collect();

    let missing: BTreeSet<_> = regular
        .iter()
        .filter(|request| !grants.iter().any(|grant| grant.allows(request)))
        .map(|request| {
            format!(
                "{} {}/{} {:?} in {:?}: {}",
                request.verb, request.group, request.resource, request.name, request.namespace, request.code
            )
        })
        .collect();
    assert!(
        missing.is_empty(),
        "requests that `rbac.yaml` does not grant:\n{missing:#?}"
    );

    let unused: Vec<_> = grants
        .iter()
        .filter(|grant| !grant.of_gateways && !regular.iter().any(|request| grant.allows(request)))
        .collect();
    assert!(unused.is_empty(), "rights that no request used:\n{unused:#?}");
}

/// The rights of the roles for Gateways that no request in the audit log used; that log is of the cluster that has Gateways.
pub fn unused_rights_of_gateways() -> Vec<String> {
    let (all, grants) = (requests(), grants());
    let used = |grant: &&Grant| all.iter().any(|request| grant.allows(request));
    let unused = grants.iter().filter(|grant| grant.of_gateways && !used(grant));
    unused.map(|grant| format!("{grant:?}")).collect()
}

#[test]
#[ignore = "needs the test cluster"]
fn the_documented_policy_takes_tokens_away_and_nothing_else() {
    // What is refused here is no right that `rbac.yaml` lacks.
    let scene = Scene::new("denied-tokens");
    let namespace = scene.namespace("web");
    let security = read("docs/security.md");
    let policy = blocks(&security, "yaml").find(|block| block.contains("ValidatingAdmissionPolicyBinding"));
    let policy = policy
        .expect("the policy")
        .replace("serviceaccount:kube-lego:", &format!("serviceaccount:{}:", scene.home))
        .replace("'kube-lego'", &format!("'{}'", scene.home))
        .replace("ame: kube-lego-once", &format!("ame: {}", scene.home));
    scene.apply(&policy);

    let us = format!("--as=system:serviceaccount:{}:kube-lego-once", scene.home);
    let token = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "stolen", "annotations": {"kubernetes.io/service-account.name": "default"}},
    });
    let file = scene.kubeconfig().with_file_name("token.json");
    std::fs::write(&file, token.to_string()).expect("a file");
    let create = || {
        let output = Command::new(cluster()["kubectl"].as_str().expect("kubectl"))
            .args([
                "--kubeconfig",
                scene.admin_kubeconfig(),
                "create",
                "-n",
                &namespace,
                &us,
                "-f",
            ])
            .arg(&file)
            .output();
        Ran::from(output.expect("kubectl"))
    };
    // An API server takes a moment to see a policy; until then the Secret is made.
    let deadline = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        let ran = create();
        if ran.status != 0 {
            break ran;
        }
        assert!(Instant::now() < deadline, "the policy does not come into force");
        kubectl(&["delete", "secret", "stolen", "-n", &namespace], "");
        std::thread::sleep(Duration::from_millis(300));
    };
    assert!(
        refused.stderr.contains("kube-lego-once makes TLS Secrets"),
        "{refused:?}"
    );

    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.denied-tokens.example"]));
    let ran = scene.run(&[]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{ran:?}");
    kubectl(
        &[
            "delete",
            "validatingadmissionpolicybinding,validatingadmissionpolicy",
            &scene.home,
        ],
        "",
    );
}

#[test]
#[ignore = "needs the test cluster"]
fn single_namespaces_can_be_looked_after_without_any_right_elsewhere() {
    let scene = Scene::new("denied-elsewhere");
    let namespace = scene.namespace("web");
    kubectl(&["delete", "clusterrolebinding", &scene.home], "");
    let account = format!("{}:kube-lego-once", scene.home);
    let arguments = [
        "create",
        "rolebinding",
        "kube-lego-once",
        "-n",
        &namespace,
        "--clusterrole=kube-lego-once",
        "--serviceaccount",
        &account,
    ];
    kubectl(&arguments, "");
    scene.apply(&scene.ingress(&namespace, "a", "a-tls", &["a.denied-elsewhere.example"]));

    let everywhere = scene.run(&[]).exits(2);
    assert!(everywhere.stderr.contains("hint: "), "{}", everywhere.stderr);
    let ran = scene.run(&["-n", &namespace]).exits(0);
    assert!(ran.stdout.contains("1 issued"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("only the named namespaces could be read"),
        "{}",
        ran.stderr
    );
    scene.assert_nothing_is_left();
}
