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
async fn in_an_outage_a_request_is_halved_along_one_path() {
    let running = Scenario::of(0).packed(100).start();
    running.take_down(REFUSED);
    running.invoke(0..100).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(sizes.len() <= 8, "{sizes:?}");
    // After an answer, there is a probe as well.
    running.bring_up();
    running.invoke(0..100).await.unwrap();
    running.take_down(REFUSED);
    running.seen.lock().unwrap().calls.clear();
    running.invoke(100..200).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(sizes.len() <= 9, "{sizes:?}");
    assert!(running.lines().1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn records_that_hang_in_one_request_do_not_cost_a_delivery_each() {
    let mut scenario = Scenario::of(0)
        .packed(100)
        .with("GIVE_UP_AFTER_S", "10")
        .record_age(60.0)
        .deadline(Some(Duration::from_secs(120)));
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
    let running = Scenario::of(0)
        .packed(100)
        .with("CALL_TIMEOUT_MS", "10000")
        .record(3, Behavior::Hang)
        .deadline(Some(Duration::from_secs(15)))
        .start();
    running.invoke(0..100).await.unwrap();
    running.seen.lock().unwrap().calls.clear();
    running.invoke(0..100).await.unwrap();
    let sizes = running.seen.lock().unwrap().sizes();
    assert!(sizes.iter().all(|size| *size <= 50), "{sizes:?}");
}
