//! Retries within an invocation: for which faults, after which wait, and how many.

use std::time::Duration;

use instream::outcome::FaultKind;
use tokio::time::Instant;

use crate::support::{Behavior, Scenario};

const TRANSIENT: [FaultKind; 3] = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];

#[tokio::test(start_paused = true)]
async fn a_transient_fault() {
    for kind in TRANSIENT {
        let passing = [Behavior::Fail(kind), Behavior::Fail(kind)];
        let ran = Scenario::of(5).attempts(2, &passing).run().await;
        ran.assert_finished();
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4], "{kind:?}");
        assert_eq!(ran.seen.attempts(2), 3);
        assert_eq!(ran.seen.calls.len(), 7, "only the failed record is retried");

        let ran = Scenario::of(5).record(2, Behavior::Fail(kind)).run().await;
        ran.assert_redelivered_from(2);
        assert_eq!(ran.predicted, [0, 1], "{kind:?}");
        assert!(ran.dead_lettered.is_empty(), "{kind:?}");
        assert_eq!(ran.seen.attempts(2), 3, "MAX_ATTEMPTS");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_record_is_called_max_attempts_times() {
    for attempts in [1, 2, 10] {
        let scenario = Scenario::of(1).with("MAX_ATTEMPTS", &attempts.to_string());
        let ran = scenario.record(0, Behavior::Fail(FaultKind::Overload)).run().await;
        assert_eq!(ran.seen.calls.len(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_misconfigured() {
    let ran = Scenario::of(5)
        .record(2, Behavior::Fail(FaultKind::Misconfigured))
        .run()
        .await;
    ran.assert_redelivered_from(2);
    assert!(ran.dead_lettered.is_empty());
    assert_eq!(ran.seen.attempts(2), 1, "a retry would not help");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_retried() {
    let ran = Scenario::of(1)
        .record(0, Behavior::Fail(FaultKind::Refused))
        .run()
        .await;
    assert_eq!((ran.dead_lettered, ran.seen.calls.len()), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn the_waits_between_attempts_are_within_their_bounds() {
    let mut longest = [Duration::ZERO; 4];
    for _ in 0..100 {
        let ran = Scenario::of(1)
            .with("MAX_ATTEMPTS", "5")
            .with("RETRY_BASE_MS", "1000")
            .with("RETRY_CAP_MS", "3000")
            .record(0, Behavior::Fail(FaultKind::Overload))
            .run()
            .await;
        let times = ran.seen.times(0);
        let waits = times.windows(2).map(|pair| pair[1] - pair[0]);
        waits
            .zip(&mut longest)
            .for_each(|(wait, longest)| *longest = wait.max(*longest));
    }
    for (longest, bound_ms) in longest.into_iter().zip([1000, 2000, 3000, 3000]) {
        // Tokio's timers fire at whole milliseconds. The longest of a hundred random waits is close to the bound.
        let bound = Duration::from_millis(bound_ms);
        assert!(longest <= bound + Duration::from_millis(1), "{longest:?} of {bound:?}");
        assert!(longest > bound / 2, "{longest:?} of {bound:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_held_while_a_record_waits_for_its_next_attempt() {
    let started = Instant::now();
    let mut scenario = Scenario::of(0)
        .with("CAPACITY", "1")
        .with("ADAPTIVE_CAPACITY", "off")
        .with("RETRY_BASE_MS", "60000")
        .with("RETRY_CAP_MS", "60000");
    for number in 0..10 {
        scenario = scenario.attempts(number, &[Behavior::Fail(FaultKind::Overload)]);
    }
    let running = scenario.start();
    // Ten records wait up to a minute each. If they held the permit, they would wait one after the other.
    running.invoke(0..10).await.unwrap();
    assert!(
        started.elapsed() <= Duration::from_millis(60_000 + 10 * 10 + 10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        running.seen.lock().unwrap().calls[..10],
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_before_first_attempts_at_later_records() {
    let ran = Scenario::of(10_000)
        .attempts(3, &[Behavior::Fail(FaultKind::Overload)])
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.predicted.len(), 10_000);
    let retried = ran.seen.calls.iter().rposition(|call| call == "3").unwrap();
    assert_eq!(ran.seen.attempts(3), 2);
    assert!(retried < 1001, "{retried} calls were made before the retry");
}
