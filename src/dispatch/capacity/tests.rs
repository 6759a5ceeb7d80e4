//! Tests of the order in which tasks get permits.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::*;

fn capacity(calls: usize) -> Capacity {
    Capacity::new(NonZeroUsize::new(calls).unwrap(), true)
}

fn count_free(capacity: &Capacity) -> usize {
    let free: Vec<_> = std::iter::from_fn(|| capacity.acquire().now_or_never()).collect();
    free.len()
}

/// Starts a task that holds a permit for a first call as soon as it gets one.
fn wait_for_first(capacity: &Capacity) -> JoinHandle<Permit> {
    let capacity = capacity.clone();
    tokio::spawn(async move { capacity.acquire().await })
}

/// Lets all tasks go on until they wait.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_gets_the_next_permit_before_a_first_call_that_waits_longer() {
    let capacity = capacity(2);
    let [next, last] = [capacity.acquire().await, capacity.acquire().await];
    let first = wait_for_first(&capacity);
    settle().await;
    let hedges: [_; 2] = std::array::from_fn(|_| {
        let capacity = capacity.clone();
        tokio::spawn(async move { capacity.acquire_for_hedge().await })
    });
    settle().await;
    drop((next, last));
    settle().await;
    assert!(hedges.iter().all(JoinHandle::is_finished));
    assert!(!first.is_finished());
    for hedge in hedges {
        drop(hedge.await.unwrap());
    }
    drop(first.await.unwrap());
    assert_eq!(count_free(&capacity), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_that_is_no_longer_needed_lets_a_first_call_go_on_at_once() {
    for calls in [1, 2] {
        let capacity = capacity(calls);
        let mut permits: Vec<_> = std::iter::from_fn(|| capacity.acquire().now_or_never()).collect();
        let mut hedge = Box::pin(capacity.acquire_for_hedge());
        assert!(hedge.as_mut().now_or_never().is_none());
        let first = wait_for_first(&capacity);
        settle().await;
        permits.pop();
        settle().await;
        assert!(!first.is_finished(), "the room is left for the hedged call");
        drop(hedge);
        settle().await;
        assert!(first.is_finished());
        drop((first.await.unwrap(), permits));
        assert_eq!(count_free(&capacity), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_overload_first_calls_get_the_permits_for_a_second() {
    let capacity = Capacity::new(NonZeroUsize::new(2).unwrap(), false);
    let [mut overloaded, other] = [capacity.acquire().await, capacity.acquire().await];
    let hedge = tokio::spawn({
        let capacity = capacity.clone();
        async move { capacity.acquire_for_hedge().await }
    });
    settle().await;
    let [first, second] = [wait_for_first(&capacity), wait_for_first(&capacity)];
    settle().await;
    overloaded.report(Feedback::Overload);
    drop((overloaded, other));
    settle().await;
    assert!(first.is_finished() && second.is_finished() && !hedge.is_finished());
    drop(first.await.unwrap());
    sleep(Duration::from_millis(997)).await;
    assert!(!hedge.is_finished());
    sleep(Duration::from_millis(3)).await;
    assert!(hedge.is_finished(), "no other permit has to be returned");
}

/// Waits for a permit, for a first or a hedged call, and holds it for a moment. Many waits are cancelled.
async fn wait_at_random(capacity: Capacity, is_adaptive: bool) {
    sleep(Duration::from_millis(fastrand::u64(..100))).await;
    let patience = if fastrand::bool() { 3 } else { 3_600_000 };
    let is_hedged = fastrand::bool();
    let permit = async {
        if is_hedged {
            capacity.acquire_for_hedge().await
        } else {
            capacity.acquire().await
        }
    };
    let permit = timeout(Duration::from_millis(patience), permit).await;
    // After a hold, hedged calls wait for an answer, which only a first call would bring.
    assert!(permit.is_ok() || patience == 3 || is_hedged && is_adaptive);
    if let Ok(mut permit) = permit {
        sleep(Duration::from_millis(fastrand::u64(..5))).await;
        let ends = [Feedback::Answered, Feedback::OtherFault, Feedback::Overload];
        permit.report(ends[fastrand::usize(..20).saturating_sub(17)]);
    }
}

#[tokio::test(start_paused = true)]
async fn no_task_is_forgotten_and_no_permit_is_lost() {
    for seed in 0..50 {
        fastrand::seed(seed);
        let calls = fastrand::usize(1..6);
        let is_adaptive = fastrand::bool();
        let capacity = Capacity::new(NonZeroUsize::new(calls).unwrap(), is_adaptive);
        let tasks: JoinSet<_> = (0..200)
            .map(|_| wait_at_random(capacity.clone(), is_adaptive))
            .collect();
        tasks.join_all().await;
        // No hold lasts as long.
        sleep(Duration::from_secs(20)).await;
        let expected = if is_adaptive { 1 } else { calls };
        assert!(count_free(&capacity) >= expected, "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_takes_no_permit() {
    let capacity = capacity(2);
    let permits = [capacity.acquire().await, capacity.acquire().await];
    for _ in 0..10 {
        assert!(timeout(Duration::from_millis(1), capacity.acquire()).await.is_err());
    }
    drop(permits);
    assert_eq!(count_free(&capacity), 2);
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
