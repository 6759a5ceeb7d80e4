//! The retry budget: the number of retries that a process makes.

use instream::outcome::FaultKind;
use serde_json::json;

use crate::support::{Behavior, Scenario};

const TRANSIENT: [FaultKind; 3] = [FaultKind::Suspect, FaultKind::Overload, FaultKind::Unreachable];

/// Returns a scenario with this fixed capacity. With its `MAX_ATTEMPTS`, only the retry budget limits retries.
fn process(capacity: usize) -> Scenario {
    fastrand::seed(7);
    let scenario = Scenario::of(0).with("CAPACITY", &capacity.to_string());
    scenario.with("ADAPTIVE_CAPACITY", "off").with("MAX_ATTEMPTS", "10")
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_is_spent() {
    // Twenty faults in a row would end the deliveries, so there are few retries and records.
    for capacity in [1, 10] {
        let running = process(capacity).start();
        running.invoke(0..10).await.unwrap();
        running.take_down(Behavior::Fail(FaultKind::Suspect));
        running.seen.lock().unwrap().calls.clear();
        // The first delivery spends the saved budget. Then each record is called once a delivery.
        running.invoke(100..105).await.unwrap();
        assert_eq!(running.seen.lock().unwrap().calls.len(), 5 + capacity.max(10));
        running.seen.lock().unwrap().calls.clear();
        let response = running.invoke(100..104).await.unwrap();
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "100");
        assert_eq!(running.seen.lock().unwrap().calls.len(), 4);
        // Each answer earns one retry.
        running.bring_up();
        running.invoke(200..203).await.unwrap();
        running.take_down(Behavior::Fail(FaultKind::Suspect));
        running.seen.lock().unwrap().calls.clear();
        running.invoke(100..105).await.unwrap();
        assert_eq!(running.seen.lock().unwrap().calls.len(), 5 + 3);
        assert!(running.lines().1.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_of_first_attempts_may_fail_once() {
    for kind in TRANSIENT {
        for capacity in ["1", "20", "128"] {
            fastrand::seed(7);
            let mut scenario = Scenario::of(1000).with("CAPACITY", capacity);
            for number in 0..1000 {
                if fastrand::u8(..3) == 0 {
                    scenario = scenario.attempts(number, &[Behavior::Fail(kind)]);
                }
            }
            let running = scenario.start();
            let response = running.invoke(0..1000).await.unwrap();
            assert_eq!(response, json!({ "batchItemFailures": [] }), "{kind:?}, {capacity}");
            assert!(
                running.elapsed().as_secs() < 120,
                "{kind:?}, {capacity}: {:?}",
                running.elapsed()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_a_record_still_has_its_last_attempt_and_is_given_up() {
    let scenario = process(1).with("GIVE_UP_AFTER_S", "0");
    let running = scenario.record(5, Behavior::Fail(FaultKind::Suspect)).start();
    running.take_down(Behavior::Fail(FaultKind::Suspect));
    running.invoke(100..130).await.unwrap();
    running.bring_up();
    running.seen.lock().unwrap().calls.clear();
    let response = running.invoke(5..7).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![6], vec![5]));
    assert_eq!(
        ran.seen.attempts(5),
        4,
        "the three last attempts need no budget, because there is evidence before them"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_an_outage_gives_up_nothing() {
    let scenario = process(1).with("GIVE_UP_AFTER_S", "0");
    let running = scenario.start();
    running.invoke(0..10).await.unwrap();
    running.take_down(Behavior::Fail(FaultKind::Suspect));
    for _ in 0..20 {
        running.invoke(100..130).await.unwrap();
    }
    assert!(running.lines().1.is_empty());
}
