//! Details of the adaptive limit of calls in flight: when it moves, how fast, and when it stays. `throttled.rs` has the
//! main scenarios.

use std::time::Duration;

use instream::outcome::FaultKind;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{Behavior, Running, Scenario};

const OUTAGE_FAULTS: [FaultKind; 2] = [FaultKind::Overload, FaultKind::Unreachable];

fn process(capacity: usize) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0).with("CAPACITY", &capacity.to_string())
}

#[track_caller]
fn assert_limit(running: &Running, expected: f64, what: &str) {
    let limit = running.limit();
    assert!((limit - expected).abs() < 1e-9, "{what}: {limit} is not {expected}");
}

/// Ends all throttling and asserts that every permit is available, so that none was lost before.
async fn assert_all_permits_are_available(running: &Running, capacity: usize) {
    running.bring_up();
    running.throttle_above(None);
    running.deliver_repeatedly(10_000..12_000, 10).await;
    running.seen.lock().unwrap().most_in_flight = 0;
    let response = running.invoke(20_000..20_200).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    assert_eq!(running.seen.lock().unwrap().most_in_flight, capacity);
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_rises_slowly_to_the_capacity_when_the_endpoint_accepts_more_calls() {
    let running = process(64).start();
    running.throttle_above(Some(8));
    running.deliver_repeatedly(0..2000, 10).await;
    running.throttle_above(None);
    let (_, limits) = running.sample_limits(running.invoke(2000..6000)).await;
    assert!(limits[0] < 10.0, "{}", limits[0]);
    assert!(limits.is_sorted() && limits.iter().all(|limit| *limit <= 64.0));
    assert_limit(&running, 64.0, "in the end");
    // A round trip takes 10 ms. In each, the limit grows by a fifth at most.
    let rounds: Vec<_> = limits.iter().step_by(10).collect();
    let steps = rounds.windows(2).map(|pair| pair[1] / pair[0]);
    let largest = steps.fold(1.0, f64::max);
    assert!(largest < 1.2, "{largest}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_reproduces_the_same_run() {
    let run = async || {
        let running = process(64).start();
        let started = Instant::now();
        running.throttle_above(Some(8));
        let (_, limits) = running.sample_limits(running.deliver_repeatedly(0..500, 10)).await;
        running.take_down(Behavior::Fail(FaultKind::Overload));
        running.deliver_repeatedly(500..600, 10).await;
        let seen = std::mem::take(&mut *running.seen.lock().unwrap());
        let times: Vec<_> = seen.started.iter().map(|at| *at - started).collect();
        (limits, seen.calls, times)
    };
    let [first, second] = [run().await, run().await];
    assert!(first.1.len() > 500);
    assert_eq!(first, second);
}

/// Delivers 30 batches of this many records. The first record of each batch hangs. Returns the limit after each batch.
async fn limits_with_one_hanging_record(records: usize, max_attempts: &str) -> Vec<f64> {
    let mut scenario = process(20).with("MAX_ATTEMPTS", max_attempts);
    for batch in 0..30 {
        scenario = scenario.record(batch * records, Behavior::Hang);
    }
    let running = scenario.start();
    let mut limits = Vec::new();
    for batch in 0..30 {
        let start = batch * records;
        let response = running.invoke(start..start + records).await.unwrap();
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], start.to_string());
        limits.push(running.limit());
    }
    limits
}

