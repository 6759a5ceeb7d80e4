//! Limits of the retry budget. `retry_budget.rs` has the main scenarios.

use std::collections::HashSet;

use instream::outcome::FaultKind;
use serde_json::json;

use crate::support::{Behavior, Running, Scenario};

const TRANSIENT: [FaultKind; 3] = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];
const CAPACITIES: [usize; 3] = [1, 20, 128];

fn process(capacity: usize, adaptive: &str) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0)
        .with("CAPACITY", &capacity.to_string())
        .with("ADAPTIVE_CAPACITY", adaptive)
}

/// Delivers these records once. Returns the number of records called and the number of retries.
async fn deliver(running: &Running, records: std::ops::Range<usize>) -> (usize, usize) {
    let before = running.seen.lock().unwrap().calls.len();
    running.invoke(records).await.unwrap();
    let seen = running.seen.lock().unwrap();
    let calls = &seen.calls[before..];
    let called: HashSet<_> = calls.iter().collect();
    (called.len(), calls.len() - called.len())
}

/// Delivers these records until a delivery has no retries.
async fn spend_budget(running: &Running, records: std::ops::Range<usize>) {
    for _ in 0..100 {
        if deliver(running, records.clone()).await.1 == 0 {
            return;
        }
    }
    panic!("the budget is never spent");
}

/// Starts a handler whose endpoint fails nine of ten records with this fault.
fn mostly_failing(capacity: usize, adaptive: &str, kind: FaultKind) -> Running {
    let mut scenario = process(capacity, adaptive);
    for number in (0..1000).filter(|number| number % 10 != 0) {
        // A hundred deliveries do not use up these faults.
        scenario = scenario.attempts(number, &[Behavior::FailAfter(5, kind); 100]);
    }
    scenario.start()
}

#[tokio::test(start_paused = true)]
async fn retries_never_exceed_the_saved_budget_plus_one_for_each_answer() {
    for kind in TRANSIENT {
        for adaptive in ["on", "off"] {
            for capacity in CAPACITIES {
                let running = mostly_failing(capacity, adaptive, kind);
                let mut further = 0;
                for batch in 0..10 {
                    further += deliver(&running, batch * 100..batch * 100 + 100).await.1;
                }
                // There are more answers than delivered records: some records follow a failed one.
                let answers = running
                    .seen
                    .lock()
                    .unwrap()
                    .calls
                    .iter()
                    .filter(|call| call.ends_with('0'))
                    .count();
                // One probe a batch is not a retry.
                let most = capacity.max(10) + answers + 10;
                assert!(further <= most, "{kind:?}, {capacity}: {further}, {answers} answers");
                assert!(further >= 10, "{kind:?}, {capacity}: {further}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_budget_spent_each_record_is_called_once_a_delivery_and_none_is_lost() {
    for kind in TRANSIENT {
        for capacity in CAPACITIES {
            let running = process(capacity, "off").start();
            running.take_down(Behavior::FailAfter(5, kind));
            spend_budget(&running, 0..100).await;
            for _ in 0..5 {
                let (called, further) = deliver(&running, 0..100).await;
                assert!(called >= 1 && further == 0, "{kind:?}, {capacity}: {called}, {further}");
            }
            running.bring_up();
            let response = running.invoke(0..100).await.unwrap();
            let ran = running.finish(response);
            ran.assert_finished();
            assert_eq!(ran.predicted, (0..100).collect::<Vec<_>>(), "{kind:?}, {capacity}");
            assert!(ran.dead_lettered.is_empty());
        }
    }
}

/// Asserts that a batch is finished in one delivery if every third record behaves like this once.
async fn assert_finished_if_every_third_fails(records: usize, capacity: usize, behavior: Behavior) {
    let mut scenario = process(capacity, "on");
    for number in (0..records).filter(|number| number % 3 == 0) {
        scenario = scenario.attempts(number, &[behavior]);
    }
    let running = scenario.start();
    let response = running.invoke(0..records).await.unwrap();
    assert_eq!(
        response,
        json!({ "batchItemFailures": [] }),
        "{behavior:?}, {capacity}, {records}"
    );
    assert_eq!(running.lines().0.len(), records);
}

#[tokio::test(start_paused = true)]
async fn every_third_first_attempt_may_fail_once() {
    for kind in TRANSIENT {
        for capacity in CAPACITIES {
            assert_finished_if_every_third_fails(300, capacity, Behavior::Fail(kind)).await;
            assert_finished_if_every_third_fails(300, capacity, Behavior::FailAfter(15, kind)).await;
        }
        assert_finished_if_every_third_fails(3000, 20, Behavior::Fail(kind)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_neither_adds_to_the_budget_nor_spends_it() {
    let running = process(1, "off").record(0, Behavior::Fail(FaultKind::Refused)).start();
    running.take_down(Behavior::Fail(FaultKind::Suspect));
    spend_budget(&running, 100..110).await;
    running.take_down(Behavior::Fail(FaultKind::Refused));
    running.invoke(200..250).await.unwrap();
    running.take_down(Behavior::Fail(FaultKind::Suspect));
    assert_eq!(deliver(&running, 100..110).await, (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_not_made_does_not_spend_the_budget() {
    let mut scenario = process(20, "off").record(0, Behavior::FailAfter(3, FaultKind::Misconfigured));
    for number in 1..20 {
        scenario = scenario.record(number, Behavior::FailAfter(5, FaultKind::Overload));
    }
    for number in 100..110 {
        scenario = scenario.attempts(number, &[Behavior::Fail(FaultKind::Suspect)]);
    }
    let running = scenario.start();
    // The failure of the first record ends the batch. The others are in flight, and none of them is retried.
    assert_eq!(deliver(&running, 0..20).await, (20, 0));
    assert_eq!(deliver(&running, 100..110).await, (10, 10));
}
