//! The adaptive limit of calls in flight when the endpoint throttles or fails.

use std::time::Duration;

use instream::outcome::FaultKind;
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::support::{Behavior, Running, Scenario};
use crate::transport::NOT_READY;

fn finished() -> serde_json::Value {
    json!({ "batchItemFailures": [] })
}

/// Returns a scenario with this capacity.
fn process(capacity: usize) -> Scenario {
    fastrand::seed(7);
    Scenario::of(0).with("CAPACITY", &capacity.to_string())
}

/// Returns the numbers of calls and of throttled calls since the last time, and resets both.
fn take_counts(running: &Running) -> (usize, usize) {
    let mut seen = running.seen.lock().unwrap();
    (
        std::mem::take(&mut seen.calls).len(),
        std::mem::take(&mut seen.throttled),
    )
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_throttles() {
    for adaptive in ["on", "off"] {
        let running = process(128).with("ADAPTIVE_CAPACITY", adaptive).start();
        running.throttle_above(Some(32));
        let response = running.deliver_repeatedly(0..1000, 100).await;
        assert_eq!(response, finished());
        take_counts(&running);
        let response = running.deliver_repeatedly(1000..2500, 1000).await;
        assert_eq!(response, finished(), "nothing is lost");
        let (calls, throttled) = take_counts(&running);
        let are_few = throttled * 100 < calls * 3;
        assert_eq!(are_few, adaptive == "on", "{adaptive}: {throttled} of {calls}");
        let limit = running.limit();
        if adaptive == "on" {
            assert!((25.0..36.0).contains(&limit), "{limit}");
        } else {
            assert!((limit - 128.0).abs() < f64::EPSILON, "{limit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_persists_across_invocations_and_rises_back_to_the_capacity() {
    let running = process(20).start();
    running.throttle_above(Some(5));
    running.deliver_repeatedly(0..500, 100).await;
    let low = running.limit();
    assert!(low < 8.0, "{low}");
    running.seen.lock().unwrap().most_in_flight = 0;
    running.invoke(500..600).await.unwrap();
    assert!(
        running.seen.lock().unwrap().most_in_flight <= 8,
        "the next invocation starts with the low limit"
    );
    running.throttle_above(None);
    running.invoke(1000..4000).await.unwrap();
    assert!((running.limit() - 20.0).abs() < f64::EPSILON, "{}", running.limit());
    assert_eq!(
        running.seen.lock().unwrap().most_in_flight,
        20,
        "it never exceeds the capacity"
    );
}

#[tokio::test(start_paused = true)]
async fn concurrent_invocations_share_the_limit() {
    let running = process(64).start();
    running.throttle_above(Some(8));
    running.deliver_repeatedly(0..1000, 100).await;
    running.seen.lock().unwrap().most_in_flight = 0;
    let (first, second) = tokio::join!(
        running.deliver_repeatedly(1000..1300, 50),
        running.deliver_repeatedly(2000..2300, 50)
    );
    assert_eq!((first, second), (finished(), finished()));
    let most = running.seen.lock().unwrap().most_in_flight;
    assert!((8..=12).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn occasional_faults_other_than_overload_do_not_lower_the_limit() {
    let faults = [
        Behavior::Fail(FaultKind::Refused),
        Behavior::Fail(FaultKind::Suspect),
        Behavior::Fail(FaultKind::Misconfigured),
        Behavior::Fail(FaultKind::Unreachable),
        Behavior::Panic,
        Behavior::Hang,
    ];
    for behavior in faults.into_iter().chain(NOT_READY) {
        let mut scenario = process(20).with("CALL_TIMEOUT_MS", "300");
        // One record in ten has this fault.
        for number in (5..400).step_by(10) {
            scenario = scenario.attempts(number, &[behavior]);
        }
        let running = scenario.start();
        for start in (0..400).step_by(100) {
            running.invoke(start..start + 100).await.unwrap();
        }
        assert!(
            (running.limit() - 20.0).abs() < f64::EPSILON,
            "{behavior:?}: {}",
            running.limit()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_timeouts_lower_the_limit() {
    let mut scenario = process(20).with("CALL_TIMEOUT_MS", "300");
    for number in 0..600 {
        let behavior = if number % 2 == 0 {
            Behavior::Hang
        } else {
            Behavior::PredictAfter(250)
        };
        scenario = scenario.attempts(number, &[behavior]);
    }
    let running = scenario.start();
    running.invoke(0..600).await.unwrap();
    assert!(running.limit() < 15.0, "{}", running.limit());
}

#[tokio::test(start_paused = true)]
async fn throttling_under_light_load_hardly_lowers_the_limit() {
    // The throttled call is alone, at the end of a batch, or followed by hanging calls that the deadline cancels.
    let running = process(128).attempts(0, &[OVERLOAD]).start();
    running.invoke([0]).await.unwrap();
    assert!(running.limit() > 127.0, "{}", running.limit());
    let running = process(128).attempts(1, &[OVERLOAD]).start();
    running.invoke([0, 1]).await.unwrap();
    assert!(running.limit() > 115.0, "{}", running.limit());
    let mut scenario = process(100).attempts(0, &[Behavior::FailAfter(50, FaultKind::Overload)]);
    for number in 1..100 {
        scenario = scenario.attempts(number, &[Behavior::Hang]);
    }
    let running = scenario.start();
    running.invoke_within(0..300, Duration::from_secs(3)).await.unwrap();
    running.invoke(0..300).await.unwrap();
    assert!(running.limit() > 80.0, "{}", running.limit());
}

const OVERLOAD: Behavior = Behavior::Fail(FaultKind::Overload);

#[tokio::test(start_paused = true)]
async fn hanging_records_are_not_an_outage() {
    let mut scenario = process(20).with("CALL_TIMEOUT_MS", "300").with("MAX_ATTEMPTS", "2");
    for number in 100..110 {
        scenario = scenario.record(number, Behavior::Hang);
    }
    let running = scenario.start();
    // The other records are remembered. Only the hanging ones are called in each delivery.
    for _ in 0..5 {
        running.invoke(0..500).await.unwrap();
    }
    let attempts: Vec<_> = (100..110)
        .map(|number| running.seen.lock().unwrap().attempts(number))
        .collect();
    assert!(attempts.iter().all(|attempts| *attempts >= 5), "{attempts:?}");
    assert!(
        running.elapsed() < Duration::from_secs(5),
        "they hang concurrently: {:?}",
        running.elapsed()
    );
    assert!(running.limit() > 10.0, "{}", running.limit());
}

#[tokio::test(start_paused = true)]
async fn every_call_fails() {
    for kind in [FaultKind::Overload, FaultKind::Unreachable] {
        for capacity in [1, 20, 64] {
            let running = process(capacity).start();
            assert_eq!(running.invoke(0..200).await.unwrap(), finished());
            let before = running.limit();
            running.take_down(Behavior::Fail(kind));
            take_counts(&running);
            let (started, mut deliveries) = (Instant::now(), 0);
            while started.elapsed() < Duration::from_mins(1) {
                let response = running.invoke(1000..1100).await.unwrap();
                assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1000");
                deliveries += 1;
            }
            let (made, _) = take_counts(&running);
            assert!(
                made <= 3 * capacity + 2 * deliveries,
                "{kind:?}, {capacity}: {made} in {deliveries}"
            );
            assert!(
                deliveries < 150,
                "it waits between calls, though the batch is redelivered at once: {deliveries}"
            );
            assert!(running.limit() <= 1.0);
            let outage_end = Instant::now();
            running.bring_up();
            assert_eq!(running.invoke(1000..1010).await.unwrap(), finished());
            let recovered_after = outage_end.elapsed();
            assert!(recovered_after < Duration::from_secs(3), "{recovered_after:?}");
            assert_eq!(running.invoke(2000..3800).await.unwrap(), finished());
            assert!(
                running.limit() > 0.9 * before,
                "{kind:?}, {capacity}: {}",
                running.limit()
            );
            assert!(running.lines().1.is_empty(), "nothing is dead-lettered");
        }
    }
}

/// Starts a handler whose endpoint accepts so few calls that even one at a time is too much.
async fn below_one() -> Running {
    let mut scenario = process(4).with("RETRY_BASE_MS", "1").with("RETRY_CAP_MS", "1");
    // Two of three calls are throttled, however few there are.
    for number in 0..400 {
        scenario = scenario.attempts(number, &[Behavior::Fail(FaultKind::Overload); 2]);
    }
    let running = scenario.start();
    running.deliver_repeatedly(0..400, 400).await;
    assert!(running.limit() < 1.0, "{}", running.limit());
    running
}

#[tokio::test(start_paused = true)]
async fn below_a_limit_of_one_calls_are_spaced() {
    let running = below_one().await;
    running.seen.lock().unwrap().started.clear();
    running.seen.lock().unwrap().most_in_flight = 0;
    let limit = running.limit();
    running.invoke(1000..1003).await.unwrap();
    let seen = running.seen.lock().unwrap();
    assert_eq!(seen.most_in_flight, 1);
    // A round trip is 10 ms.
    let gap = Duration::from_millis(10).div_f64(limit);
    let apart = seen.started[1] - seen.started[0];
    assert!(
        apart > gap.mul_f64(0.8) && apart < gap.mul_f64(1.2),
        "{apart:?}, not {gap:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_waits_for_a_spaced_call_responds_in_time_and_loses_no_permit() {
    let running = below_one().await;
    let short = Duration::from_millis(1100);
    for _ in 0..5 {
        let started = Instant::now();
        running.invoke_within(1000..1500, short).await.unwrap();
        assert!(started.elapsed() <= short);
        assert_eq!(running.seen.lock().unwrap().in_flight, 0);
        let dropped = timeout(Duration::from_millis(3), running.invoke(1000..1500)).await;
        assert!(dropped.is_err());
        // A call that had started is cancelled when its task runs.
        yield_now().await;
        assert_eq!(running.seen.lock().unwrap().in_flight, 0);
    }
    assert_eq!(running.invoke(2000..2010).await.unwrap(), finished());
}
