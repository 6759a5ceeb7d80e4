//! What moves the limit of calls in flight, how fast, and what does not. `throttled.rs` tells the stories.

use std::time::Duration;

use instream::endpoint::FaultKind;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{Does, Running, Scenario};

const NOTHING: [FaultKind; 2] = [FaultKind::Overload, FaultKind::Unreachable];

fn process(capacity: usize) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0).with("CAPACITY", &capacity.to_string())
}

#[track_caller]
fn assert_limit(running: &Running, expected: f64, what: &str) {
    let limit = running.limit();
    assert!((limit - expected).abs() < 1e-9, "{what}: {limit} is not {expected}");
}

/// The endpoint takes everything again, and nothing of what was in between has taken a permit with it.
async fn assert_all_permits_are_there(running: &Running, capacity: usize) {
    running.is_up();
    running.takes(None);
    running.deliver_again(10_000..12_000, 10).await;
    running.seen.lock().unwrap().most_in_flight = 0;
    let answer = running.invoke(20_000..20_200).await.unwrap();
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
    assert_eq!(running.seen.lock().unwrap().most_in_flight, capacity);
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_endpoint_takes_more_it_rises_slowly_to_the_capacity_and_never_beyond() {
    let running = process(64).start();
    running.takes(Some(8));
    running.deliver_again(0..2000, 10).await;
    running.takes(None);
    let (_, limits) = running.watch(running.invoke(2000..6000)).await;
    assert!(limits[0] < 10.0, "{}", limits[0]);
    assert!(limits.is_sorted() && limits.iter().all(|limit| *limit <= 64.0));
    assert_limit(&running, 64.0, "in the end");
    // By a 25th in 10 ms, and by one from 25 on.
    let steps = limits.windows(2).map(|pair| pair[1] / pair[0]);
    assert!(steps.fold(1.0, f64::max) < 1.041);
    let far = limits.iter().position(|limit| *limit > 32.0).unwrap();
    let full = limits.iter().position(|limit| *limit > 63.0).unwrap();
    assert!((300..=330).contains(&(full - far)), "{far}, {full}");
}

#[tokio::test(start_paused = true)]
async fn a_seed_brings_the_same_run_each_time() {
    let run = async || {
        let running = process(64).start();
        let started = Instant::now();
        running.takes(Some(8));
        let (_, limits) = running.watch(running.deliver_again(0..500, 10)).await;
        running.is_down(Does::Fail(FaultKind::Overload));
        running.deliver_again(500..600, 10).await;
        let seen = std::mem::take(&mut *running.seen.lock().unwrap());
        let times: Vec<_> = seen.started.iter().map(|at| *at - started).collect();
        (limits, seen.calls, times)
    };
    let [first, second] = [run().await, run().await];
    assert!(first.1.len() > 500);
    assert_eq!(first, second);
}

/// Batches of so many records, of which the first one hangs. Returns the limit after each.
async fn with_one_that_hangs(records: usize, max_attempts: &str) -> Vec<f64> {
    let mut scenario = process(20).with("MAX_ATTEMPTS", max_attempts);
    for batch in 0..30 {
        scenario = scenario.record(batch * records, Does::Hang);
    }
    let running = scenario.start();
    let mut limits = Vec::new();
    for batch in 0..30 {
        let start = batch * records;
        let answer = running.invoke(start..start + records).await.unwrap();
        assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], start.to_string());
        limits.push(running.limit());
    }
    limits
}

