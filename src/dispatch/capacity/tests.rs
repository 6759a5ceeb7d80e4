//! Who gets a permit.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;

fn capacity(calls: usize) -> Capacity {
    Capacity::new(NonZeroUsize::new(calls).unwrap(), true)
}

fn spare(capacity: &Capacity) -> usize {
    let spare: Vec<_> = std::iter::from_fn(|| capacity.spare()).collect();
    spare.len()
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_somebody_waits_for_is_not_spare() {
    let capacity = capacity(1);
    let permit = capacity.acquire().await;
    let waits = tokio::spawn({
        let capacity = capacity.clone();
        async move { capacity.acquire().await }
    });
    sleep(Duration::from_millis(1)).await;
    drop(permit);
    assert!(capacity.spare().is_none(), "who waits has not come to it yet");
    drop(waits.await.unwrap());
    assert_eq!(spare(&capacity), 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_takes_no_permit_along() {
    let capacity = capacity(2);
    let permits = [capacity.acquire().await, capacity.acquire().await];
    for _ in 0..10 {
        assert!(timeout(Duration::from_millis(1), capacity.acquire()).await.is_err());
    }
    drop(permits);
    assert_eq!(spare(&capacity), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_tells_once_how_it_ended() {
    let capacity = capacity(20);
    let [mut permit, _other] = [capacity.acquire().await, capacity.acquire().await];
    permit.ended(Ended::Overload);
    permit.ended(Ended::Overload);
    drop(permit);
    assert!((capacity.limit() - 18.0).abs() < f64::EPSILON, "{}", capacity.limit());
}

#[tokio::test(start_paused = true)]
async fn an_answer_lets_those_go_on_who_were_held() {
    let capacity = capacity(20);
    let [mut throttled, mut answered] = [capacity.acquire().await, capacity.acquire().await];
    throttled.ended(Ended::Overload);
    drop(throttled);
    let held = tokio::spawn({
        let capacity = capacity.clone();
        async move { drop(capacity.acquire().await) }
    });
    sleep(Duration::from_millis(500)).await;
    assert!(!held.is_finished());
    answered.ended(Ended::Answered);
    drop(answered);
    sleep(Duration::from_millis(1)).await;
    assert!(held.is_finished(), "and not only when the hold is over");
}
