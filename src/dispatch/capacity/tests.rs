//! Tests of the order in which tasks get permits.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;

fn capacity(calls: usize) -> Capacity {
    Capacity::new(NonZeroUsize::new(calls).unwrap(), true)
}

fn count_spare(capacity: &Capacity) -> usize {
    let spare: Vec<_> = std::iter::from_fn(|| capacity.try_acquire_for_hedge()).collect();
    spare.len()
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_a_task_waits_for_is_not_spare() {
    let capacity = capacity(1);
    let permit = capacity.acquire().await;
    let waiting = tokio::spawn({
        let capacity = capacity.clone();
        async move { capacity.acquire().await }
    });
    sleep(Duration::from_millis(1)).await;
    drop(permit);
    assert!(
        capacity.try_acquire_for_hedge().is_none(),
        "the waiting task has not run yet"
    );
    drop(waiting.await.unwrap());
    assert_eq!(count_spare(&capacity), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_takes_no_permit() {
    let capacity = capacity(2);
    let permits = [capacity.acquire().await, capacity.acquire().await];
    for _ in 0..10 {
        assert!(timeout(Duration::from_millis(1), capacity.acquire()).await.is_err());
    }
    drop(permits);
    assert_eq!(count_spare(&capacity), 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_first_report_of_a_call_counts() {
    let capacity = capacity(20);
    // Nineteen timeouts would lower the limit.
    for _ in 0..18 {
        let mut permit = capacity.acquire().await;
        permit.report(Feedback::TimedOut);
        permit.report(Feedback::TimedOut);
    }
    assert!((capacity.limit() - 20.0).abs() < f64::EPSILON, "{}", capacity.limit());
}

#[tokio::test(start_paused = true)]
async fn an_answer_releases_the_held_tasks() {
    let capacity = capacity(20);
    let [mut throttled, mut answered] = [capacity.acquire().await, capacity.acquire().await];
    throttled.report(Feedback::Overload);
    drop(throttled);
    let mut repeated = capacity.acquire().await;
    repeated.report(Feedback::Overload);
    drop(repeated);
    let held = tokio::spawn({
        let capacity = capacity.clone();
        async move { drop(capacity.acquire().await) }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!held.is_finished());
    answered.report(Feedback::Answered);
    drop(answered);
    sleep(Duration::from_millis(1)).await;
    assert!(held.is_finished(), "the answer ends the hold early");
}
