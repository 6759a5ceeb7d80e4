//! The rule of blame: a record is rejected only on evidence that the endpoint answers other records.

use std::iter;
use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::outcome::FaultKind;
use serde_json::{Value, json};
use tokio::time::advance;

use crate::support::{Behavior, Running, Scenario, entry};
use crate::transport::MISSING_MODEL;

const REFUSED: Behavior = Behavior::Fail(FaultKind::Refused);

/// The faults for which a record is rejected in its first delivery.
fn refusals() -> impl Iterator<Item = Behavior> {
    [REFUSED, Behavior::FailAfter(25, FaultKind::Refused)]
        .into_iter()
        .chain(MISSING_MODEL)
}

fn named(response: &Value) -> Option<&str> {
    response["batchItemFailures"][0]["itemIdentifier"].as_str()
}

/// Returns all numbers below `count`, except `bad`.
fn all_but(count: usize, bad: &[usize]) -> Vec<usize> {
    (0..count).filter(|number| !bad.contains(number)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_refuses_a_record() {
    for refusal in refusals() {
        let ran = Scenario::of(40).record(5, refusal).run().await;
        ran.assert_finished();
        assert_eq!(
            (ran.dead_lettered, ran.predicted),
            (vec![5], all_but(40, &[5])),
            "{refusal:?}"
        );
        assert!(
            ran.seen.calls.len() <= 43,
            "one last attempt and two probes: {}",
            ran.seen.calls.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_has_one_last_attempt() {
    let ran = Scenario::of(100)
        .with("CAPACITY", "2")
        .record(50, Behavior::FailAfter(5, FaultKind::Refused))
        .run()
        .await;
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [50]);
    assert_eq!(
        ran.seen.calls.len(),
        101,
        "the others are the evidence before and after it"
    );
}

#[tokio::test(start_paused = true)]
async fn half_of_the_records_may_be_refused() {
    for refusal in refusals() {
        let bad: Vec<_> = (0..200).step_by(2).collect();
        let scenario = Scenario::of(200).with("CAPACITY", "8");
        let scenario = bad
            .iter()
            .fold(scenario, |scenario, number| scenario.record(*number, refusal));
        let ran = scenario.run().await;
        ran.assert_finished();
        assert_eq!(
            (ran.dead_lettered, ran.predicted),
            (bad.clone(), all_but(200, &bad)),
            "{refusal:?}"
        );
        assert!(ran.seen.calls.len() <= 350, "{}", ran.seen.calls.len());
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_the_instances_of_the_model_are_broken() {
    fastrand::seed(7);
    for kind in [FaultKind::Refused, FaultKind::Suspect] {
        let mut scenario = Scenario::of(0).with("GIVE_UP_AFTER_S", "0");
        for number in 0..500 {
            // Each call hits a broken instance with a probability of one half, seven of them at most.
            let failed = (0..7).find(|_| fastrand::bool()).unwrap_or(7);
            scenario = scenario.attempts(number, &vec![Behavior::FailAfter(5, kind); failed]);
        }
        let running = scenario.start();
        let response = running.deliver_repeatedly(0..500, 10).await;
        let ran = running.finish(response);
        ran.assert_finished();
        assert!(ran.dead_lettered.is_empty(), "{kind:?}: {:?}", ran.dead_lettered);
        assert_eq!(ran.predicted, all_but(500, &[]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_refuses_every_record() {
    for refusal in refusals() {
        let running = Scenario::of(0).start();
        running.invoke(0..20).await.unwrap();
        running.take_down(refusal);
        // After 20 faults in a row, each delivery sends a probe and one of its records.
        for most in iter::once(45).chain([2; 19]) {
            running.seen.lock().unwrap().calls.clear();
            assert_eq!(
                named(&running.invoke(100..200).await.unwrap()),
                Some("100"),
                "{refusal:?}"
            );
            let calls = running.seen.lock().unwrap().calls.len();
            assert!(calls <= most, "{refusal:?}: {calls}");
            assert!(running.metrics().contains_key("FailedRefused"));
            advance(Duration::from_mins(1)).await;
        }
        running.bring_up();
        let response = running.invoke(100..200).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert!(ran.dead_lettered.is_empty(), "{refusal:?}");
        assert_eq!(ran.predicted.len(), 120);
    }
}

#[tokio::test(start_paused = true)]
async fn the_faults_of_all_models_put_the_endpoint_in_doubt() {
    let scenario = Scenario::of(0).with("CONTENT_TYPE", "text/csv");
    let running = scenario.with("TARGET_MODEL", "$[0]").start();
    let record = |number: usize| {
        let mut record = entry(&number.to_string());
        record["kinesis"]["data"] = BASE64.encode(format!("model-{},{number}", number % 10)).into();
        record
    };
    let batch = |numbers: Range<usize>| json!({ "Records": numbers.map(record).collect::<Vec<_>>() });
    running.invoke_event(&batch(0..20)).await.unwrap();
    running.take_down(REFUSED);
    // A probe, one of the batch's records, and a probe of the model that the record names.
    for most in [45, 3, 3, 3] {
        running.seen.lock().unwrap().calls.clear();
        let response = running.invoke_event(&batch(100..200)).await.unwrap();
        assert_eq!(named(&response), Some("100"));
        let calls = running.seen.lock().unwrap().calls.len();
        assert!(calls <= most, "{calls}");
    }
    running.bring_up();
    let response = running.invoke_event(&batch(100..200)).await.unwrap();
    running.finish(response).assert_finished();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_has_never_been_answered_rejects_nothing() {
    for scenario in [Scenario::of(0), Scenario::of(0).packed(100)] {
        let running = scenario.start();
        running.take_down(REFUSED);
        for _ in 0..5 {
            assert_eq!(named(&running.invoke(0..100).await.unwrap()), Some("0"));
        }
        assert!(running.lines().1.is_empty());
    }
}

/// Lets every call be refused from the start of a delivery until `down_ms` later.
async fn delivery_at_the_end_of_an_outage(running: &Running, refusal: Behavior, down_ms: u64) -> Value {
    running.take_down(refusal);
    let (response, ()) = tokio::join!(running.invoke(100..200), async {
        tokio::time::sleep(Duration::from_millis(down_ms)).await;
        running.bring_up();
    });
    response.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_record_refused_at_the_end_of_an_outage_is_predicted() {
    for refusal in [REFUSED, Behavior::FailAfter(7, FaultKind::Refused)] {
        for down_ms in 1..40 {
            let running = Scenario::of(0).with("CAPACITY", "4").start();
            // The outage begins before the delivery.
            running.invoke(0..20).await.unwrap();
            running.take_down(refusal);
            running.invoke([20]).await.unwrap();
            delivery_at_the_end_of_an_outage(&running, refusal, down_ms).await;
            let response = running.deliver_repeatedly(100..200, 3).await;
            let ran = running.finish(response);
            ran.assert_finished();
            assert!(
                ran.dead_lettered.is_empty(),
                "{refusal:?} {down_ms}: {:?}",
                ran.dead_lettered
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_records_of_a_process_are_all_refused() {
    let scenario = Scenario::of(0).with("CAPACITY", "1");
    let bad: Vec<_> = (0..40).collect();
    let scenario = bad
        .iter()
        .fold(scenario, |scenario, number| scenario.record(*number, REFUSED));
    let running = scenario.start();
    // After 20 faults, a random record of the batch is the probe.
    let response = running.deliver_repeatedly(0..100, 20).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (all_but(100, &bad), bad));
}

#[tokio::test(start_paused = true)]
async fn a_lone_refused_record_is_rejected_when_the_probe_is_answered() {
    for refusal in refusals() {
        let running = Scenario::of(0).record(5, refusal).start();
        running.invoke(0..5).await.unwrap();
        advance(Duration::from_hours(1)).await;
        let response = running.invoke([5]).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(
            (ran.dead_lettered, ran.predicted),
            (vec![5], all_but(5, &[])),
            "{refusal:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_setting_probe_is_the_evidence_before_anything_was_answered() {
    for scenario in [Scenario::of(0), Scenario::of(0).packed(10)] {
        for (probe, is_finished) in [("1000", true), ("", false)] {
            let scenario = match probe {
                "" => Scenario::of(0),
                _ => Scenario::of(0).with("PROBE", probe),
            };
            let running = scenario.record(5, REFUSED).start();
            let response = running.invoke([5]).await.unwrap();
            let ran = running.finish(response);
            assert_eq!(
                ran.response == json!({ "batchItemFailures": [] }),
                is_finished,
                "{probe}"
            );
            assert_eq!(ran.dead_lettered.len(), usize::from(is_finished));
            assert!(ran.predicted.is_empty(), "the prediction of a probe is not delivered");
        }
        let running = scenario.with("PROBE", "1000").record(5, REFUSED).start();
        let response = running.invoke([5]).await.unwrap();
        assert_eq!(named(&response), None);
        let seen = running.seen.lock().unwrap();
        assert!(
            seen.calls.iter().any(|call| call.lines().all(|line| line == "1000")),
            "{:?}",
            seen.calls
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_is_not_repeated() {
    let running = Scenario::of(0).with("PROBE", "1000").start();
    running.take_down(Behavior::FailAfter(10, FaultKind::Refused));
    assert_eq!(named(&running.invoke([5]).await.unwrap()), Some("5"));
    assert_eq!(running.seen.lock().unwrap().calls, ["5", "1000"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_not_evidence_against_itself() {
    // Its calls are answered whenever it would be the probe.
    let answered = Behavior::PredictAfter(10);
    let calls = [answered, REFUSED, answered, REFUSED, REFUSED, REFUSED, answered];
    let running = Scenario::of(0).attempts_then(5, &calls, REFUSED).start();
    running.invoke([5]).await.unwrap();
    // The only answered record of this process is delivered again, and refused now.
    assert_eq!(named(&running.invoke([5]).await.unwrap()), Some("5"));
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_container_reports_overload_for_one_record_only() {
    for (give_up_after_s, deliveries, packed) in [("1", 2, 1), ("0", 1, 1), ("1", 2, 10), ("0", 1, 10)] {
        let scenario = Scenario::of(0)
            .packed(packed)
            .with("GIVE_UP_AFTER_S", give_up_after_s)
            .record_age(60.0);
        let running = scenario.record(5, Behavior::ContainerOverload).start();
        let mut from = 0;
        for _ in 1..deliveries {
            let response = running.invoke(from..20).await.unwrap();
            assert!(running.lines().1.is_empty(), "it has not failed before");
            from = named(&response).unwrap().parse().unwrap();
        }
        let response = running.invoke(from..20).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, ran.predicted), (vec![5], all_but(20, &[5])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_overloaded_rejects_nothing() {
    let scenario = Scenario::of(0).with("GIVE_UP_AFTER_S", "0").record_age(60.0);
    let running = scenario.start();
    running.invoke(0..20).await.unwrap();
    running.take_down(Behavior::ContainerOverload);
    for _ in 0..10 {
        assert_eq!(named(&running.invoke(100..150).await.unwrap()), Some("100"));
        advance(Duration::from_secs(10)).await;
    }
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_container_is_not_called_with_halves_of_its_requests() {
    let running = Scenario::of(0).packed(50).with("GIVE_UP_AFTER_S", "0").start();
    running.invoke(0..20).await.unwrap();
    running.take_down(Behavior::ContainerOverload);
    running.seen.lock().unwrap().calls.clear();
    assert_eq!(named(&running.invoke(100..150).await.unwrap()), Some("100"));
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(
        sizes.iter().all(|size| [50, 2].contains(size)),
        "the request and a probe: {sizes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_process_overloads_the_container() {
    // A part of the first request is answered, whichever of its halves is called first.
    for seed in 0..10 {
        fastrand::seed(seed);
        let scenario = Scenario::of(0).packed(20).with("GIVE_UP_AFTER_S", "0");
        let running = scenario.record(5, Behavior::ContainerOverload).start();
        let response = running.invoke(0..20).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, ran.predicted), (vec![5], all_but(20, &[5])));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_overloads_a_container_is_given_up_after_others_recovered_from_overload() {
    let scenario = Scenario::of(0).with("GIVE_UP_AFTER_S", "1").record_age(60.0);
    let scenario = scenario.attempts(1, &[Behavior::ContainerOverload]);
    let running = scenario.record(5, Behavior::ContainerOverload).start();
    let response = running.deliver_repeatedly(0..20, 3).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.dead_lettered, ran.predicted), (vec![5], all_but(20, &[5])));
}

#[tokio::test(start_paused = true)]
async fn answers_to_calls_from_before_an_outage_are_not_evidence() {
    let running = Scenario::of(0)
        .record(0, Behavior::PredictAfter(100))
        .record(1, Behavior::PredictAfter(200))
        .record(2, Behavior::FailAfter(10, FaultKind::Refused))
        .start();
    let (response, ()) = tokio::join!(running.invoke(0..3), async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        running.take_down(REFUSED);
    });
    assert_eq!(named(&response.unwrap()), Some("2"));
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_at_the_start_of_an_outage_rejects_nothing() {
    let running = Scenario::of(0)
        .attempts(100, &[Behavior::FailAfter(5, FaultKind::Refused)])
        .start();
    running.invoke(0..20).await.unwrap();
    // The probe before the last attempt is the last call that is answered.
    let (response, ()) = tokio::join!(running.invoke([100]), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        running.take_down(REFUSED);
    });
    assert_eq!(named(&response.unwrap()), Some("100"));
    assert_eq!(
        running.seen.lock().unwrap().attempts(100),
        2,
        "it has had its last attempt"
    );
    running.bring_up();
    let response = running.invoke([100]).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted.last(), ran.dead_lettered), (Some(&100), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_shows_that_instances_may_be_broken() {
    let running = Scenario::of(0)
        .attempts(0, &[Behavior::PredictAfter(10), REFUSED])
        .attempts(100, &[REFUSED; 5])
        .start();
    running.invoke(0..20).await.unwrap();
    // The first delivery has no evidence, because the probe fails. The second one repeats the last attempt.
    let response = running.deliver_repeatedly(100..101, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted.last(), ran.dead_lettered), (Some(&100), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn after_evidence_another_record_of_the_batch_may_be_the_probe() {
    let bad: Vec<_> = (0..20).collect();
    let scenario = Scenario::of(0).with("CAPACITY", "1");
    let mut scenario = bad
        .iter()
        .fold(scenario, |scenario, number| scenario.record(*number, REFUSED));
    // Each good record is evidence once. The probe with it fails.
    for number in 20..40 {
        scenario = scenario.attempts_then(number, &[Behavior::PredictAfter(10)], REFUSED);
    }
    let running = scenario.start();
    let response = running.invoke(0..40).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (all_but(40, &bad), bad));
}

#[tokio::test(start_paused = true)]
async fn many_young_suspect_records_in_a_row_do_not_stop_the_others() {
    let suspect = Behavior::FailAfter(5, FaultKind::Suspect);
    let scenario = Scenario::of(0).with("CAPACITY", "4").with("MAX_ATTEMPTS", "1");
    let scenario = (100..200).fold(scenario, |scenario, number| scenario.record(number, suspect));
    let running = scenario.start();
    running.invoke(0..20).await.unwrap();
    assert_eq!(named(&running.invoke(100..220).await.unwrap()), Some("100"));
    let seen = running.seen.lock().unwrap();
    assert!(
        (200..220).all(|number| seen.attempts(number) == 1),
        "after each 20 faults, a probe is answered"
    );
}

/// Returns a scenario in which each record names its own model.
fn own_models() -> Scenario {
    Scenario::of(0)
        .with("CONTENT_TYPE", "text/csv")
        .with("TARGET_MODEL", "$[0]")
}

#[tokio::test(start_paused = true)]
async fn a_record_names_a_model_that_does_not_exist() {
    for missing in MISSING_MODEL {
        let running = own_models().record(5, missing).start();
        let response = running.invoke(0..10).await.unwrap();
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, ran.predicted), (vec![5], all_but(10, &[5])));
    }
}

#[tokio::test(start_paused = true)]
async fn only_answers_of_the_same_model_are_evidence_against_a_refused_record() {
    let running = own_models().with("CAPACITY", "1").record(5, REFUSED).start();
    let response = running.deliver_repeatedly(0..20, 3).await;
    let ran = running.finish(response);
    ran.assert_redelivered_from(5);
    assert!(ran.dead_lettered.is_empty());
}
