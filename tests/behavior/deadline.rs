//! The deadline of an invocation: the function responds in time whatever the endpoint does.

use std::time::Duration;

use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};
use crate::transport::MISSING_MODEL;

const REFUSED_AFTER_1_S: Behavior = Behavior::FailAfter(1000, FaultKind::Refused);

#[tokio::test(start_paused = true)]
async fn the_deadline_nears() {
    let ran = Scenario::of(10)
        .deadline(Some(Duration::from_secs(3)))
        .record(4, Behavior::Hang)
        .run()
        .await;
    ran.assert_redelivered_from(4);
    assert_eq!(ran.predicted, [0, 1, 2, 3], "finished records are delivered");
    assert!(ran.dead_lettered.is_empty());
    assert_eq!(
        ran.elapsed,
        Duration::from_secs(2),
        "calls are cancelled DEADLINE_RESERVE_MS before the deadline"
    );
    assert_eq!(ran.seen.in_flight, 0, "the call was cancelled");
    assert_eq!(ran.seen.attempts(4), 1, "a cancelled call is not retried");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_limited_by_call_timeout_ms_and_by_the_time_left() {
    for (timeout_ms, elapsed_ms) in [("500", 500), ("2500", 2000)] {
        let ran = Scenario::of(1)
            .deadline(Some(Duration::from_secs(3)))
            .with("CALL_TIMEOUT_MS", timeout_ms)
            .with("MAX_ATTEMPTS", "1")
            .record(0, Behavior::Hang)
            .run()
            .await;
        ran.assert_redelivered_from(0);
        assert_eq!(ran.elapsed, Duration::from_millis(elapsed_ms));
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_unknown() {
    let ran = Scenario::of(2)
        .deadline(None)
        .with("INVOCATION_BUDGET_MS", "3000")
        .record(1, Behavior::Hang)
        .run()
        .await;
    ran.assert_redelivered_from(1);
    assert_eq!(ran.predicted, [0]);
    assert_eq!(ran.elapsed, Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn no_call_starts_with_less_time_left_than_the_median_of_the_latest_calls() {
    // Calls of 300 ms run one after the other in 1,000 ms. A fourth call could not end in time.
    let mut scenario = Scenario::of(10)
        .with("CAPACITY", "1")
        .deadline(Some(Duration::from_secs(2)));
    for number in 0..10 {
        scenario = scenario.record(number, Behavior::PredictAfter(300));
    }
    let ran = scenario.run().await;
    ran.assert_redelivered_from(3);
    assert_eq!(ran.seen.calls, ["0", "1", "2"]);
    assert_eq!(ran.elapsed, Duration::from_millis(900), "there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_without_time_for_a_call() {
    let ran = Scenario::of(2).deadline(Some(Duration::from_millis(900))).run().await;
    ran.assert_redelivered_from(0);
    assert!(ran.seen.calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_delivery_starts_after_its_time_is_over() {
    // The body is too large, so the record needs no call. But the time for delivery is over as well.
    let scenario = Scenario::of(11)
        .with("MAX_PAYLOAD_BYTES", "1")
        .deadline(Some(Duration::from_millis(150)));
    let running = scenario.start();
    let response = running.invoke([10]).await.unwrap();
    assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "10");
    let response = running.invoke_within([10], Duration::from_mins(1)).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [10], "once");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_exceed_the_deadline_is_skipped() {
    let ran = Scenario::of(1)
        .deadline(Some(Duration::from_secs(2)))
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000")
        .with("MAX_ATTEMPTS", "10")
        .record(0, Behavior::Fail(FaultKind::Overload))
        .run()
        .await;
    ran.assert_redelivered_from(0);
    assert!(ran.elapsed < Duration::from_secs(1), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_starts_only_if_a_probe_after_it_fits_before_the_deadline() {
    // Calls end 1,000 ms before the deadline. The refusal and the probe take 1,010 ms, and so do the last attempt and
    // the probe after it.
    for (deadline_ms, attempts) in [(3015, 1), (3200, 2)] {
        let running = Scenario::of(0).record(50, REFUSED_AFTER_1_S).start();
        running.invoke(0..20).await.unwrap();
        let time = Duration::from_millis(deadline_ms);
        running.invoke_within([50], time).await.unwrap();
        assert_eq!(running.seen.lock().unwrap().attempts(50), attempts, "{deadline_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_wait_for_a_call_that_may_take_the_time_of_the_last_attempt() {
    // Record 52 hangs from 999 to 10,999 ms. Calls end at 12,010 ms.
    let running = Scenario::of(0)
        .with("CAPACITY", "2")
        .with("CALL_TIMEOUT_MS", "10000")
        .record(50, REFUSED_AFTER_1_S)
        .record(51, Behavior::PredictAfter(999))
        .record(52, Behavior::Hang)
        .start();
    running.invoke(0..20).await.unwrap();
    let response = running.invoke_within(50..53, Duration::from_millis(13_010)).await;
    let ran = running.finish(response.unwrap());
    ran.assert_redelivered_from(52);
    assert_eq!(ran.dead_lettered, [50]);
}

#[tokio::test(start_paused = true)]
async fn each_witness_is_probed_once_before_its_last_attempts() {
    for missing in MISSING_MODEL {
        // The probe for record 50 fails. Then record 52 fails at once and needs an answer of any model.
        let refused = Behavior::Fail(FaultKind::Refused);
        let running = Scenario::of(0)
            .with("CAPACITY", "2")
            .with("CALL_TIMEOUT_MS", "10000")
            .attempts_then(0, &[Behavior::PredictAfter(10)], refused)
            .record(50, REFUSED_AFTER_1_S)
            .record(51, Behavior::PredictAfter(1500))
            .record(52, missing)
            .start();
        running.invoke(0..20).await.unwrap();
        running
            .invoke_within(50..54, Duration::from_millis(12_100))
            .await
            .unwrap();
        let seen = running.seen.lock().unwrap();
        assert_eq!(seen.calls[20..][..6], ["50", "51", "0", "52", "0", "53"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_sent() {
    let mut scenario = Scenario::of(40).deadline(Some(Duration::from_secs(3)));
    for number in (0..40).step_by(3) {
        scenario = scenario
            .record(number, Behavior::Hang)
            .attempts(number + 1, &[Behavior::Fail(FaultKind::Overload)]);
    }
    let running = scenario.start();
    running.invoke(0..40).await.unwrap();
    let calls = running.seen.lock().unwrap().calls.len();
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
    tokio::time::advance(Duration::from_hours(1)).await;
    tokio::task::yield_now().await;
    assert_eq!(
        running.seen.lock().unwrap().calls.len(),
        calls,
        "no call starts after the response"
    );
}
