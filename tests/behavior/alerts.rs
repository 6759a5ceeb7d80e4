//! Alerts: predictions that match `ALERT_PATTERN` are delivered to ALERT as well.

use instream::outcome::FaultKind;
use serde_json::json;

use crate::cloud::{Cloud, Fate};
use crate::destinations::{event_bus, numbers, queue, sorted};
use crate::support::{Behavior, Scenario};

const PATTERN: &str = r#"{"output":{"of":["2","4"]}}"#;

fn scenario(mode: &str) -> Scenario {
    let scenario = Scenario::of(6).with("OUTPUT_MODE", mode);
    scenario.with("ALERT", "stdout:").with("ALERT_PATTERN", PATTERN)
}

#[tokio::test(start_paused = true)]
async fn a_prediction_matches_alert_pattern() {
    for mode in ["ordered", "unordered"] {
        let running = scenario(mode).record(3, Behavior::Fail(FaultKind::Refused)).start();
        let response = running.invoke(0..6).await.unwrap();
        let (predictions, dead_letters) = running.lines();
        assert_eq!((predictions.len(), dead_letters.len()), (5, 1), "{mode}");
        let alerts = running.alerts();
        assert_eq!(alerts, [predictions[2].clone(), predictions[3].clone()], "{mode}");
        let metrics = running.metrics();
        let sums = ["Alerted", "Predicted"].map(|name| format!("{} {name}", metrics[name].sum()));
        assert_eq!(sums, ["2 Alerted", "5 Predicted"]);
        running.finish(response).assert_finished();
    }
}

#[tokio::test(start_paused = true)]
async fn alert_does_not_respond() {
    for mode in ["ordered", "unordered"] {
        let running = scenario(mode).broken_alert().start();
        let response = running.invoke(0..6).await.unwrap();
        assert_eq!(running.metrics()["FailedUndelivered"].sum().to_string(), "2", "{mode}");
        let ran = running.finish(response);
        ran.assert_redelivered_from(2);
        assert_eq!(ran.predicted, [0, 1, 2, 3, 4, 5], "predictions do not wait for alerts");
        assert_eq!(ran.seen.calls.len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_alert_is_redelivered_with_its_prediction_and_no_call() {
    let denied_once = |number, _| match number {
        0 => Fate::Refused(403, "AccessDenied"),
        _ => Fate::Taken(1),
    };
    let cloud = Cloud::deciding(denied_once);
    let running = scenario("ordered").alert(cloud.open(&queue())).start();
    let response = running.deliver_repeatedly(0..6, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(sorted(numbers(&cloud)), [2, 4]);
    assert_eq!(ran.seen.calls.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn alert_will_never_accept_a_prediction() {
    for mode in ["ordered", "unordered"] {
        let cloud = Cloud::default().refusing(|text| text.contains("shard:2"));
        let running = scenario(mode).alert(cloud.open(&queue())).start();
        let response = running.invoke(0..6).await.unwrap();
        let (_, dead_letters) = running.lines();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, numbers(&cloud)), (vec![2], vec![4]), "{mode}");
        assert_eq!(dead_letters[0]["reason"]["kind"], "PredictionRefused");
        let message = dead_letters[0]["reason"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("ALERT does not accept the prediction: "),
            "{message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_prediction_is_too_large_for_alert() {
    let cloud = Cloud::default();
    let scenario = Scenario::of(2).record(0, Behavior::PredictBytes(2_000_000));
    let scenario = scenario
        .with("ALERT", "stdout:")
        .with("ALERT_PATTERN", r#"{"output":[{"exists":true}]}"#);
    let running = scenario.alert(cloud.open(&queue())).start();
    let response = running.invoke(0..2).await.unwrap();
    let (_, dead_letters) = running.lines();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![1], vec![0]));
    assert_eq!(dead_letters[0]["reason"]["kind"], "PredictionTooLarge");
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_an_event_of_eventbridge() {
    let cloud = Cloud::deciding(|number, _| {
        if number == 0 {
            Fate::Partly(vec![false])
        } else {
            Fate::Taken(1)
        }
    });
    let running = scenario("ordered").alert(cloud.open(&event_bus())).start();
    let response = running.invoke(0..6).await.unwrap();
    running.finish(response).assert_finished();
    let kinds: Vec<_> = cloud.taken().iter().map(|taken| taken.key.clone()).collect();
    assert_eq!(
        (sorted(numbers(&cloud)), kinds),
        (vec![2, 4], vec!["alert".to_owned(), "alert".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_prediction_that_is_no_object_is_no_event() {
    let cloud = Cloud::default();
    let scenario = Scenario::of(2)
        .with("OUTPUT_FORMAT", "raw")
        .record(1, Behavior::PredictBytes(5));
    let ran = scenario.output(cloud.open(&event_bus())).run().await;
    ran.assert_finished();
    assert_eq!((cloud.taken().len(), ran.dead_lettered), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn output_and_alert_will_never_accept_a_prediction() {
    let [output, alert] = [(); 2].map(|()| Cloud::default().refusing(|text| text.contains("shard:2")));
    let scenario = scenario("ordered").output(output.open(&queue()));
    let running = scenario.alert(alert.open(&queue())).start();
    let response = running.invoke(0..6).await.unwrap();
    let (_, dead_letters) = running.lines();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(
        (sorted(numbers(&output)), numbers(&alert)),
        (vec![0, 1, 3, 4, 5], vec![4])
    );
    let [dead_letter] = dead_letters.try_into().unwrap();
    let message = dead_letter["reason"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("OUTPUT does not accept the prediction: "),
        "{message}"
    );
    assert!(dead_letter["data"].is_string(), "DEAD_LETTER has not refused it");
}

#[tokio::test(start_paused = true)]
async fn the_alert_of_a_refused_prediction_need_not_be_delivered() {
    let output = Cloud::default().refusing(|text| text.contains("shard:2"));
    let scenario = scenario("ordered").with("ALERT_PATTERN", r#"{"output":{"of":["2"]}}"#);
    let ran = scenario.output(output.open(&queue())).broken_alert().run().await;
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [2]);
}

#[tokio::test(start_paused = true)]
async fn alert_cannot_carry_a_prediction() {
    let cloud = Cloud::default();
    let scenario = Scenario::of(2).with("OUTPUT_FORMAT", "raw").with("ALERT", "stdout:");
    let scenario = scenario
        .with("ALERT_PATTERN", r#"{"a":[1]}"#)
        .record(0, Behavior::PredictText(r#"[{"a":1}]"#))
        .record(1, Behavior::PredictText(r#"{"a":1}"#));
    let running = scenario.alert(cloud.open(&event_bus())).start();
    let response = running.invoke(0..2).await.unwrap();
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    let (_, dead_letters) = running.lines();
    let message = dead_letters[0]["reason"]["message"].as_str().unwrap();
    assert!(message.starts_with("ALERT cannot carry the prediction: "), "{message}");
    assert_eq!((cloud.requests().len(), cloud.taken().len()), (1, 1));
}
