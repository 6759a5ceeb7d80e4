//! HEDGE: a hedged call is made when the first call is slow.

use std::time::Duration;

use instream::outcome::FaultKind;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Behavior, Running, Scenario};

/// The records whose calls give enough latencies to recognize a slow call.
const SAMPLES: std::ops::Range<usize> = 0..200;
/// The record that is slow.
const SLOW: usize = 1000;

fn hedging(capacity: usize) -> Scenario {
    let capacity = capacity.to_string();
    Scenario::of(0).with("CAPACITY", &capacity).with("HEDGE", "p95")
}

/// Starts a handler that recognizes slow calls and has a budget for hedged calls.
async fn warm(scenario: Scenario) -> Running {
    let running = scenario.start();
    running.invoke(SAMPLES).await.unwrap();
    let mut seen = running.seen.lock().unwrap();
    seen.calls.clear();
    drop(seen);
    running
}

/// Invokes the handler with one record whose first and hedged call behave like this. Returns the time taken.
async fn race(first: Behavior, second: Behavior, then: Behavior) -> (Duration, Running) {
    let scenario = hedging(8)
        .with("MAX_ATTEMPTS", "1")
        .with("CALL_TIMEOUT_MS", "400")
        .with("ADAPTIVE_CAPACITY", "off");
    let running = warm(scenario.attempts_then(SLOW, &[first, second], then)).await;
    let started = Instant::now();
    running.invoke([SLOW]).await.unwrap();
    let took = started.elapsed();
    assert_eq!(running.seen.lock().unwrap().in_flight, 0, "no call is left in flight");
    // All permits are available again.
    running.seen.lock().unwrap().most_in_flight = 0;
    running.invoke(2000..2100).await.unwrap();
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 8);
    (took, running)
}

fn attempts(running: &Running) -> usize {
    running.seen.lock().unwrap().attempts(SLOW)
}

fn outcome(running: &Running) -> (usize, usize) {
    let (predictions, dead_letters) = running.lines();
    let of_slow = |lines: &[serde_json::Value]| lines.iter().filter(|line| line["eventId"] == "shard:1000").count();
    (of_slow(&predictions), of_slow(&dead_letters))
}

const OVERLOAD: Behavior = Behavior::FailAfter(50, FaultKind::Overload);
const SUSPECT: Behavior = Behavior::FailAfter(50, FaultKind::Suspect);
const REFUSE: Behavior = Behavior::FailAfter(10, FaultKind::Refused);
const ANSWER: Behavior = Behavior::PredictAfter(10);
const SLOWLY: Behavior = Behavior::PredictAfter(300);

