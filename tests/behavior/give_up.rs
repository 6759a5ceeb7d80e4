//! The give-up rule: one bad record does not block the shard for ever, and an outage dead-letters nothing.

use std::time::Duration;

use instream::endpoint::FaultKind;
use serde_json::json;
use tokio::time::advance;

use crate::over::DOUBT;
use crate::support::{Does, Running, Scenario};

const SUSPECT: [Does; 3] = [Does::Fail(FaultKind::Suspect), Does::Hang, Does::Panic];

/// Records that arrived an hour before the handler starts.
fn old() -> Scenario {
    Scenario::of(0).with("GIVE_UP_AFTER_S", "3600").arrived_before(3600.0)
}

fn named(answer: &serde_json::Value) -> Option<&str> {
    answer["batchItemFailures"][0]["itemIdentifier"].as_str()
}

#[tokio::test(start_paused = true)]
async fn a_record_keeps_failing_beyond_give_up_after_s() {
    for does in SUSPECT {
        let running = old().record(5, does).start();
        let answer = running.invoke(0..10).await.unwrap();
        let ran = running.ran(answer);
        ran.is_finished();
        assert_eq!(ran.dead_lettered, [5], "{does:?}");
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
        assert!(ran.seen.attempts(5) <= 3, "MAX_ATTEMPTS");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_yet_so_old_is_not_given_up() {
    let running = Scenario::of(0)
        .with("GIVE_UP_AFTER_S", "3600")
        .arrived_before(3500.0)
        .record(5, Does::Fail(FaultKind::Suspect))
        .start();
    assert_eq!(named(&running.invoke(0..10).await.unwrap()), Some("5"));
    // It comes again and again, and ages.
    advance(Duration::from_secs(99)).await;
    let answer = running.invoke(5..10).await.unwrap();
    assert_eq!(named(&answer), Some("5"));
    advance(Duration::from_secs(1)).await;
    let answer = running.invoke(5..10).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [5]);
}

#[tokio::test(start_paused = true)]
async fn without_give_up_after_s_or_an_arrival_time_nothing_is_given_up() {
    for scenario in [
        Scenario::of(10).arrived_before(1e9),
        Scenario::of(10).with("GIVE_UP_AFTER_S", "1"),
    ] {
        let ran = scenario.record(5, Does::Fail(FaultKind::Suspect)).run().await;
        ran.comes_again_from(5);
        assert!(ran.dead_lettered.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_which_it_is_the_endpoints_fault_is_never_given_up() {
    for kind in [FaultKind::Overload, FaultKind::Unreachable, FaultKind::Misconfigured] {
        let running = old().record(5, Does::Fail(kind)).start();
        running.deliver_again(0..10, 10).await;
        assert!(running.ran(json!(null)).dead_lettered.is_empty(), "{kind:?}");
    }
}

/// The records from 100 on, all of which fail like this, come again and again for an hour.
async fn outage(running: &Running) {
    for _ in 0..60 {
        let answer = running.invoke(100..150).await.unwrap();
        assert_eq!(named(&answer), Some("100"));
        advance(Duration::from_mins(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_nothing_is_given_up_however_old() {
    for does in SUSPECT.into_iter().chain(DOUBT) {
        let mut scenario = old();
        for number in 100..150 {
            scenario = scenario.record(number, does);
        }
        // What was answered before 0 is what the endpoint is asked for in the outage, and fails then as well.
        let running = scenario.attempts(0, &[]).record(0, Does::PredictAfter(10)).start();
        outage(&running).await;
        assert!(running.ran(json!(null)).dead_lettered.is_empty(), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_last_attempt_is_no_evidence() {
    let mut scenario = old().attempts_then(0, &[Does::PredictAfter(10)], Does::Fail(FaultKind::Suspect));
    for number in 100..150 {
        scenario = scenario.record(number, Does::Fail(FaultKind::Suspect));
    }
    let running = scenario.start();
    running.invoke([0]).await.unwrap();
    outage(&running).await;
    let ran = running.ran(json!(null));
    assert!(ran.dead_lettered.is_empty());
    assert_eq!(
        ran.seen.attempts(0),
        61,
        "each delivery asks for it once more, and once only"
    );
    let attempts = ran.seen.attempts(100);
    assert!(
        (60..=120).contains(&attempts),
        "the last attempt is kept for better times: {attempts}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_is_given_up_when_one_that_was_answered_before_is_answered_again() {
    for does in [Does::Fail(FaultKind::Suspect), Does::Hang, Does::Panic]
        .into_iter()
        .chain(DOUBT)
    {
        let running = old().record(5, does).start();
        running.invoke(0..5).await.unwrap();
        advance(Duration::from_mins(10)).await;
        let answer = running.invoke([5]).await.unwrap();
        let ran = running.ran(answer);
        ran.is_finished();
        assert_eq!(ran.dead_lettered, [5], "{does:?}");
        assert_eq!(
            ran.predicted,
            [0, 1, 2, 3, 4],
            "what was asked for is not delivered again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn poison_records_next_to_each_other_are_given_up_together() {
    let scenario = old().record(3, SUSPECT[0]).record(4, SUSPECT[2]).record(5, SUSPECT[0]);
    let running = scenario.with("CAPACITY", "1").start();
    let answer = running.invoke(0..10).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [3, 4, 5]);
    assert_eq!(ran.seen.most_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_to_find_out_takes_a_permit_like_any_call() {
    let mut scenario = old()
        .with("CAPACITY", "1")
        .record(5, Does::FailAfter(50, FaultKind::Suspect));
    for number in 100..200 {
        scenario = scenario.record(number, Does::PredictAfter(100));
    }
    let running = scenario.start();
    running.invoke(0..5).await.unwrap();
    let (lone, beside) = tokio::join!(running.invoke([5]), running.invoke(100..200));
    assert_eq!((named(&lone.unwrap()), named(&beside.unwrap())), (None, None));
    assert_eq!(running.seen.lock().unwrap().most_in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_failed_at_the_end_of_an_outage_is_not_given_up() {
    for max_attempts in ["1", "2", "3"] {
        for memo_bytes in ["0", "16777216"] {
            // All attempts fail but the last, and by then the endpoint answers again.
            let failed = max_attempts.parse::<usize>().unwrap().max(2) - 1;
            let running = old()
                .with("MAX_ATTEMPTS", max_attempts)
                .with("MEMO_BYTES", memo_bytes)
                .attempts(5, &vec![Does::Fail(FaultKind::Suspect); failed])
                .start();
            running.invoke(0..5).await.unwrap();
            let answer = running.invoke([5]).await.unwrap();
            let ran = running.ran(answer);
            ran.is_finished();
            assert!(ran.dead_lettered.is_empty(), "{max_attempts} {memo_bytes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_throttled_before_its_only_suspect_fault_is_not_given_up() {
    let faults = [FaultKind::Overload, FaultKind::Overload, FaultKind::Suspect].map(Does::Fail);
    let running = old().attempts(5, &faults).start();
    let answer = running.invoke(0..10).await.unwrap();
    let ran = running.ran(answer);
    ran.comes_again_from(5);
    assert!(ran.dead_lettered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_hanging_records_than_permits_are_given_up_one_by_one() {
    let mut scenario = old()
        .with("CAPACITY", "2")
        .with("MAX_ATTEMPTS", "2")
        .with("CALL_TIMEOUT_MS", "10000");
    for number in 0..6 {
        scenario = scenario.record(number, Does::Hang);
    }
    let running = scenario.deadline(Some(Duration::from_secs(35))).start();
    running.invoke([100]).await.unwrap();
    let answer = running.deliver_again(0..8, 10).await;
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.dead_lettered, [0, 1, 2, 3, 4, 5]);
    assert_eq!(ran.predicted, [100, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_may_succeed() {
    let running = old().attempts(5, &[Does::Fail(FaultKind::Suspect); 2]).start();
    let answer = running.invoke(0..10).await.unwrap();
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!(ran.predicted, (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn with_the_memo_off_a_record_is_given_up_all_the_same() {
    let running = old().with("MEMO_BYTES", "0").record(5, SUSPECT[0]).start();
    let answer = running.deliver_again(0..10, 2).await;
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!((ran.dead_lettered, ran.predicted.len()), (vec![5], 9));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_for_last_attempts_as_well() {
    let running = old()
        .deadline(Some(Duration::from_secs(10)))
        .record(5, Does::Hang)
        .start();
    let answer = running.invoke(0..10).await.unwrap();
    assert_eq!(named(&answer), Some("5"));
    assert!(running.elapsed() <= Duration::from_secs(10), "{:?}", running.elapsed());
    assert_eq!(running.seen.lock().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_is_down() {
    let faults = [
        Does::Fail(FaultKind::Suspect),
        Does::Fail(FaultKind::Overload),
        Does::Fail(FaultKind::Unreachable),
        Does::Fail(FaultKind::Misconfigured),
        Does::Hang,
    ];
    for does in faults.into_iter().chain(DOUBT) {
        let mut scenario = Scenario::of(0);
        for number in 0..50 {
            scenario = scenario.record(number, does);
        }
        let running = scenario.start();
        // The mapping delivers the batch again and again.
        for _ in 0..20 {
            let answer = running.invoke(0..50).await.unwrap();
            assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "0", "{does:?}");
        }
        let ran = running.ran(serde_json::Value::Null);
        assert!(ran.predicted.is_empty() && ran.dead_lettered.is_empty(), "{does:?}");
    }
}
