//! What kube-lego left: routes by which challenges go to it instead of here.
//!
//! kube-lego never took them away. A controller that finds a challenge's path in two Ingresses takes one of them, many the
//! older one, and behind kube-lego's nobody answers any more. (Contour takes the longer path, which is ours: measured.)
//! They are somebody else's, so they are named and never touched.

use std::sync::Arc;

use super::name::IngressRef;
use super::observed::{CHALLENGE_PATH, Ingress};
use super::selection::Selection;

/// The Service behind the Ingress that kube-lego made for itself.
const NGINX: &str = "kube-lego-nginx";
/// The Service, one in each namespace, behind the paths that it put into users' Ingresses on GCE.
const GCE: &str = "kube-lego-gce";

/// A sentence for each such route, with the command that removes it.
///
/// An Ingress of kube-lego's own may have anybody's hosts, so it is named whatever namespaces are selected.
pub fn notes(ingresses: &[Arc<Ingress>], selection: &Selection) -> Vec<String> {
    let mut notes = Vec::new();
    let readable = |place: &IngressRef| is_plain(&place.namespace) && is_plain(&place.name);
    for ingress in ingresses.iter().filter(|it| !it.deleting && readable(&it.name)) {
        for service in [NGINX, GCE] {
            if !ingress.challenge_services.iter().any(|used| used == service) {
                continue;
            }
            if is_its_own(ingress) {
                notes.push(its_own(&ingress.name));
            } else if selection.selects_namespace(&ingress.name.namespace) {
                notes.push(a_users(&ingress.name, service));
            }
        }
    }
    notes.sort();
    notes
}

/// What serves anything besides is a user's, and so is whatever led to GCE: kube-lego made no Ingress there.
fn is_its_own(ingress: &Ingress) -> bool {
    ingress.serves_only_challenges && ingress.challenge_services.iter().eq([NGINX])
}

fn its_own(place: &IngressRef) -> String {
    let IngressRef { namespace, name } = place;
    format!(
        "ingress `{place}` is left over from kube-lego; the CA's requests for the hosts in this Ingress may go to it instead of to this run: `kubectl delete ingress/{name} service/{NGINX} -n {namespace} --ignore-not-found` removes this Ingress and the Service `{NGINX}`"
    )
}

fn a_users(place: &IngressRef, service: &str) -> String {
    let IngressRef { namespace, name } = place;
    format!(
        "ingress `{place}` sends paths under `{CHALLENGE_PATH}` to kube-lego's Service `{service}`, so the CA's requests for the hosts of `{place}` may go there instead of to this run: remove these paths with `kubectl edit ingress {name} -n {namespace}`, then `kubectl delete service/{service} endpoints/{service} -n {namespace} --ignore-not-found` removes the Service"
    )
}

/// Every name in a cluster is so (DNS-1123). Files may hold any text, and a command is for somebody's shell.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !name.starts_with('-') && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An Ingress `web/a` as the API server has it, with these paths and the Services that they lead to.
    fn ingress(paths: &[(&str, &str)], change: Value) -> Ingress {
        let path = |(path, service): &(&str, &str)| {
            json!({"path": path, "pathType": "ImplementationSpecific",
                "backend": {"service": {"name": service, "port": {"number": 8080}}}})
        };
        let paths: Vec<_> = paths.iter().map(path).collect();
        let mut object = json!({
            "metadata": {"namespace": "web", "name": "a"},
            "spec": {"rules": [{"host": "a.example", "http": {"paths": paths}}]},
        });
        for (pointer, value) in change.as_object().expect("changes") {
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            object.pointer_mut(parent).expect("a parent")[key] = value.clone();
        }
        let object: k8s_openapi::api::networking::v1::Ingress = serde_json::from_value(object).expect("an Ingress");
        object.into()
    }

    #[test]
    fn what_is_kube_legos_own_is_deleted_and_what_is_a_users_is_edited() {
        let challenge = "/.well-known/acme-challenge";
        let whole = "`kubectl delete ingress/a service/kube-lego-nginx -n web --ignore-not-found`";
        let edit = "`kubectl edit ingress a -n web`, then `kubectl delete service/kube-lego-";
        let port = json!({"number": 80});
        let default_backend = json!({"service": {"name": "web", "port": port}});
        for (name, paths, change, expected) in [
            ("its own", vec![(challenge, NGINX)], json!({}), Some(whole)),
            (
                "by kube-lego on GCE",
                vec![("/.well-known/acme-challenge/*", GCE), ("/*", "web")],
                json!({}),
                Some(edit),
            ),
            (
                "on GCE, and nothing else",
                vec![(challenge, GCE)],
                json!({}),
                Some(edit),
            ),
            (
                "written by a user",
                vec![(challenge, NGINX), ("/", "web")],
                json!({}),
                Some(edit),
            ),
            (
                "beside another client's",
                vec![(challenge, NGINX), ("/.well-known/acme-challenge/x", "solver")],
                json!({}),
                Some(edit),
            ),
            (
                "in front of everything else",
                vec![(challenge, NGINX)],
                json!({"/spec/defaultBackend": default_backend}),
                Some(edit),
            ),
            ("another client's", vec![(challenge, "solver")], json!({}), None),
            (
                "another path",
                vec![("/.well-known/acme-challenges", NGINX)],
                json!({}),
                None,
            ),
            (
                "being deleted",
                vec![(challenge, NGINX)],
                json!({"/metadata/deletionTimestamp": "2026-11-24T12:00:00Z"}),
                None,
            ),
            (
                "a name for a shell",
                vec![(challenge, NGINX)],
                json!({"/metadata/name": "a; reboot"}),
                None,
            ),
        ] {
            let notes = notes(&[ingress(&paths, change).into()], &Selection::default());
            match expected {
                Some(words) => assert!(
                    matches!(notes.as_slice(), [note] if note.contains(words)),
                    "{name}: {notes:?}"
                ),
                None => assert_eq!(notes, Vec::<String>::new(), "{name}"),
            }
        }
    }

    #[test]
    fn a_users_ingress_is_named_where_its_namespace_is_selected_and_kube_legos_own_always() {
        let own = ingress(&[(CHALLENGE_PATH, NGINX)], json!({"/metadata/name": "own"}));
        let theirs = ingress(&[(CHALLENGE_PATH, GCE), ("/", "web")], json!({}));
        let elsewhere = Selection {
            namespaces: ["shop".to_owned()].into(),
            ..Selection::default()
        };
        let named = |selection| notes(&[theirs.clone().into(), own.clone().into()], selection).len();
        assert_eq!((named(&Selection::default()), named(&elsewhere)), (2, 1));
    }
}
