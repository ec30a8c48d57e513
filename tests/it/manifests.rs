//! `-f` as the program's users know it: folders, links, stdin, exit statuses; and input that is meant to hurt.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use kube_lego_once::adapters::manifests::{Manifests, read};

use crate::scene::{Ran, program};

fn ingress(name: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: web\n  annotations: {{kubernetes.io/tls-acme: \"true\"}}\nspec:\n  tls:\n  - {{hosts: [{name}.example], secretName: {name}-tls}}\n"
    )
}

/// A folder of this test alone, with these files.
fn folder(test: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manifests").join(test);
    // What an earlier run left may not be there at all.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

fn names(manifests: &Manifests) -> Vec<&str> {
    let names = manifests
        .ingresses
        .iter()
        .filter_map(|ingress| ingress.metadata.name.as_deref());
    names.collect()
}

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = program();
    command.current_dir(folder).args(["run", "--dry-run"]).args(arguments);
    command.output().expect("the program").into()
}

#[test]
fn folders_are_read_as_kubectl_reads_them() {
    let folder = folder(
        "folders",
        &[
            ("b.yaml", &ingress("b")),
            ("a.yml", &ingress("a")),
            (
                "c.json",
                "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"web\"}}",
            ),
            ("notes.txt", "kind: {{"),
            ("values.yaml", "replicas: 3\n---\n- a list\n"),
            ("sub/d.yaml", &ingress("d")),
            ("sub/sub/e.yaml", &ingress("e")),
        ],
    );
    std::os::unix::fs::symlink("..", folder.join("sub/loop")).expect("a link");
    std::os::unix::fs::symlink("..", folder.join("sub/loop.yaml")).expect("a link");
    std::os::unix::fs::symlink("../notes.txt", folder.join("sub/notes")).expect("a link");
    let flat = read(std::slice::from_ref(&folder), false).expect("manifests");
    assert_eq!(names(&flat), ["a", "b"]);
    assert_eq!(flat.namespaces.len(), 1);
    let warned: Vec<_> = flat
        .warnings
        .iter()
        .filter(|warning| warning.contains("values.yaml"))
        .collect();
    assert_eq!(warned.len(), 2, "{:?}", flat.warnings);
    assert!(
        warned[0].ends_with("document 1 is skipped: it has no `kind`, so it is no Kubernetes object"),
        "{warned:?}"
    );
    let deep = read(&[folder], true).expect("manifests");
    assert_eq!(names(&deep), ["a", "b", "d", "e"]);
}

#[test]
fn the_program_plans_from_files_folders_and_stdin() {
    let folder = folder(
        "program",
        &[
            ("a.yaml", &ingress("a")),
            ("empty/readme.md", ""),
            ("bad.json", "{\"kind\": 5}"),
        ],
    );
    let ran = run(&folder, &["-f", "a.yaml"]).exits(0);
    assert!(ran.stdout.contains("1 certificate: 1 due"), "{}", ran.stdout);
    run(&folder, &["-f", "a.yaml", "--exit-code"]).exits(3);

    let ran = run(&folder, &["-f", "empty", "--exit-code"]).exits(0);
    assert!(ran.stdout.contains("0 certificates"), "{}", ran.stdout);
    assert!(
        ran.stderr
            .contains("folder `empty` has no `.yaml`, `.yml` or `.json` file"),
        "{}",
        ran.stderr
    );

    let ran = run(&folder, &["-f", "bad.json"]).exits(2);
    assert!(
        ran.stderr
            .contains("read `bad.json`, document 1: `kind` must be a text, not a number"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");
    let ran = run(&folder, &["-f", "nothing.yaml"]).exits(2);
    assert!(
        ran.stderr.contains("read `nothing.yaml`: No such file"),
        "{}",
        ran.stderr
    );
    let ran = run(&folder, &["-f", "https://a.example/a.yaml"]).exits(2);
    assert!(ran.stderr.contains("hint: nothing is fetched"), "{}", ran.stderr);

    let mut child = program()
        .args(["run", "--dry-run", "-o", "name", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(ingress("a").as_bytes()).expect("a pipe");
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().expect("the program")).exits(0);
    assert_eq!(ran.stdout, "secret/a-tls -n web\n");
}

#[test]
fn a_refused_host_and_a_rejected_ingress_are_4_to_those_who_ask() {
    let rejected = ingress("a").replace("networking.k8s.io/v1", "extensions/v1beta1");
    let folder = folder("refused", &[("a.yaml", &rejected)]);
    let ran = run(&folder, &["-f", "a.yaml", "--exit-code"]).exits(4);
    assert!(
        ran.stdout.contains("rejected ingress web/a RetiredVersion"),
        "{}",
        ran.stdout
    );
    run(&folder, &["-f", "a.yaml"]).exits(0);
}

#[test]
fn what_is_no_text_is_an_error() {
    let folder = folder("text", &[]);
    fs::write(folder.join("utf16.yaml"), b"\xff\xfek\0i\0n\0d\0").expect("a file");
    let ran = run(&folder, &["-f", "utf16.yaml"]).exits(2);
    assert!(
        ran.stderr.contains("read `utf16.yaml`: it is no UTF-8 text"),
        "{}",
        ran.stderr
    );
    // A byte order mark is none of the text.
    fs::write(folder.join("bom.yaml"), format!("\u{feff}{}", ingress("a"))).expect("a file");
    run(&folder, &["-f", "bom.yaml"]).exits(0);
}

/// Each ends in an error that says so, soon, and in the memory of a few copies of the input.
#[test]
fn input_that_is_meant_to_hurt_ends_in_an_error() {
    let size = 10 << 20;
    let repeat = |text: &str| text.repeat(size / text.len());
    // One alias for each of many: a limit on jumps alone would let each of them copy everything.
    let quadratic = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1 << 18), "*a,".repeat(1 << 18));
    let copied_text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(1 << 20));
    for (name, text, words) in [
        ("open_lists", repeat("["), "recursion limit"),
        (
            "open_lists_below",
            format!("a: {}", repeat("[")),
            "brackets that nothing closes",
        ),
        ("open_mappings", repeat("{a: "), "brackets that nothing closes"),
        ("open_json", repeat("{\"a\":"), "recursion limit"),
        ("block_lists", "- ".repeat(1 << 20), "recursion limit"),
        ("quadratic_aliases", quadratic, "its aliases make it too large"),
        ("copied_text", copied_text, "its aliases make it too large"),
        ("alias_of_itself", "a: &a [*a]".into(), "recursion limit"),
        (
            "alias_key",
            format!("a: &a [{}]\n? *a\n: x\n", "x,".repeat(9)),
            "a mapping's key must be a text",
        ),
    ] {
        let folder = folder(&format!("hurt/{name}"), &[("a.yaml", &text)]);
        let started = Instant::now();
        let error = read(&[folder.join("a.yaml")], false).expect_err(name);
        let took = started.elapsed();
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(took < Duration::from_secs(60), "{name}: {took:?}");
    }
}

#[test]
fn ten_megabytes_of_manifests_are_read_in_bounded_time() {
    let one: String = format!("---\n{}", ingress("NAME"));
    let count = (10 << 20) / one.len();
    let text: String = (0..count)
        .map(|number| one.replace("NAME", &format!("a{number}")))
        .collect();
    let folder = folder("large", &[("a.yaml", &text)]);
    let started = Instant::now();
    let manifests = read(&[folder], false).expect("manifests");
    assert_eq!(manifests.ingresses.len(), count);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
