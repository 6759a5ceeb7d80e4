//! Retry-After: an overloaded endpoint names the time until the next call.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Behavior, Scenario};

/// Returns the start times of the calls, in milliseconds after the first.
fn started(times: &[Instant]) -> Vec<u128> {
    times.iter().map(|time| (*time - times[0]).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_says_when_to_come_back() {
    // Calls of another process have used up the endpoint: even the first call of this one is too much.
    for adaptive in ["on", "off"] {
        let ran = Scenario::of(1)
            .with("ADAPTIVE_CAPACITY", adaptive)
            .attempts(0, &[Behavior::RetryAfter(7)])
            .run()
            .await;
        ran.assert_finished();
        let [0, waited] = started(&ran.seen.times(0))[..] else {
            panic!("{ran:?}")
        };
        assert!((7000..7100).contains(&waited), "{waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn no_other_call_starts_sooner_unless_one_is_answered() {
    let scenario = || {
        Scenario::of(10)
            .with("CAPACITY", "1")
            .attempts(0, &[Behavior::RetryAfter(7)])
    };
    let ran = scenario().run().await;
    ran.assert_finished();
    let second = started(&ran.seen.started)[1];
    assert!(second >= 7000, "{second} ms");
    // With two calls in flight, an answer to the other shows that the endpoint accepts calls again.
    let ran = scenario().with("CAPACITY", "2").run().await;
    ran.assert_finished();
    let third = started(&ran.seen.started)[2];
    assert!(third < 100, "{third} ms");
    // A fixed limit does not delay calls for other records.
    let ran = scenario().with("ADAPTIVE_CAPACITY", "off").run().await;
    assert!(started(&ran.seen.started)[1] < 100);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_longer_than_the_time_left_is_not_waited_for() {
    let ran = Scenario::of(5)
        .deadline(Some(Duration::from_mins(1)))
        .attempts(0, &[Behavior::RetryAfter(600)])
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert!(ran.dead_lettered.is_empty());
    assert!(ran.elapsed < Duration::from_secs(1), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn the_next_batch_waits_at_most_ten_seconds() {
    let running = Scenario::of(0).attempts(0, &[Behavior::RetryAfter(3600)]).start();
    running.invoke(0..1).await.unwrap();
    let before = Instant::now();
    running.invoke(0..1).await.unwrap();
    let waited = before.elapsed();
    assert!((9_900..10_100).contains(&waited.as_millis()), "{waited:?}");
}