#[tokio::test(start_paused = true)]
async fn one_hanging_record_in_each_batch_does_not_lower_the_limit() {
    for (records, max_attempts) in [(4, "1"), (20, "1"), (12, "3"), (100, "3")] {
        let limits = limits_with_one_hanging_record(records, max_attempts).await;
        let is_unchanged = limits.iter().all(|limit| (limit - 20.0).abs() < 1e-9);
        assert!(is_unchanged, "one of {records}, {max_attempts} attempts: {limits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeatedly_redelivered_hanging_record_delays_nothing_once_it_is_gone() {
    // Once the record is called alone, all calls time out, as if the endpoint were down.
    let running = process(20).record(0, Behavior::Hang).start();
    running.deliver_repeatedly(0..100, 20).await;
    let (response, limits) = running.sample_limits(running.invoke(1000..1600)).await;
    assert_eq!(response.unwrap(), json!({ "batchItemFailures": [] }));
    assert_limit(&running, 20.0, "600 answers later");
    assert!(limits.len() < 3000, "{} ms; a pause came first", limits.len());
}

#[tokio::test(start_paused = true)]
async fn a_few_hanging_calls_do_not_lower_the_limit_and_many_lower_it_until_calls_are_answered() {
    for (hanging, is_lowered) in [(1, false), (18, false), (100, true)] {
        let running = process(20).with("MAX_ATTEMPTS", "1").start();
        running.take_down(Behavior::Hang);
        running.invoke(0..hanging).await.unwrap();
        let limit = running.limit();
        assert_eq!(limit < 17.0, is_lowered, "{hanging} hang: {limit}");
        assert!(is_lowered || limit > 19.9, "{hanging} hang: {limit}");
        running.bring_up();
        running.invoke(1000..1600).await.unwrap();
        assert_limit(&running, 20.0, "and then 600 are answered");
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_falls_but_never_below_one_when_more_than_half_of_the_calls_hang() {
    let mut scenario = process(20).with("MAX_ATTEMPTS", "1");
    for number in (0..5000).filter(|number| number % 10 < 6) {
        scenario = scenario.record(number, Behavior::Hang);
    }
    let running = scenario.start();
    for batch in 0..50 {
        running.invoke(batch * 100..batch * 100 + 100).await.unwrap();
        assert!(running.limit() >= 1.0, "{}", running.limit());
    }
    assert!(running.limit() <= 3.0, "{}", running.limit());
    assert_all_permits_are_available(&running, 20).await;
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_single_probes_are_sent_up_to_two_seconds_apart() {
    for kind in OUTAGE_FAULTS {
        let running = process(64).start();
        running.invoke(0..1000).await.unwrap();
        running.take_down(Behavior::FailAfter(5, kind));
        // These deliveries contain the first calls, the saved retries and the pauses that double.
        for _ in 0..40 {
            running.invoke(1000..1100).await.unwrap();
        }
        let from = running.seen.lock().unwrap().calls.len();
        assert!(from <= 1000 + 64 + 64 + 40, "{from}");
        running.seen.lock().unwrap().most_in_flight = 0;
        for _ in 0..100 {
            let response = running.invoke(1000..1100).await.unwrap();
            assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1000");
            assert_limit(&running, 1.0, "in the outage");
        }
        let seen = std::mem::take(&mut *running.seen.lock().unwrap());
        assert_eq!(seen.most_in_flight, 1);
        assert_eq!(
            seen.calls.len() - from,
            100,
            "one call for each delivery, though MAX_ATTEMPTS is three"
        );
        for pair in seen.started[from..].windows(2) {
            let pause = (pair[1] - pair[0]).as_millis();
            assert!((1000..=2010).contains(&pause), "{pause} ms");
        }
        assert!(running.lines().1.is_empty(), "nothing is dead-lettered");
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_limit_grows_by_one_with_each_answer() {
    for kind in OUTAGE_FAULTS {
        let mut scenario = process(64);
        for number in 1000..4000 {
            // The model takes about 180 ms. Its answers do not arrive at the same moment.
            let latency = 180 + u64::try_from(number).unwrap() * 7919 % 37;
            scenario = scenario.record(number, Behavior::PredictAfter(latency));
        }
        let running = scenario.start();
        running.invoke(0..1000).await.unwrap();
        running.take_down(Behavior::FailAfter(5, kind));
        for _ in 0..10 {
            running.invoke(1000..1100).await.unwrap();
        }
        running.bring_up();
        let (response, limits) = running.sample_limits(running.invoke(1000..4000)).await;
        assert_eq!(response.unwrap(), json!({ "batchItemFailures": [] }));
        let first = limits.iter().position(|limit| *limit > 1.0).unwrap();
        let half = limits.iter().position(|limit| *limit >= 32.0).unwrap();
        assert!(half - first < 1500, "{kind:?}: {} ms, eight round trips", half - first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_not_evidence_that_the_endpoint_is_back() {
    let running = process(20).start();
    running.take_down(Behavior::Fail(FaultKind::Unreachable));
    for _ in 0..10 {
        running.invoke(0..100).await.unwrap();
    }
    running.take_down(Behavior::Panic);
    running.seen.lock().unwrap().most_in_flight = 0;
    running.invoke(0..30).await.unwrap();
    assert_limit(&running, 1.0, "nothing was answered");
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 1);
    assert_all_permits_are_available(&running, 20).await;
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_is_dropped_or_cancelled_returns_its_permits() {
    let down = [
        Behavior::Hang,
        Behavior::PredictAfter(60_000),
        Behavior::FailAfter(700, FaultKind::Overload),
        Behavior::Fail(OUTAGE_FAULTS[1]),
    ];
    for behavior in down {
        let running = process(20).start();
        running.take_down(behavior);
        for round in 1..20 {
            let dropped = timeout(Duration::from_millis(round * 97), running.invoke(0..100)).await;
            assert!(dropped.is_err() || running.limit() <= 1.0, "{behavior:?}");
            let (started, time) = (Instant::now(), Duration::from_millis(1000 + round * 61));
            running.invoke_within(0..100, time).await.unwrap();
            assert!(started.elapsed() <= time, "{behavior:?}");
            assert_eq!(running.seen.lock().unwrap().in_flight, 0, "{behavior:?}");
        }
        assert_all_permits_are_available(&running, 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_invocations_share_one_probe_at_a_time_in_an_outage() {
    let running = process(20).start();
    running.take_down(Behavior::Fail(FaultKind::Unreachable));
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
    // A call for each delivery, and the saved retries.
    assert!(calls <= 60 + 20, "{calls}");
    assert!(
        started.elapsed() >= Duration::from_millis(500) * calls,
        "{:?}",
        started.elapsed()
    );
}
