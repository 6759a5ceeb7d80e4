//! The call timeout: the time that it covers, and the end of a call that exceeds it.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Behavior, Scenario};

#[tokio::test(start_paused = true)]
async fn a_call_passes_call_timeout_ms() {
    let started = Instant::now();
    let ran = Scenario::of(3)
        .with("CALL_TIMEOUT_MS", "3000")
        .with("CAPACITY", "1")
        .with("RETRY_CAP_MS", "50")
        .attempts(0, &[Behavior::Hang])
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.predicted, [0, 1, 2], "only one attempt was spent");
    assert_eq!(ran.seen.attempts(0), 2);
    assert_eq!(ran.seen.in_flight, 0, "the call was cancelled");
    assert_eq!(ran.seen.calls[1], "1", "its permit went to another record");
    assert_eq!(ran.seen.started[1] - started, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_the_full_call_timeout() {
    let ran = Scenario::of(1)
        .with("CALL_TIMEOUT_MS", "1000")
        .with("MAX_ATTEMPTS", "2")
        .attempts(0, &[Behavior::Hang, Behavior::PredictAfter(999)])
        .run()
        .await;
    ran.assert_finished();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_permit_does_not_count_towards_the_call_timeout() {
    let mut scenario = Scenario::of(20).with("CALL_TIMEOUT_MS", "1000").with("CAPACITY", "1");
    for number in 0..20 {
        scenario = scenario.record(number, Behavior::PredictAfter(999));
    }
    let ran = scenario.run().await;
    ran.assert_finished();
    assert_eq!(ran.predicted.len(), 20);
}
