//! An endpoint that says when to come back, as an answer with `Retry-After` does.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Does, Scenario};

/// When the calls started, in milliseconds after the first.
fn started(times: &[Instant]) -> Vec<u128> {
    times.iter().map(|time| (*time - times[0]).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_says_when_to_come_back() {
    // Another process of ours has had its share: one call at a time, of which the first is one too many.
    for adaptive in ["on", "off"] {
        let ran = Scenario::of(1)
            .with("ADAPTIVE_CAPACITY", adaptive)
            .attempts(0, &[Does::BusyFor(7)])
            .run()
            .await;
        ran.is_finished();
        let [0, waited] = started(&ran.seen.times(0))[..] else {
            panic!("{ran:?}")
        };
        assert!((7000..7100).contains(&waited), "{waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn no_other_call_comes_sooner_unless_one_is_answered() {
    let scenario = || Scenario::of(10).with("CAPACITY", "1").attempts(0, &[Does::BusyFor(7)]);
    let ran = scenario().run().await;
    ran.is_finished();
    let second = started(&ran.seen.started)[1];
    assert!(second >= 7000, "{second} ms");
    // With two, an answer to the other shows that there is room.
    let ran = scenario().with("CAPACITY", "2").run().await;
    ran.is_finished();
    let third = started(&ran.seen.started)[2];
    assert!(third < 100, "{third} ms");
    // What is fixed is not kept from calling others.
    let ran = scenario().with("ADAPTIVE_CAPACITY", "off").run().await;
    assert!(started(&ran.seen.started)[1] < 100);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_longer_than_the_time_left_is_not_waited_for() {
    let ran = Scenario::of(5)
        .deadline(Some(Duration::from_mins(1)))
        .attempts(0, &[Does::BusyFor(600)])
        .run()
        .await;
    ran.comes_again_from(0);
    assert!(ran.dead_lettered.is_empty());
    assert!(ran.elapsed < Duration::from_secs(1), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_waits_ten_seconds_at_most() {
    let running = Scenario::of(0).attempts(0, &[Does::BusyFor(3600)]).start();
    running.invoke(0..1).await.unwrap();
    let before = Instant::now();
    running.invoke(0..1).await.unwrap();
    let waited = before.elapsed();
    assert!((9_900..10_100).contains(&waited.as_millis()), "{waited:?}");
}
