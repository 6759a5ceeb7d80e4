//! The evidence rule: a refusal in doubtful words is held against a record only if the endpoint answers others.

use std::time::Duration;

use tokio::time::advance;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn a_validation_error_that_fits_no_known_message() {
    let running = Scenario::of(0).record(7, Does::Doubt).start();
    let named = |answer: &serde_json::Value| answer["batchItemFailures"][0]["itemIdentifier"].clone();
    // Before the endpoint has answered any record it is a matter of configuration …
    assert_eq!(named(&running.invoke([7]).await.unwrap()), "7");
    // … when it has answered another within the last minute, the record's own …
    running.invoke([1]).await.unwrap();
    advance(Duration::from_secs(59)).await;
    assert_eq!(
        running.invoke([7]).await.unwrap()["batchItemFailures"],
        serde_json::json!([])
    );
    // … and later not any more.
    advance(Duration::from_secs(2)).await;
    let answer = running.invoke([7]).await.unwrap();
    assert_eq!(named(&answer), "7");
    let ran = running.ran(answer);
    assert_eq!(ran.dead_lettered, [7]);
    assert_eq!(ran.seen.attempts(7), 3, "one attempt each time");
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_just_before_an_outage_costs_one_record_at_most() {
    let mut scenario = Scenario::of(0);
    for number in 100..150 {
        scenario = scenario.record(number, Does::Doubt);
    }
    let running = scenario.start();
    running.invoke(0..50).await.unwrap();
    let mut from = 100;
    for _ in 0..20 {
        let answer = running.invoke(from..150).await.unwrap();
        from = answer["batchItemFailures"][0]["itemIdentifier"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    }
    assert_eq!(running.ran(serde_json::Value::Null).dead_lettered, [100]);
}

#[tokio::test(start_paused = true)]
async fn poison_records_next_to_each_other_are_refused_one_by_one() {
    let running = Scenario::of(0).record(3, Does::Doubt).record(4, Does::Doubt).start();
    let mut from = 0;
    for _ in 0..3 {
        let answer = running.invoke(from..10).await.unwrap();
        let named = answer["batchItemFailures"][0]["itemIdentifier"].as_str();
        from = named.map_or(10, |number| number.parse().unwrap());
    }
    let ran = running.ran(serde_json::Value::Null);
    assert_eq!((from, ran.dead_lettered), (10, vec![3, 4]));
    assert_eq!(ran.predicted, [0, 1, 2, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn doubtful_refusals_are_split_down_to_the_records_that_they_are_about() {
    let running = Scenario::of(200)
        .packed(100)
        .record(110, Does::Doubt)
        .record(190, Does::Doubt)
        .start();
    let answer = running.deliver_again(0..200, 5).await;
    let ran = running.ran(answer);
    ran.is_finished();
    let others = (0..200).filter(|number| ![110, 190].contains(number)).collect();
    assert_eq!((ran.predicted, ran.dead_lettered), (others, vec![110, 190]));
}
