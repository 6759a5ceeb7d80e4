//! Waits for credentials and keys, which are not the endpoint's fault.

use std::time::Duration;

use instream::outcome::FaultKind;
use tokio::time::{Instant, sleep};

use crate::support::{Running, Scenario};

/// Starts a batch of 100 records with one attempt each. From 15 ms on, when the first calls have been answered, no call
/// can be prepared for `time`.
async fn fail_preparations_in_mid_batch(scenario: Scenario, time: Duration, kind: FaultKind) -> Running {
    let running = scenario.with("CAPACITY", "16").with("MAX_ATTEMPTS", "1").start();
    let fail = async {
        sleep(Duration::from_millis(15)).await;
        running.seen.lock().unwrap().unprepared = Some((Instant::now() + time, kind));
    };
    let (response, ()) = tokio::join!(running.invoke(0..100), fail);
    response.unwrap();
    running
}

#[tokio::test(start_paused = true)]
async fn credentials_that_fail_in_mid_batch_cost_no_attempt_and_do_not_move_the_limit() {
    let outage = Duration::from_secs(20);
    let running = fail_preparations_in_mid_batch(Scenario::of(100), outage, FaultKind::Unreachable).await;
    assert!((running.limit() - 16.0).abs() < f64::EPSILON, "{}", running.limit());
    let metrics = running.metrics();
    assert!((metrics["Predicted"].sum() - 100.0).abs() < f64::EPSILON, "{metrics:?}");
    assert!(!metrics.contains_key("Retries"), "{metrics:?}");
    let seen = running.seen.lock().unwrap();
    assert_eq!(seen.calls.len(), 100);
    let until_end = running
        .elapsed()
        .checked_sub(outage)
        .expect("it lasts as long as the outage");
    assert!(until_end < Duration::from_millis(2200), "{until_end:?}");
    // With waits of a second on average, after the first few.
    assert!(
        (12..80).contains(&seen.failed_preparations),
        "{}",
        seen.failed_preparations
    );
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_the_reason_is_the_fault_of_the_credentials() {
    let scenario = Scenario::of(100).deadline(Some(Duration::from_secs(30)));
    let running = fail_preparations_in_mid_batch(scenario, Duration::from_hours(1), FaultKind::Unreachable).await;
    assert_eq!(
        running.elapsed(),
        Duration::from_secs(29),
        "the calls end DEADLINE_RESERVE_MS earlier"
    );
    let metrics = running.metrics();
    assert!(metrics.contains_key("FailedUnreachable"), "{metrics:?}");
    assert!(!metrics.contains_key("FailedOutOfTime"), "{metrics:?}");
    // One call had been prepared and waited for a permit.
    assert_eq!(running.seen.lock().unwrap().calls.len(), 33);
    assert!((running.limit() - 16.0).abs() < f64::EPSILON, "{}", running.limit());
}

#[tokio::test(start_paused = true)]
async fn missing_credentials_are_not_retried() {
    let outage = Duration::from_hours(1);
    let running = fail_preparations_in_mid_batch(Scenario::of(100), outage, FaultKind::Misconfigured).await;
    assert!(
        running.elapsed() <= Duration::from_millis(30),
        "{:?}",
        running.elapsed()
    );
    assert_eq!(running.seen.lock().unwrap().failed_preparations, 1);
    assert!(running.metrics().contains_key("FailedMisconfigured"));
}
