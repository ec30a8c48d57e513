//! A run that is killed at any moment: the next one finishes, and nothing is lost, doubled or left.

use std::time::Duration;

use crate::scene::{Scene, kubectl};

/// Between one moment at which a run is killed and the next.
const STEP: Duration = Duration::from_millis(50);
/// A run of five certificates takes about as many steps.
const STEPS: u32 = 36;
/// Runs at the same time: each waits half a minute for the Lease of the one that was killed.
const AT_A_TIME: usize = 6;
const CERTIFICATES: usize = 5;

/// What one cut point and the run after it came to.
#[derive(Debug, Default)]
struct Figures {
    stored: usize,
    issued: usize,
    accounts: usize,
    entries: usize,
    objects: usize,
}

/// `KILLS=36` takes every cut point; without it a sample of six.
#[test]
#[ignore = "needs the test cluster"]
fn whenever_a_run_is_killed_the_next_one_finishes_what_it_began() {
    let count: u32 = std::env::var("KILLS").map_or(6, |text| text.parse().expect("a number"));
    let steps: Vec<u32> = (0..count).map(|n| (n * STEPS + STEPS / 2) / count).collect();
    let mut all = Vec::new();
    for some in steps.chunks(AT_A_TIME) {
        std::thread::scope(|scope| {
            let cuts: Vec<_> = some.iter().map(|step| scope.spawn(|| cut(*step))).collect();
            all.extend(cuts.into_iter().map(|cut| cut.join().expect("a cut point")));
        });
    }
    let sum = |figure: fn(&Figures) -> usize| all.iter().map(figure).sum::<usize>();
    let wanted = all.len() * CERTIFICATES;
    println!(
        "{} cut points: {} certificates stored and {} issued for {wanted} wanted, {} accounts for {} home namespaces, \
         {} entries in the ledgers, {} objects",
        all.len(),
        sum(|it| it.stored),
        sum(|it| it.issued),
        sum(|it| it.accounts),
        all.len(),
        sum(|it| it.entries),
        sum(|it| it.objects),
    );
    let (stored, issued) = (sum(|it| it.stored), sum(|it| it.issued));
    assert_eq!((stored, issued, sum(|it| it.accounts)), (wanted, wanted, all.len()));
    assert_eq!((sum(|it| it.entries), sum(|it| it.objects)), (0, 0));
}

/// Kills a run of five certificates after so many steps, and runs again.
fn cut(step: u32) -> Figures {
    let scene = Scene::new(Box::leak(format!("kill-{step}").into_boxed_str()));
    let namespace = scene.namespace("web");
    let secret = |n: usize| format!("tls-{n}");
    let ingresses = (0..CERTIFICATES).map(|n| {
        let host = format!("h{n}.kill-{step}.example");
        scene.ingress(&namespace, &format!("web-{n}"), &secret(n), &[&host])
    });
    scene.apply(&ingresses.collect::<String>());
    let mut run = scene.start();
    std::thread::sleep(STEP * step);
    run.kill().expect("killed");
    run.wait_with_output().expect("its end");
    scene.run(&[]).exits(0);

    let held = |n: &usize| scene.get("secret", &namespace, &secret(*n))["data"]["tls.crt"].is_string();
    let ledger = scene.get("secret", &scene.home, "kube-lego-once-ledger");
    let objects = kubectl(
        &[
            "get",
            "ingresses,services,endpointslices,endpoints,pods",
            "-n",
            &scene.home,
            "-o",
            "name",
        ],
        "",
    );
    let figures = Figures {
        stored: (0..CERTIFICATES).filter(held).count(),
        issued: scene.pebble.count("Issued certificate serial"),
        accounts: scene.pebble.count("accounts in memory"),
        entries: ledger["data"].as_object().map_or(0, serde_json::Map::len),
        objects: objects.lines().count(),
    };
    println!("killed after {} ms: {figures:?}", (STEP * step).as_millis());
    figures
}
