//! The call's own time: what it covers, and what happens when it is over.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn a_call_passes_call_timeout_ms() {
    let started = Instant::now();
    let ran = Scenario::of(4)
        .with("CALL_TIMEOUT_MS", "3000")
        .with("CAPACITY", "1")
        .record(1, Does::Hang)
        .run()
        .await;
    ran.comes_again_from(1);
    assert_eq!(ran.predicted, [0]);
    assert_eq!(ran.seen.in_flight, 0, "the call was cancelled");
    assert_eq!(ran.seen.calls, ["0", "1", "2", "3"], "its permit went on to the others");
    assert_eq!(started.elapsed(), Duration::from_millis(3000 + 3 * 10));
}

#[tokio::test(start_paused = true)]
async fn queueing_is_not_charged() {
    let mut scenario = Scenario::of(20).with("CALL_TIMEOUT_MS", "1000").with("CAPACITY", "1");
    for number in 0..20 {
        scenario = scenario.record(number, Does::PredictAfter(999));
    }
    let ran = scenario.run().await;
    ran.is_finished();
    assert_eq!(ran.predicted.len(), 20);
}
