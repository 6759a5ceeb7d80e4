//! The call's own time: what it covers, and what happens when it is over.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn a_call_passes_call_timeout_ms() {
    let started = Instant::now();
    let ran = Scenario::of(3)
        .with("CALL_TIMEOUT_MS", "3000")
        .with("CAPACITY", "1")
        .with("RETRY_CAP_MS", "50")
        .attempts(0, &[Does::Hang])
        .run()
        .await;
    ran.is_finished();
    assert_eq!(ran.predicted, [0, 1, 2], "only one attempt was spent");
    assert_eq!(ran.seen.attempts(0), 2);
    assert_eq!(ran.seen.in_flight, 0, "the call was cancelled");
    assert_eq!(ran.seen.calls[1], "1", "its permit went on to another record");
    assert_eq!(ran.seen.started[1] - started, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_the_whole_call_timeout() {
    let ran = Scenario::of(1)
        .with("CALL_TIMEOUT_MS", "1000")
        .with("MAX_ATTEMPTS", "2")
        .attempts(0, &[Does::Hang, Does::PredictAfter(999)])
        .run()
        .await;
    ran.is_finished();
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
