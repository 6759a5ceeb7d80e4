//! Conditions and limits of hedged calls. `hedge.rs` has the main scenarios.

use std::time::Duration;

use instream::outcome::FaultKind;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::properties::behavior;
use crate::support::{Behavior, Running, Scenario, on_a_paused_clock};

/// The record that is slow.
const SLOW: usize = 1000;

fn hedging(capacity: usize) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0)
        .with("CAPACITY", &capacity.to_string())
        .with("HEDGE", "p95")
}

/// Starts a handler that has had this many answers of 10 ms.
async fn after_answers(scenario: Scenario, answers: usize) -> Running {
    let running = scenario.start();
    running.invoke(0..answers).await.unwrap();
    running.seen.lock().unwrap().most_in_flight = 0;
    running
}

fn calls(running: &Running) -> usize {
    running.seen.lock().unwrap().attempts(SLOW)
}

#[tokio::test(start_paused = true)]
async fn hedging_starts_after_a_hundred_answers() {
    for (answers, expected) in [(99, 1), (100, 2)] {
        let running = after_answers(hedging(20).record(SLOW, Behavior::PredictAfter(500)), answers).await;
        running.invoke([SLOW]).await.unwrap();
        assert_eq!(calls(&running), expected, "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_does_not_delay_the_other_records() {
    let scenario = hedging(20).attempts(SLOW + 5, &[Behavior::PredictAfter(20_000)]);
    let running = after_answers(scenario, 200).await;
    let started = Instant::now();
    running.invoke(SLOW..SLOW + 10).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(30), "{:?}", started.elapsed());
    assert_eq!(running.seen.lock().unwrap().in_flight, 0, "the slow one is cancelled");
    let ran = running.finish(json!(null));
    assert_eq!(
        ran.predicted[200..],
        (SLOW..SLOW + 10).collect::<Vec<_>>(),
        "each once, in order"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_goes_before_the_records_that_wait_for_a_permit() {
    let running = after_answers(hedging(2).attempts(SLOW, &[Behavior::PredictAfter(500)]), 200).await;
    running.invoke(SLOW..SLOW + 100).await.unwrap();
    let seen = running.seen.lock().unwrap();
    let times = seen.times(SLOW);
    // The call is slow after 15 ms, and the next permit is returned after 20 ms.
    let second: Vec<_> = times[1..].iter().map(|time| *time - times[0]).collect();
    assert_eq!(second, [Duration::from_millis(20)]);
    assert_eq!(seen.most_in_flight, 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_hedged_one_second_after_the_last_throttling() {
    for adaptive in ["on", "off"] {
        let scenario = hedging(20)
            .with("ADAPTIVE_CAPACITY", adaptive)
            .record(SLOW, Behavior::PredictAfter(3000))
            .attempts(SLOW + 1, &[Behavior::FailAfter(10, FaultKind::Overload)]);
        let running = after_answers(scenario, 200).await;
        let started = Instant::now();
        running.invoke(SLOW..SLOW + 5).await.unwrap();
        let seen = running.seen.lock().unwrap();
        let times = seen.times(SLOW);
        assert_eq!(times.len(), 2, "{adaptive}");
        let second = times[1] - started;
        let expected = Duration::from_millis(1010)..Duration::from_millis(1040);
        assert!(expected.contains(&second), "{adaptive}: {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_is_hedged_in_an_outage() {
    let running = after_answers(hedging(20), 200).await;
    running.take_down(Behavior::Fail(FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(SLOW..SLOW + 20).await.unwrap();
    }
    let before = calls(&running);
    running.take_down(Behavior::FailAfter(500, FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(SLOW..SLOW + 20).await.unwrap();
    }
    assert_eq!(calls(&running), before + 10);
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_slow_calls_is_hedged_only_from_the_saved_budget() {
    let mut scenario = hedging(128);
    for number in SLOW..SLOW + 60 {
        scenario = scenario.record(number, Behavior::PredictAfter(500));
    }
    let running = after_answers(scenario, 200).await;
    running.invoke(SLOW..SLOW + 60).await.unwrap();
    // One hedged call for each 20 of 260 calls.
    let calls = running.seen.lock().unwrap().calls.len();
    assert!((200 + 60 + 10..=200 + 60 + 13).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_hedged_call_fails_only_its_record() {
    let scenario = hedging(20).attempts(
        SLOW + 5,
        &[
            Behavior::PredictAfter(500),
            Behavior::Panic,
            Behavior::Panic,
            Behavior::Panic,
        ],
    );
    let running = after_answers(scenario, 200).await;
    let response = running.invoke(SLOW..SLOW + 10).await.unwrap();
    assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1005");
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
    // The records after it are remembered.
    let response = running.invoke(SLOW + 5..SLOW + 10).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.predicted[200..], (SLOW..SLOW + 10).collect::<Vec<_>>());
    assert_eq!(ran.seen.attempts(SLOW + 6), 1);
}

#[tokio::test(start_paused = true)]
async fn two_failed_calls_count_as_one_attempt() {
    let fails = Behavior::FailAfter(100, FaultKind::Suspect);
    for (max_attempts, expected) in [("1", 2), ("2", 4), ("3", 6)] {
        let scenario = hedging(20).with("MAX_ATTEMPTS", max_attempts).record(SLOW, fails);
        let running = after_answers(scenario, 400).await;
        let response = running.invoke([SLOW]).await.unwrap();
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1000");
        assert_eq!(calls(&running), expected, "MAX_ATTEMPTS={max_attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_hanging_calls_share_the_timeout_of_one_attempt() {
    let scenario = hedging(20).with("MAX_ATTEMPTS", "1").record(SLOW, Behavior::Hang);
    let running = after_answers(scenario.with("CALL_TIMEOUT_MS", "3000"), 200).await;
    let started = Instant::now();
    running.invoke([SLOW]).await.unwrap();
    assert_eq!((calls(&running), started.elapsed()), (2, Duration::from_secs(3)));
}

/// A batch, the behavior of the calls for each of its records before one is answered, and the deadline.
#[derive(Debug, Clone)]
struct TestCase {
    scripts: Vec<Vec<Behavior>>,
    capacity: usize,
    max_attempts: usize,
    adaptive: bool,
    deadline_ms: u64,
}

fn case() -> impl Strategy<Value = TestCase> {
    let scripts = vec(vec(behavior(8, 300, 4), 0..4), 0..25);
    let others = (1..10_usize, 1..4_usize, any::<bool>(), 1001..8000_u64);
    (scripts, others).prop_map(|(scripts, (capacity, max_attempts, adaptive, deadline_ms))| TestCase {
        scripts,
        capacity,
        max_attempts,
        adaptive,
        deadline_ms,
    })
}

impl TestCase {
    fn scenario(&self) -> Scenario {
        let mut scenario = hedging(self.capacity)
            .with("MAX_ATTEMPTS", &self.max_attempts.to_string())
            .with("ADAPTIVE_CAPACITY", if self.adaptive { "on" } else { "off" })
            .with("CALL_TIMEOUT_MS", "500");
        for (number, script) in self.scripts.iter().enumerate() {
            scenario = scenario.attempts(SLOW + number, script);
        }
        scenario
    }

    fn records(&self) -> std::ops::Range<usize> {
        SLOW..SLOW + self.scripts.len()
    }
}

/// Returns the numbers of the delivered records, sorted.
fn delivered(running: &Running) -> Vec<usize> {
    let (predictions, dead_letters) = running.lines();
    let number = |line: &Value| line["eventId"].as_str().unwrap()["shard:".len()..].parse().unwrap();
    let mut numbers: Vec<_> = predictions.iter().chain(&dead_letters).map(number).collect();
    numbers.sort_unstable();
    numbers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hedging_leaks_no_permit_stays_within_the_capacity_and_gives_each_record_one_outcome(case in case()) {
        on_a_paused_clock(async {
            let running = after_answers(case.scenario(), 120).await;
            let (count, time) = (case.scripts.len(), Duration::from_millis(case.deadline_ms));
            let started = Instant::now();
            let response = running.invoke_within(case.records(), time).await.unwrap();
            prop_assert!(started.elapsed() <= time, "{:?}", started.elapsed());
            prop_assert_eq!(running.seen.lock().unwrap().in_flight, 0);
            for number in case.records() {
                let calls = running.seen.lock().unwrap().attempts(number);
                // A refused record has a last attempt, and up to eight after others have recovered.
                prop_assert!(calls <= 2 * (case.max_attempts + 8), "{} calls for {}", calls, number);
            }
            // The records before the one that the response names were delivered once.
            let named = response["batchItemFailures"][0]["itemIdentifier"].as_str();
            let unfinished = named.map_or(SLOW + count, |number| number.parse().unwrap());
            let expected: Vec<_> = (0..120).chain(SLOW..unfinished).collect();
            prop_assert_eq!(delivered(&running), expected);
            // After a minute no pause is left and no call is spaced, and all permits are available again.
            advance(Duration::from_mins(1)).await;
            running.invoke(5000..5500).await.unwrap();
            let next = running.invoke(6000..6100).await.unwrap();
            prop_assert_eq!(next, json!({ "batchItemFailures": [] }));
            let most_in_flight = running.seen.lock().unwrap().most_in_flight;
            prop_assert_eq!(most_in_flight, case.capacity);
            Ok(())
        })?;
    }
}
