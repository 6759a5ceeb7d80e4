//! The evidence rule: a fault that may be the record's own is held against it only if the endpoint answers others.

use std::time::Duration;

use instream::endpoint::FaultKind;
use tokio::time::advance;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn a_validation_error_that_fits_no_known_message() {
    let running = Scenario::of(0).record(7, Does::Fail(FaultKind::Unclear)).start();
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
    for kind in [
        FaultKind::Suspect,
        FaultKind::Overload,
        FaultKind::Unreachable,
        FaultKind::Unclear,
        FaultKind::Misconfigured,
    ] {
        let mut scenario = Scenario::of(0);
        for number in 0..50 {
            scenario = scenario.record(number, Does::Fail(kind));
        }
        let running = scenario.start();
        // The mapping delivers the batch again and again.
        for _ in 0..20 {
            let answer = running.invoke(0..50).await.unwrap();
            assert_eq!(answer["batchItemFailures"][0]["itemIdentifier"], "0", "{kind:?}");
        }
        let ran = running.ran(serde_json::Value::Null);
        assert!(ran.predicted.is_empty() && ran.dead_lettered.is_empty(), "{kind:?}");
    }
}
