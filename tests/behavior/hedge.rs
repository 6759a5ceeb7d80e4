//! When a second call is made, and what it may not do. `second_calls.rs` tells the stories.

use std::time::Duration;

use instream::endpoint::FaultKind;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::properties::does;
use crate::support::{Does, Running, Scenario, on_a_paused_clock};

/// The record that is slow.
const SLOW: usize = 1000;

fn hedging(capacity: usize) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0)
        .with("CAPACITY", &capacity.to_string())
        .with("HEDGE", "p95")
}

/// After so many answers of 10 ms.
async fn answered(scenario: Scenario, answers: usize) -> Running {
    let running = scenario.start();
    running.invoke(0..answers).await.unwrap();
    running.seen.lock().unwrap().most_in_flight = 0;
    running
}

fn calls(running: &Running) -> usize {
    running.seen.lock().unwrap().attempts(SLOW)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_answers_tell_what_is_slow() {
    for (answers, expected) in [(99, 1), (100, 2)] {
        let running = answered(hedging(20).record(SLOW, Does::PredictAfter(500)), answers).await;
        running.invoke([SLOW]).await.unwrap();
        assert_eq!(calls(&running), expected, "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_others_do_not_wait_for_a_slow_call() {
    let scenario = hedging(20).attempts(SLOW + 5, &[Does::PredictAfter(20_000)]);
    let running = answered(scenario, 200).await;
    let started = Instant::now();
    running.invoke(SLOW..SLOW + 10).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(30), "{:?}", started.elapsed());
    assert_eq!(running.seen.lock().unwrap().in_flight, 0, "the slow one is cancelled");
    let ran = running.ran(json!(null));
    assert_eq!(
        ran.predicted[200..],
        (SLOW..SLOW + 10).collect::<Vec<_>>(),
        "each once, in order"
    );
}

#[tokio::test(start_paused = true)]
async fn while_others_wait_for_a_permit_there_is_none() {
    let running = answered(hedging(2).record(SLOW, Does::PredictAfter(500)), 200).await;
    running.invoke(SLOW..SLOW + 100).await.unwrap();
    assert_eq!(calls(&running), 1, "the other permit is always somebody's");
    // When nobody waits any more, there is one.
    let running = answered(hedging(2).record(SLOW, Does::PredictAfter(500)), 200).await;
    running.invoke(SLOW..SLOW + 20).await.unwrap();
    assert_eq!(calls(&running), 2);
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_slow_when_something_is_throttled_has_its_second_one_a_second_later() {
    for adaptive in ["on", "off"] {
        let scenario = hedging(20)
            .with("ADAPTIVE_CAPACITY", adaptive)
            .record(SLOW, Does::PredictAfter(3000))
            .attempts(SLOW + 1, &[Does::FailAfter(10, FaultKind::Overload)]);
        let running = answered(scenario, 200).await;
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
async fn while_nothing_comes_back_there_is_none() {
    let running = answered(hedging(20), 200).await;
    running.is_down(Does::Fail(FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(SLOW..SLOW + 20).await.unwrap();
    }
    let before = calls(&running);
    running.is_down(Does::FailAfter(500, FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(SLOW..SLOW + 20).await.unwrap();
    }
    assert_eq!(calls(&running), before + 10);
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_spell_of_slow_calls_there_are_no_more_than_were_saved_up() {
    let mut scenario = hedging(128);
    for number in SLOW..SLOW + 60 {
        scenario = scenario.record(number, Does::PredictAfter(500));
    }
    let running = answered(scenario, 200).await;
    running.invoke(SLOW..SLOW + 60).await.unwrap();
    // One for twenty of 260.
    let calls = running.seen.lock().unwrap().calls.len();
    assert!((200 + 60 + 10..=200 + 60 + 13).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_second_call_fails_that_record_alone() {
    let scenario = hedging(20).attempts(SLOW + 5, &[Does::PredictAfter(500), Does::Panic]);
    let running = answered(scenario, 200).await;
    let answer = running.invoke(SLOW..SLOW + 10).await.unwrap();
    assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "1005");
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
    // What is behind it is remembered.
    let answer = running.invoke(SLOW + 5..SLOW + 10).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.predicted[200..], (SLOW..SLOW + 10).collect::<Vec<_>>());
    assert_eq!(ran.seen.attempts(SLOW + 6), 1);
}

#[tokio::test(start_paused = true)]
async fn two_calls_that_fail_are_one_attempt() {
    let fails = Does::FailAfter(100, FaultKind::Suspect);
    for (max_attempts, expected) in [("1", 2), ("2", 4), ("3", 6)] {
        let scenario = hedging(20).with("MAX_ATTEMPTS", max_attempts).record(SLOW, fails);
        let running = answered(scenario, 400).await;
        let answer = running.invoke([SLOW]).await.unwrap();
        assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "1000");
        assert_eq!(calls(&running), expected, "MAX_ATTEMPTS={max_attempts}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_calls_that_hang_have_the_time_of_one_attempt() {
    let scenario = hedging(20).with("MAX_ATTEMPTS", "1").record(SLOW, Does::Hang);
    let running = answered(scenario.with("CALL_TIMEOUT_MS", "3000"), 200).await;
    let started = Instant::now();
    running.invoke([SLOW]).await.unwrap();
    assert_eq!((calls(&running), started.elapsed()), (2, Duration::from_secs(3)));
}

/// A batch, what the endpoint does with each call for each of its records before it answers, and when the time is over.
#[derive(Debug, Clone)]
struct Story {
    scripts: Vec<Vec<Does>>,
    capacity: usize,
    max_attempts: usize,
    adaptive: bool,
    deadline_ms: u64,
}

fn story() -> impl Strategy<Value = Story> {
    let scripts = vec(vec(does(8, 300, 4), 0..4), 0..25);
    let others = (1..10_usize, 1..4_usize, any::<bool>(), 1001..8000_u64);
    (scripts, others).prop_map(|(scripts, (capacity, max_attempts, adaptive, deadline_ms))| Story {
        scripts,
        capacity,
        max_attempts,
        adaptive,
        deadline_ms,
    })
}

impl Story {
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

/// The records that were delivered, in their order.
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
    fn with_second_calls_no_permit_is_leaked_no_capacity_passed_and_each_record_has_one_outcome(story in story()) {
        on_a_paused_clock(async {
            let running = answered(story.scenario(), 120).await;
            let (count, time) = (story.scripts.len(), Duration::from_millis(story.deadline_ms));
            let started = Instant::now();
            let answer = running.invoke_within(story.records(), time).await.unwrap();
            prop_assert!(started.elapsed() <= time, "{:?}", started.elapsed());
            prop_assert_eq!(running.seen.lock().unwrap().in_flight, 0);
            for number in story.records() {
                let calls = running.seen.lock().unwrap().attempts(number);
                prop_assert!(calls <= 2 * story.max_attempts, "{} calls for {}", calls, number);
            }
            // What lies before the one that the answer names was delivered, once.
            let named = answer["batchItemFailures"][0]["itemIdentifier"].as_str();
            let unfinished = named.map_or(SLOW + count, |number| number.parse().unwrap());
            let expected: Vec<_> = (0..120).chain(SLOW..unfinished).collect();
            prop_assert_eq!(delivered(&running), expected);
            // Pauses and spaced calls are over, and all permits are there again.
            advance(Duration::from_mins(1)).await;
            running.invoke(5000..5500).await.unwrap();
            let next = running.invoke(6000..6100).await.unwrap();
            prop_assert_eq!(next, json!({ "batchItemFailures": [] }));
            let most_in_flight = running.seen.lock().unwrap().most_in_flight;
            prop_assert_eq!(most_in_flight, story.capacity);
            Ok(())
        })?;
    }
}
