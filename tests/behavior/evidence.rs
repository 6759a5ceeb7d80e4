//! The evidence rule: a doubtful refusal rejects a record only if the endpoint answers other records.

use std::time::Duration;

use tokio::time::advance;

use crate::support::{Behavior, Scenario};

#[tokio::test(start_paused = true)]
async fn a_validation_error_that_fits_no_known_message() {
    let running = Scenario::of(0).record(7, Behavior::DoubtfulRefusal).start();
    let named = |response: &serde_json::Value| response["batchItemFailures"][0]["itemIdentifier"].clone();
    // Before the endpoint has answered any record, the refusal is a misconfiguration.
    assert_eq!(named(&running.invoke([7]).await.unwrap()), "7");
    // When it has answered another record within the last minute, the record is rejected.
    running.invoke([1]).await.unwrap();
    advance(Duration::from_secs(59)).await;
    assert_eq!(
        running.invoke([7]).await.unwrap()["batchItemFailures"],
        serde_json::json!([])
    );
    // After that minute, the refusal is a misconfiguration again.
    advance(Duration::from_secs(2)).await;
    let response = running.invoke([7]).await.unwrap();
    assert_eq!(named(&response), "7");
    let ran = running.finish(response);
    assert_eq!(ran.dead_lettered, [7]);
    assert_eq!(ran.seen.attempts(7), 3, "one attempt each time");
}

#[tokio::test(start_paused = true)]
async fn answers_just_before_an_outage_cost_at_most_one_record() {
    let mut scenario = Scenario::of(0);
    for number in 100..150 {
        scenario = scenario.record(number, Behavior::DoubtfulRefusal);
    }
    let running = scenario.start();
    running.invoke(0..50).await.unwrap();
    let mut from = 100;
    for _ in 0..20 {
        let response = running.invoke(from..150).await.unwrap();
        from = response["batchItemFailures"][0]["itemIdentifier"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    }
    assert_eq!(running.finish(serde_json::Value::Null).dead_lettered, [100]);
}

#[tokio::test(start_paused = true)]
async fn neighboring_poison_records_are_rejected_one_by_one() {
    let running = Scenario::of(0)
        .record(3, Behavior::DoubtfulRefusal)
        .record(4, Behavior::DoubtfulRefusal)
        .start();
    let mut from = 0;
    for _ in 0..3 {
        let response = running.invoke(from..10).await.unwrap();
        let named = response["batchItemFailures"][0]["itemIdentifier"].as_str();
        from = named.map_or(10, |number| number.parse().unwrap());
    }
    let ran = running.finish(serde_json::Value::Null);
    assert_eq!((from, ran.dead_lettered), (10, vec![3, 4]));
    assert_eq!(ran.predicted, [0, 1, 2, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn requests_with_doubtful_refusals_are_split_down_to_the_poison_records() {
    let running = Scenario::of(200)
        .packed(100)
        .record(110, Behavior::DoubtfulRefusal)
        .record(190, Behavior::DoubtfulRefusal)
        .start();
    let response = running.deliver_repeatedly(0..200, 5).await;
    let ran = running.finish(response);
    ran.assert_finished();
    let others = (0..200).filter(|number| ![110, 190].contains(number)).collect();
    assert_eq!((ran.predicted, ran.dead_lettered), (others, vec![110, 190]));
}
