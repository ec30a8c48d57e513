//! A run that is killed at any moment: the next one finishes, and nothing is lost, doubled or left.

use std::time::Duration;

use crate::five::{AT_A_TIME, CERTIFICATES, Figures, each, scene};

/// Between one moment at which a run is killed and the next.
const STEP: Duration = Duration::from_millis(50);
/// A run of five certificates takes about as many steps.
const STEPS: u32 = 36;
/// `KILLS=36` takes every cut point; without it a sample of six.
#[test]
#[ignore = "needs the test cluster"]
fn whenever_a_run_is_killed_the_next_one_finishes_what_it_began() {
    let count: u32 = std::env::var("KILLS").map_or(6, |text| text.parse().expect("a number"));
    let steps: Vec<u32> = (0..count).map(|n| (n * STEPS + STEPS / 2) / count).collect();
    let all = each(&steps, AT_A_TIME, |step| cut(*step));
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
    let (scene, namespace) = scene(format!("kill-{step}"));
    let mut run = scene.start();
    std::thread::sleep(STEP * step);
    run.kill().expect("killed");
    run.wait_with_output().expect("its end");
    scene.run(&[]).exits(0);
    let figures = Figures::of(&scene, &namespace);
    println!("killed after {} ms: {figures:?}", (STEP * step).as_millis());
    figures
}