#[tokio::test(start_paused = true)]
async fn one_record_that_hangs_in_each_batch_lowers_nothing() {
    for (records, max_attempts) in [(4, "1"), (20, "1"), (12, "3"), (100, "3")] {
        let limits = with_one_that_hangs(records, max_attempts).await;
        let is_kept = limits.iter().all(|limit| (limit - 20.0).abs() < 1e-9);
        assert!(is_kept, "one of {records}, {max_attempts} attempts: {limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_record_that_hangs_and_comes_again_and_again_holds_nothing_up_when_it_is_gone() {
    // What is called alone has nothing but timeouts, as if the endpoint were down.
    let running = process(20).record(0, Does::Hang).start();
    running.deliver_again(0..100, 20).await;
    let (answer, limits) = running.watch(running.invoke(1000..1600)).await;
    assert_eq!(answer.unwrap(), json!({ "batchItemFailures": [] }));
    assert_limit(&running, 20.0, "600 answers later");
    assert!(limits.len() < 3000, "{} ms; a pause comes first", limits.len());
}

#[tokio::test(start_paused = true)]
async fn a_few_calls_that_hang_say_nothing_and_many_lower_it_until_answers_come() {
    for (hanging, is_lowered) in [(1, false), (18, false), (100, true)] {
        let running = process(20).with("MAX_ATTEMPTS", "1").start();
        running.is_down(Does::Hang);
        running.invoke(0..hanging).await.unwrap();
        let limit = running.limit();
        assert_eq!(limit < 15.0, is_lowered, "{hanging} hang: {limit}");
        assert!(is_lowered || limit > 19.9, "{hanging} hang: {limit}");
        running.is_up();
        running.invoke(1000..1600).await.unwrap();
        assert_limit(&running, 20.0, "and then 600 are answered");
    }
}

#[tokio::test(start_paused = true)]
async fn where_more_than_half_of_the_calls_hang_it_goes_down_and_never_below_one() {
    let mut scenario = process(20).with("MAX_ATTEMPTS", "1");
    for number in (0..5000).filter(|number| number % 10 < 6) {
        scenario = scenario.record(number, Does::Hang);
    }
    let running = scenario.start();
    for batch in 0..50 {
        running.invoke(batch * 100..batch * 100 + 100).await.unwrap();
        assert!(running.limit() >= 1.0, "{}", running.limit());
    }
    assert!(running.limit() <= 3.0, "{}", running.limit());
    assert_all_permits_are_there(&running, 20).await;
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_one_call_at_a_time_asks_up_to_two_seconds_apart() {
    for kind in NOTHING {
        let running = process(64).start();
        running.invoke(0..1000).await.unwrap();
        running.is_down(Does::FailAfter(5, kind));
        // The first wave, and then pauses that double.
        for _ in 0..10 {
            running.invoke(1000..1100).await.unwrap();
        }
        let from = running.seen.lock().unwrap().calls.len();
        assert!(from <= 1000 + 64 + 20, "{from}");
        running.seen.lock().unwrap().most_in_flight = 0;
        for _ in 0..100 {
            let answer = running.invoke(1000..1100).await.unwrap();
            assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "1000");
            assert_limit(&running, 1.0, "in it");
        }
        let seen = std::mem::take(&mut *running.seen.lock().unwrap());
        assert_eq!(seen.most_in_flight, 1);
        assert_eq!(
            seen.calls.len() - from,
            100,
            "a call a delivery, though MAX_ATTEMPTS is three"
        );
        for pair in seen.started[from..].windows(2) {
            let pause = (pair[1] - pair[0]).as_millis();
            assert!((1000..=2010).contains(&pause), "{pause} ms");
        }
        assert!(running.lines().1.is_empty(), "nothing is dead-lettered");
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_it_grows_by_one_with_each_answer() {
    for kind in NOTHING {
        let mut scenario = process(64);
        for number in 1000..4000 {
            // A model of 180 ms, whose answers do not come at the same moment.
            let latency = 180 + u64::try_from(number).unwrap() * 7919 % 37;
            scenario = scenario.record(number, Does::PredictAfter(latency));
        }
        let running = scenario.start();
        running.invoke(0..1000).await.unwrap();
        running.is_down(Does::FailAfter(5, kind));
        for _ in 0..10 {
            running.invoke(1000..1100).await.unwrap();
        }
        running.is_up();
        let (answer, limits) = running.watch(running.invoke(1000..4000)).await;
        assert_eq!(answer.unwrap(), json!({ "batchItemFailures": [] }));
        let first = limits.iter().position(|limit| *limit > 1.0).unwrap();
        let half = limits.iter().position(|limit| *limit >= 32.0).unwrap();
        assert!(half - first < 1500, "{kind:?}: {} ms, eight round trips", half - first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_does_not_tell_that_the_endpoint_is_back() {
    let running = process(20).start();
    running.is_down(Does::Fail(FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(0..100).await.unwrap();
    }
    running.is_down(Does::Panic);
    running.seen.lock().unwrap().most_in_flight = 0;
    running.invoke(0..30).await.unwrap();
    assert_limit(&running, 1.0, "nothing was answered");
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 1);
    assert_all_permits_are_there(&running, 20).await;
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_lost_by_an_invocation_that_is_dropped_or_cut() {
    let down = [
        Does::Hang,
        Does::PredictAfter(60_000),
        Does::FailAfter(700, FaultKind::Overload),
        Does::Fail(NOTHING[1]),
    ];
    for does in down {
        let running = process(20).start();
        running.is_down(does);
        for round in 1..20 {
            let dropped = timeout(Duration::from_millis(round * 97), running.invoke(0..100)).await;
            assert!(dropped.is_err() || running.limit() <= 1.0, "{does:?}");
            let (started, time) = (Instant::now(), Duration::from_millis(1000 + round * 61));
            running.invoke_within(0..100, time).await.unwrap();
            assert!(started.elapsed() <= time, "{does:?}");
            assert_eq!(running.seen.lock().unwrap().in_flight, 0, "{does:?}");
        }
        assert_all_permits_are_there(&running, 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn invocations_side_by_side_in_an_outage_ask_together_as_one() {
    let running = process(20).start();
    running.is_down(Does::Fail(FaultKind::Unreachable));
    running.invoke(0..100).await.unwrap();
    running.seen.lock().unwrap().most_in_flight = 0;
    let calls = running.seen.lock().unwrap().calls.len();
    let started = Instant::now();
    let deliver = async |start: usize| {
        for _ in 0..20 {
            running.invoke(start..start + 100).await.unwrap();
        }
    };
    tokio::join!(deliver(1000), deliver(2000), deliver(3000));
    let seen = running.seen.lock().unwrap();
    assert_eq!(seen.most_in_flight, 1);
    let calls = u32::try_from(seen.calls.len() - calls).unwrap();
    assert!(calls <= 66, "{calls}");
    assert!(
        started.elapsed() >= Duration::from_millis(500) * calls,
        "{:?}",
        started.elapsed()
    );
}
