//! What is shipped, for a home namespace of a test's own.

use super::*;

/// The two roles of `rbac.yaml` without one verb on one resource.
pub fn rights_without(kind: &str, group: &str, resource: &str, verb: &str) -> Vec<Value> {
    let mut roles: Vec<Value> = shipped()
        .into_iter()
        .filter(|object| object["rules"].is_array())
        .collect();
    let mut taken = 0;
    for role in roles.iter_mut().filter(|role| role["kind"] == kind) {
        let mut rules = Vec::new();
        for rule in role["rules"].as_array().expect("rules") {
            let has = |list: &str, text: &str| rule[list].as_array().expect("a list").contains(&json!(text));
            if !(has("apiGroups", group) && has("resources", resource) && has("verbs", verb)) {
                rules.push(rule.clone());
                continue;
            }
            taken += 1;
            let without = |list: &str, text: &str| {
                let all = rule[list].as_array().expect("a list").iter();
                all.filter(|item| **item != json!(text)).cloned().collect::<Vec<_>>()
            };
            let mut others = rule.clone();
            others["resources"] = json!(without("resources", resource));
            let mut same = rule.clone();
            same["resources"] = json!([resource]);
            same["verbs"] = json!(without("verbs", verb));
            rules.extend(
                [others, same]
                    .into_iter()
                    .filter(|rule| rule["resources"] != json!([]) && rule["verbs"] != json!([])),
            );
        }
        role["rules"] = json!(rules);
    }
    assert!(taken > 0, "rbac.yaml grants no {verb} on {resource} in the {kind}");
    roles
}

/// The objects of `rbac.yaml`.
pub fn shipped() -> Vec<Value> {
    documents("rbac.yaml")
}

/// `cronjob.yaml`.
pub fn cronjob() -> Value {
    documents("cronjob.yaml").pop().expect("a CronJob")
}

fn documents(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name);
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .collect()
}

/// `rbac.yaml` as it is shipped, for another home namespace.
pub fn rbac(home: &str) -> String {
    let mut documents = Vec::new();
    for mut object in shipped() {
        for place in ["/metadata/namespace", "/subjects/0/namespace"] {
            if let Some(namespace) = object.pointer_mut(place) {
                *namespace = json!(home);
            }
        }
        if ["Namespace", "ClusterRoleBinding"]
            .iter()
            .any(|kind| object["kind"] == *kind)
        {
            let shipped = object["metadata"]["name"].as_str().unwrap_or_default();
            let name = match shipped.ends_with("-gateways") {
                true => format!("{home}-gateways"),
                false => home.to_owned(),
            };
            object["metadata"]["name"] = json!(name);
        }
        documents.push(object.to_string());
    }
    documents.join("\n---\n")
}

/// The test cluster's web server, as Service `web` of a namespace. Endpoints say the same as the slice, for haproxy-ingress.
pub fn web(namespace: &str) -> String {
    let (address, port) = state("web").rsplit_once(':').expect("address and port");
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web, namespace: {namespace}, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]
ports: [{{name: http, port: {port}, protocol: TCP}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: web, namespace: {namespace}, labels: {{endpointslice.kubernetes.io/skip-mirror: 'true'}}}}
subsets: [{{addresses: [{{ip: {address}}}], ports: [{{name: http, port: {port}, protocol: TCP}}]}}]
"
    )
}
