//! Requests for several records are halved, down to the record that is the cause.

use std::time::Duration;

use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};

const REFUSED: Behavior = Behavior::Fail(FaultKind::Refused);

fn all_but(count: usize, bad: &[usize]) -> Vec<usize> {
    (0..count).filter(|number| !bad.contains(number)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_request_of_a_process_is_its_own_probe() {
    for bad in [&[0][..], &[99], &[50], &[3, 51], &[10, 20, 30, 40, 60]] {
        let scenario = Scenario::of(100).packed(100);
        let scenario = bad
            .iter()
            .fold(scenario, |scenario, number| scenario.record(*number, REFUSED));
        let ran = scenario.run().await;
        ran.assert_finished();
        assert_eq!((ran.dead_lettered, ran.predicted), (bad.to_vec(), all_but(100, bad)));
    }
}

#[tokio::test(start_paused = true)]
async fn each_first_half_has_a_bad_record() {
    let bad = [0, 50, 75, 87, 93, 96, 98];
    let scenario = Scenario::of(0).packed(100);
    let scenario = bad
        .iter()
        .fold(scenario, |scenario, number| scenario.record(*number, REFUSED));
    let running = scenario.start();
    // The path through the halves is random, so a further delivery finds an answer.
    let response = running.deliver_repeatedly(0..100, 20).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.dead_lettered, ran.predicted), (bad.to_vec(), all_but(100, &bad)));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_fails_on_a_single_row_gets_the_row_twice() {
    for (kind, deliveries) in [(FaultKind::Refused, 1), (FaultKind::Suspect, 3)] {
        let mut scenario = Scenario::of(0)
            .packed(100)
            .record_age(60.0)
            .record(11, Behavior::Fail(kind));
        for number in (0..21).filter(|number| *number != 11) {
            scenario = scenario.record(number, Behavior::FailAlone(kind));
        }
        let running = scenario.start();
        let response = running.deliver_repeatedly(0..21, deliveries).await;
        let ran = running.finish(response);
        ran.assert_finished();
        assert_eq!(
            (ran.dead_lettered, ran.predicted),
            (vec![11], all_but(21, &[11])),
            "{kind:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_of_one_record_is_sent_twice_to_a_container_that_fails_on_a_single_row() {
    let kind = FaultKind::Refused;
    let scenario = Scenario::of(0).packed(100).record(0, Behavior::Fail(kind));
    let running = scenario.record(1, Behavior::FailAlone(kind)).start();
    let response = running.invoke(0..2).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.dead_lettered, ran.predicted), (vec![0], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn the_first_record_of_a_process_is_retried_as_two_rows() {
    let running = Scenario::of(0)
        .packed(100)
        .record(0, Behavior::FailAlone(FaultKind::Suspect))
        .start();
    let response = running.invoke(0..1).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0], vec![]));
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_a_request_is_halved_along_one_path() {
    let running = Scenario::of(0).packed(100).start();
    running.take_down(REFUSED);
    running.invoke(0..100).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(sizes.len() <= 9, "{sizes:?}");
    // After an answer, there is a probe as well.
    running.bring_up();
    running.invoke(0..100).await.unwrap();
    running.take_down(REFUSED);
    running.seen.lock().unwrap().calls.clear();
    running.invoke(100..200).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(sizes.len() <= 10, "{sizes:?}");
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn records_that_hang_in_one_request_do_not_cost_a_delivery_each() {
    let mut scenario = Scenario::of(0)
        .packed(100)
        .with("GIVE_UP_AFTER_S", "10")
        .record_age(60.0)
        .deadline(Some(Duration::from_mins(2)));
    for number in [7, 57] {
        scenario = scenario.record(number, Behavior::Hang);
    }
    let running = scenario.start();
    running.invoke([1000, 1001]).await.unwrap();
    let response = running.deliver_repeatedly(0..100, 5).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [7, 57]);
    assert_eq!(ran.predicted[2..], all_but(100, &[7, 57]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_timed_out_is_sent_in_halves_by_the_next_delivery() {
    for (records, half) in [(100, 50), (2, 1)] {
        let running = Scenario::of(0)
            .packed(100)
            .with("CALL_TIMEOUT_MS", "10000")
            .record(0, Behavior::Hang)
            .deadline(Some(Duration::from_secs(15)))
            .start();
        running.invoke(0..records).await.unwrap();
        running.seen.lock().unwrap().calls.clear();
        running.invoke(0..records).await.unwrap();
        let sizes = running.seen.lock().unwrap().sizes();
        assert_eq!(sizes[..2], [half, half], "{sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn halving_does_not_wait_for_a_slow_call() {
    // Records 0 to 9 are the first request, and 10 to 19 the slow one. The third one is the evidence.
    let running = Scenario::of(0)
        .packed(10)
        .with("CAPACITY", "2")
        .record(3, REFUSED)
        .record(8, REFUSED)
        .record(15, Behavior::PredictAfter(20_000))
        .start();
    let start = tokio::time::Instant::now();
    let response = running.invoke(0..30).await.unwrap();
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!(ran.dead_lettered, [3, 8]);
    for number in [3, 8] {
        let called = ran.seen.times(number)[0] - start;
        assert!(called < Duration::from_secs(1), "{number}: {called:?}");
    }
}
