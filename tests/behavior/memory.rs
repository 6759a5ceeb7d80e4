//! The memory for answers: over its limit, calls wait, and nothing is lost or delivered twice.

use std::time::Duration;

use instream::delivery::destination::Destination;
use instream::outcome::FaultKind;
use serde_json::json;

use crate::cloud::{Cloud, Fate};
use crate::destinations::{bucket, numbers};
use crate::support::{Behavior, Scenario};

const MIB: usize = 1024 * 1024;
/// The smallest memory for answers.
const BUFFER: &str = "33554432";

/// Creates a scenario with the smallest memory, whose records 0 to `records` all have answers of `bytes`.
fn large_answers(records: usize, bytes: usize) -> Scenario {
    let scenario = Scenario::of(records)
        .with("BUFFER_BYTES", BUFFER)
        .output(Destination::None);
    (0..records).fold(scenario, |scenario, number| {
        scenario.record(number, Behavior::PredictBytes(bytes))
    })
}

#[tokio::test(start_paused = true)]
async fn answers_take_more_than_the_memory_for_them() {
    for mode in ["ordered", "unordered"] {
        // A call that is given up because there is no room is no attempt.
        let scenario = large_answers(12, 24 * MIB).with("MAX_ATTEMPTS", "1");
        let running = scenario.with("OUTPUT_MODE", mode).start();
        let response = running.invoke(0..12).await.unwrap();
        assert_eq!(response, json!({ "batchItemFailures": [] }), "{mode}");
        let calls = running.seen.lock().unwrap().calls.len();
        // The size of an answer is unknown when the first calls start.
        assert!((12..=24).contains(&calls), "{mode}: {calls} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_while_the_first_record_holds_up_its_successors() {
    let scenario = large_answers(120, MIB).record(0, Behavior::PredictAfter(5000));
    let running = scenario.start();
    let invocation = running.invoke(0..120);
    let calls = || running.seen.lock().unwrap().calls.len();
    let (response, early) = tokio::join!(invocation, async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        calls()
    });
    assert!((26..=52).contains(&early), "{early} calls before the first answer");
    assert_eq!(response.unwrap(), json!({ "batchItemFailures": [] }));
    assert!(calls() <= 140, "{} calls", calls());
}

#[tokio::test(start_paused = true)]
async fn the_next_record_is_called_even_if_others_take_all_the_memory() {
    // The answers after it arrive first and take all the memory. Then its own needs more than there is.
    let mut scenario = large_answers(60, 2 * MIB);
    for number in (0..60).step_by(20) {
        let slow = [Behavior::FailAfter(300, FaultKind::Overload)];
        scenario = scenario.attempts_then(number, &slow, Behavior::PredictBytes(24 * MIB));
    }
    let ran = scenario.run().await;
    ran.assert_finished();
    assert!(ran.elapsed < Duration::from_mins(1), "{:?}", ran.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_is_rejected_although_others_take_all_the_memory() {
    for (records, bytes, after) in [(40, MIB, 5000), (30, 2 * MIB, 50), (12, 24 * MIB, 50)] {
        let scenario = large_answers(records, bytes).record(0, Behavior::FailAfter(after, FaultKind::Refused));
        let ran = scenario.run().await;
        ran.assert_finished();
        assert_eq!(ran.dead_lettered, [0]);
        assert!(ran.elapsed < Duration::from_secs(30), "{:?}", ran.elapsed);
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_waits_for_room_after_delivery_has_failed() {
    for mode in ["ordered", "unordered"] {
        let cloud = Cloud::deciding(|_, _| Fate::Refused(403, "AccessDenied"));
        let scenario = large_answers(40, 2 * MIB).output(cloud.open(&bucket()));
        let scenario = scenario
            .attempts(0, &[Behavior::RetryAfter(2)])
            .with("OUTPUT_MODE", mode);
        let ran = scenario.run().await;
        ran.assert_redelivered_from(0);
        assert!(ran.elapsed < Duration::from_secs(30), "{mode}: {:?}", ran.elapsed);
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_is_made_whose_answer_could_not_be_remembered() {
    let scenario = large_answers(50, MIB).with("MEMO_BYTES", "3500000");
    let scenario = scenario.attempts_then(0, &[Behavior::Fail(FaultKind::Suspect); 9], Behavior::PredictAfter(10));
    let running = scenario.with("CAPACITY", "1").with("MAX_ATTEMPTS", "1").start();
    let mut calls_before = 0;
    let mut deliveries = 0;
    while running.invoke(0..50).await.unwrap() != json!({ "batchItemFailures": [] }) {
        let calls = running.seen.lock().unwrap().calls.len();
        assert!(
            calls - calls_before <= 8,
            "{} calls in delivery {deliveries}",
            calls - calls_before
        );
        (calls_before, deliveries) = (calls, deliveries + 1);
        assert!(deliveries < 12);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_hangs_stops_calls_when_the_memory_is_full() {
    for mode in ["ordered", "unordered"] {
        let cloud = Cloud::deciding(|_, _| Fate::Hangs);
        let scenario = large_answers(60, 2 * MIB).output(cloud.open(&bucket()));
        let scenario = scenario
            .with("OUTPUT_MODE", mode)
            .deadline(Some(Duration::from_secs(20)));
        let ran = scenario.run().await;
        ran.assert_redelivered_from(0);
        assert!(
            ran.seen.calls.len() <= 16 + 20 + 3,
            "{mode}: {} calls",
            ran.seen.calls.len()
        );
        assert!(numbers(&cloud).is_empty());
    }
}