#[tokio::test(start_paused = true)]
async fn a_call_is_slow_and_hedge_is_on() {
    let (took, running) = race(SLOWLY, ANSWER, Behavior::Panic).await;
    assert_eq!(attempts(&running), 2);
    // A call is slow after 15 ms, one and a half times the usual 10 ms.
    assert!(took < Duration::from_millis(30), "{took:?}");
    assert_eq!(outcome(&running), (1, 0), "delivered once");
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_or_refusal_wins_and_a_transient_fault_does_not() {
    for (first, second, took_ms, expected) in [
        (Behavior::PredictAfter(20), SLOWLY, 20, (1, 0)),
        (SLOWLY, REFUSE, 25, (0, 1)),
        (Behavior::FailAfter(20, FaultKind::Refused), SLOWLY, 20, (0, 1)),
        (SLOWLY, OVERLOAD, 300, (1, 0)),
        (OVERLOAD, Behavior::PredictAfter(100), 115, (1, 0)),
        (OVERLOAD, REFUSE, 25, (0, 1)),
        (OVERLOAD, SUSPECT, 65, (0, 0)),
        (OVERLOAD, Behavior::Hang, 400, (0, 0)),
        (SLOWLY, Behavior::Hang, 300, (1, 0)),
        (Behavior::Hang, Behavior::Hang, 400, (0, 0)),
        (SLOWLY, Behavior::Panic, 15, (0, 0)),
    ] {
        // A refused record has a last attempt, between two probes.
        let (then, last_attempts, last_attempt_ms) = if expected == (0, 1) {
            (REFUSE, 1, 30)
        } else {
            (Behavior::Panic, 0, 0)
        };
        let (took, running) = race(first, second, then).await;
        let calls = attempts(&running);
        assert_eq!(
            calls,
            2 + last_attempts,
            "{first:?}, {second:?}: one attempt, two calls"
        );
        assert_eq!(outcome(&running), expected, "{first:?}, {second:?}");
        let expected = Duration::from_millis(took_ms + last_attempt_ms);
        assert!(
            took >= expected && took < expected + Duration::from_millis(2),
            "{first:?}, {second:?}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn if_both_calls_fail_the_fault_of_the_first_counts() {
    // A record is given up after a Suspect fault and never after Overload.
    for (first, second, is_given_up) in [
        (OVERLOAD, SUSPECT, false),
        (SUSPECT, OVERLOAD, true),
        (OVERLOAD, Behavior::Hang, false),
    ] {
        let scenario = hedging(8).with("MAX_ATTEMPTS", "1");
        let scenario = scenario.with("GIVE_UP_AFTER_S", "0");
        let running = warm(scenario.attempts_then(SLOW, &[first, second], SUSPECT)).await;
        running.invoke([SLOW]).await.unwrap();
        assert_eq!(outcome(&running).1 == 1, is_given_up, "{first:?}, {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_is_hedged_without_a_reason() {
    let calls = async |running: Running| {
        running.invoke([SLOW]).await.unwrap();
        attempts(&running)
    };
    let slow = |scenario: Scenario| scenario.record(SLOW, SLOWLY);
    assert_eq!(calls(warm(slow(hedging(8))).await).await, 2);
    assert_eq!(calls(slow(hedging(8)).start()).await, 1, "too few latencies are known");
    assert_eq!(calls(warm(slow(Scenario::of(0))).await).await, 1, "HEDGE is off");
    assert_eq!(calls(warm(slow(hedging(1))).await).await, 1, "no permit is spare");
    // A call was throttled a moment ago, or longer ago than a second.
    for (ago_ms, expected) in [(0, 1), (1500, 2)] {
        let running = warm(slow(hedging(8)).attempts(500, &[Behavior::Fail(FaultKind::Overload)])).await;
        running.invoke([500]).await.unwrap();
        tokio::time::advance(Duration::from_millis(ago_ms)).await;
        assert_eq!(calls(running).await, expected, "throttled {ago_ms} ms ago");
    }
}

#[tokio::test(start_paused = true)]
async fn hedged_calls_stay_within_the_capacity_and_a_twentieth_of_all_calls() {
    // One call in 25 is slow, or one in 20.
    for (one_in, extra) in [(25, 130..=160), (20, 150..=200)] {
        let mut scenario = hedging(16);
        for number in (0..4000).filter(|number| number % one_in == 0) {
            scenario = scenario.attempts(number, &[Behavior::PredictAfter(200)]);
        }
        let running = scenario.start();
        for start in (0..4000).step_by(10) {
            let response = running.invoke(start..start + 10).await.unwrap();
            assert_eq!(response, json!({ "batchItemFailures": [] }));
        }
        let seen = running.seen.lock().unwrap();
        assert!(seen.most_in_flight <= 16);
        let made = seen.calls.len() - 4000;
        assert!(extra.contains(&made), "one in {one_in}: {made}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cancels_both_calls() {
    let running = warm(hedging(8).record(SLOW, Behavior::Hang)).await;
    let started = Instant::now();
    let time = Duration::from_secs(3);
    running.invoke_within([SLOW], time).await.unwrap();
    assert!(started.elapsed() <= time);
    assert_eq!(attempts(&running), 2);
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
    running.seen.lock().unwrap().most_in_flight = 0;
    running.invoke(2000..2100).await.unwrap();
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 8);
}
