//! What further attempts there are in all. `retry_budget.rs` tells the stories.

use std::collections::HashSet;

use instream::endpoint::FaultKind;
use serde_json::json;

use crate::support::{Does, Running, Scenario};

const TRANSIENT: [FaultKind; 3] = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];
const CAPACITIES: [usize; 3] = [1, 20, 128];

fn process(capacity: usize, adaptive: &str) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0)
        .with("CAPACITY", &capacity.to_string())
        .with("ADAPTIVE_CAPACITY", adaptive)
}

/// Delivers these records once. Returns how many of them were called, and how many attempts beyond the first they had.
async fn deliver(running: &Running, records: std::ops::Range<usize>) -> (usize, usize) {
    let before = running.seen.lock().unwrap().calls.len();
    running.invoke(records).await.unwrap();
    let seen = running.seen.lock().unwrap();
    let calls = &seen.calls[before..];
    let called: HashSet<_> = calls.iter().collect();
    (called.len(), calls.len() - called.len())
}

/// Delivers these records until there are no further attempts.
async fn spend_all(running: &Running, records: std::ops::Range<usize>) {
    for _ in 0..100 {
        if deliver(running, records.clone()).await.1 == 0 {
            return;
        }
    }
    panic!("there are always further attempts");
}

/// An endpoint where nine records of ten fail like this, until it is up again.
fn mostly_failing(capacity: usize, adaptive: &str, kind: FaultKind) -> Running {
    let mut scenario = process(capacity, adaptive);
    for number in (0..1000).filter(|number| number % 10 != 0) {
        // A hundred deliveries do not use that up.
        scenario = scenario.attempts(number, &[Does::FailAfter(5, kind); 100]);
    }
    scenario.start()
}

#[tokio::test(start_paused = true)]
async fn further_attempts_are_what_is_saved_up_and_one_for_each_answer_at_most() {
    for kind in TRANSIENT {
        for adaptive in ["on", "off"] {
            for capacity in CAPACITIES {
                let running = mostly_failing(capacity, adaptive, kind);
                let mut further = 0;
                for batch in 0..10 {
                    further += deliver(&running, batch * 100..batch * 100 + 100).await.1;
                }
                // More answers than are delivered: some are behind a record that failed.
                let answers = running
                    .seen
                    .lock()
                    .unwrap()
                    .calls
                    .iter()
                    .filter(|call| call.ends_with('0'))
                    .count();
                let most = capacity.max(10) + answers;
                assert!(further <= most, "{kind:?}, {capacity}: {further}, {answers} answers");
                assert!(further >= 10, "{kind:?}, {capacity}: {further}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_it_is_spent_each_record_is_called_once_a_delivery_and_none_is_lost() {
    for kind in TRANSIENT {
        for capacity in CAPACITIES {
            let running = process(capacity, "off").start();
            running.is_down(Does::FailAfter(5, kind));
            spend_all(&running, 0..100).await;
            for _ in 0..5 {
                let (called, further) = deliver(&running, 0..100).await;
                assert!(called >= 1 && further == 0, "{kind:?}, {capacity}: {called}, {further}");
            }
            running.is_up();
            let answer = running.invoke(0..100).await.unwrap();
            let ran = running.ran(answer);
            ran.is_finished();
            assert_eq!(ran.predicted, (0..100).collect::<Vec<_>>(), "{kind:?}, {capacity}");
            assert!(ran.dead_lettered.is_empty());
        }
    }
}

/// Each third record fails once, like this.
async fn each_third(records: usize, capacity: usize, does: Does) {
    let mut scenario = process(capacity, "on");
    for number in (0..records).filter(|number| number % 3 == 0) {
        scenario = scenario.attempts(number, &[does]);
    }
    let running = scenario.start();
    let answer = running.invoke(0..records).await.unwrap();
    assert_eq!(
        answer,
        json!({ "batchItemFailures": [] }),
        "{does:?}, {capacity}, {records}"
    );
    assert_eq!(running.lines().0.len(), records);
}

#[tokio::test(start_paused = true)]
async fn each_third_first_attempt_may_fail_once() {
    for kind in TRANSIENT {
        for capacity in CAPACITIES {
            each_third(300, capacity, Does::Fail(kind)).await;
            each_third(300, capacity, Does::FailAfter(15, kind)).await;
        }
        each_third(3000, 20, Does::Fail(kind)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_earns_nothing_and_costs_nothing() {
    let running = process(1, "off").record(0, Does::Fail(FaultKind::Refused)).start();
    running.is_down(Does::Fail(FaultKind::Suspect));
    spend_all(&running, 100..110).await;
    running.is_down(Does::Fail(FaultKind::Refused));
    running.invoke(200..250).await.unwrap();
    running.is_down(Does::Fail(FaultKind::Suspect));
    assert_eq!(deliver(&running, 100..110).await, (10, 0));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_follow_is_not_taken_out() {
    let mut scenario = process(20, "off").record(0, Does::FailAfter(3, FaultKind::Misconfigured));
    for number in 1..20 {
        scenario = scenario.record(number, Does::FailAfter(5, FaultKind::Overload));
    }
    for number in 100..110 {
        scenario = scenario.attempts(number, &[Does::Fail(FaultKind::Suspect)]);
    }
    let running = scenario.start();
    // The first one brings the others back, which are in flight: none of them is tried again.
    assert_eq!(deliver(&running, 0..20).await, (20, 0));
    assert_eq!(deliver(&running, 100..110).await, (10, 10));
}
