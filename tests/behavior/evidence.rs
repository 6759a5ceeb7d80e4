//! The evidence rule: a fault that may be the record's own is held against it only if the endpoint answers others.

use std::time::Duration;

use instream::endpoint::FaultKind;
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
async fn the_endpoint_is_down() {
    for does in [
        Does::Fail(FaultKind::Suspect),
        Does::Fail(FaultKind::Overload),
        Does::Fail(FaultKind::Unreachable),
        Does::Fail(FaultKind::Misconfigured),
        Does::Doubt,
        Does::Hang,
    ] {
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
