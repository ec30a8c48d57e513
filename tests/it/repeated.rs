//! What holds once must hold each time: `RUNS` says how often.

use crate::scene::{Ran, Scene};

#[test]
#[ignore = "needs the test cluster"]
fn two_runs_at_once_are_kept_apart_by_the_lease() {
    let scene = Scene::new("twice");
    let namespace = scene.namespace("web");
    let pairs = runs(1).min(20);
    for pair in 1..=pairs {
        let (name, host) = (format!("i{pair}"), format!("h{pair}.twice.example"));
        scene.apply(&scene.ingress(&namespace, &name, &format!("tls-{pair}"), &[&host]));
        let running = [scene.start(), scene.start()];
        for child in running {
            Ran::from(child.wait_with_output().expect("the program ends")).exits(0);
        }
        let orders = scene.pebble.count("Added order");
        assert_eq!(orders, pair, "the second looked again under the Lease");
    }
    println!("two runs at once, {pairs} times: {pairs} orders");
    scene.assert_nothing_is_left();
}

/// So many as `RUNS` says.
pub(crate) fn runs(usual: usize) -> usize {
    std::env::var("RUNS").map_or(usual, |text| text.parse().expect("a number"))
}
