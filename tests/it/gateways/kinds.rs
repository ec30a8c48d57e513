//! A cluster whose kinds of the Gateway API are half there, or of other versions. These tests change them for the whole cluster: they
//! run after all others, one after the other (see the Makefile).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::bad::refused;
use super::cases::Site;
use super::gateways;
use crate::permissions::unused_rights_of_gateways;
use crate::scene::{Scene, cluster, kubectl};

const GROUP: &str = "gateway.networking.k8s.io";

/// The files of the kinds, as the cluster has them installed.
fn files() -> PathBuf {
    Path::new(cluster()["bin"]["gateway-crds"].as_str().expect("a folder")).to_owned()
}

fn install(file: &Path) {
    kubectl(&["apply", "--server-side", "-f", file.to_str().expect("text")], "");
    kubectl(
        &["wait", "crd", "--all", "--for=condition=Established", "--timeout=30s"],
        "",
    );
}

fn without(plural: &str, then: impl FnOnce()) {
    kubectl(&["delete", "crd", &format!("{plural}.{GROUP}")], "");
    then();
    install(&files().join(format!("{GROUP}_{plural}.yaml")));
}

#[test]
#[ignore = "needs the test cluster with Gateways, alone"]
fn what_is_missing_of_the_gateway_api_is_said() {
    let controller = gateways();
    let scene = Scene::on(&controller, "kinds-gw");
    let site = Site::of(&scene);
    let host = "a.kinds-gw.example";
    let gateway = site.gateway("g", &[site.http(), site.https("a", host, "a-tls")]);
    scene.apply(&gateway);
    without("httproutes", || {
        let words = [
            "could not create HTTPRoute",
            "`kubectl get crd httproutes.gateway.networking.k8s.io`",
        ];
        refused(&scene, &scene.run(&["--probe-timeout", "2s"]), 1, &words);
    });
    without("referencegrants", || {
        let words = [
            "could not create ReferenceGrant",
            "`kubectl get crd referencegrants.gateway.networking.k8s.io`",
        ];
        refused(&scene, &scene.run(&["--probe-timeout", "2s"]), 1, &words);
    });
    // It is a note, since everything else goes on.
    let version = |served: bool| {
        let patch = format!(r#"[{{"op":"replace","path":"/spec/versions/0/served","value":{served}}}]"#);
        kubectl(
            &[
                "patch",
                "crd",
                &format!("gateways.{GROUP}"),
                "--type=json",
                "-p",
                &patch,
            ],
            "",
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while kubectl(&["get", "--raw", &format!("/apis/{GROUP}/v1")], "").contains("\"gateways\"") != served {
            assert!(Instant::now() < deadline, "the version is served, or not");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    version(false);
    let words = [
        "Gateways are not looked at",
        "as `gateway.networking.k8s.io/v1beta1` only",
    ];
    refused(&scene, &scene.run(&[]), 0, &words);
    refused(
        &scene,
        &scene.run(&["gateway/g"]),
        2,
        &["Gateways are not known: the API server serves them as"],
    );
    // Whoever names a Secret or an Ingress reads nothing of Gateways.
    let ran = scene.run(&["ingress/g"]);
    refused(&scene, &ran, 2, &["no annotated object is named `ingress/g`"]);
    assert!(!ran.stderr.contains("Gateways are not known"), "{ran:?}");
    version(true);

    sets(&scene, &site, host);
    kubectl(&["delete", "gateways", "--all", "-n", &site.namespace], "");
    // The last test of this cluster: all rights of the roles for Gateways were used by some.
    assert_eq!(unused_rights_of_gateways(), Vec::<String>::new());
}

/// What ListenerSets were before, in a cluster that has only those.
fn sets(scene: &Scene, site: &Site<'_>, host: &str) {
    kubectl(&["delete", "gateways", "--all", "-n", &site.namespace], "");
    without("listenersets", || {
        let contour = Path::new(cluster()["bin"]["contour"].as_str().expect("a path"));
        install(&contour.with_file_name("xlistenersets.yaml"));
        let parent = format!("parentRef: {{group: {GROUP}, kind: Gateway, name: g}}");
        let set = site.object("XListenerSet", "s", &parent, &[site.https("a", host, "a-tls")]);
        let gateway = site.gateway("g", &[site.http()]);
        scene.apply(&gateway.replace("tls-acme: \"true\"", "tls-acme: \"false\""));
        scene.apply(&set.replace(&format!("{GROUP}/v1"), "gateway.networking.x-k8s.io/v1alpha1"));
        let ran = scene.run(&["--dry-run", "xlistenerset/s"]).exits(0);
        assert!(
            ran.stdout.contains("a-tls") && ran.stdout.contains("Missing"),
            "{ran:?}"
        );
        // The Gateway's own listener brings the CA's request in, so that nothing has to serve the set.
        let ran = scene.run(&["--probe-timeout", "20s"]);
        super::issued(&ran, "an XListenerSet");
        println!("{}{}", ran.stdout, ran.stderr);
        scene.assert_nothing_is_left();
        kubectl(&["delete", "xlistenersets", "--all", "-n", &site.namespace], "");
    });
}
