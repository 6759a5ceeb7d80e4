//! `OUTPUT_MODE=unordered`: finished records are delivered once, even if an earlier record is unfinished.

use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};

#[tokio::test(start_paused = true)]
async fn finished_records_are_delivered_past_an_unfinished_record() {
    let scenario = Scenario::of(6).with("OUTPUT_MODE", "unordered");
    let scenario = scenario.record(2, Behavior::Fail(FaultKind::Suspect));
    let ran = scenario.record(4, Behavior::Fail(FaultKind::Refused)).run().await;
    ran.assert_redelivered_from(2);
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 1, 3, 5], vec![4]));
}

#[tokio::test(start_paused = true)]
async fn records_delivered_after_the_checkpoint_are_not_delivered_again() {
    let scenario = Scenario::of(0).with("OUTPUT_MODE", "unordered");
    let scenario = scenario.attempts(2, &[Behavior::Fail(FaultKind::Suspect); 3]);
    let running = scenario.record(4, Behavior::Fail(FaultKind::Refused)).start();
    let response = running.deliver_repeatedly(0..6, 2).await;
    let ran = running.finish(response);
    ran.assert_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 1, 3, 5, 2], vec![4]));
    for number in [0, 1, 3, 5] {
        assert_eq!(
            ran.seen.attempts(number),
            1 + usize::from(number == 0) * 2,
            "record 0 is the probe"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_refuses_predictions_does_not_hold_back_dead_letters() {
    let scenario = Scenario::of(4).with("OUTPUT_MODE", "unordered").broken_output();
    let ran = scenario.record(2, Behavior::Fail(FaultKind::Refused)).run().await;
    ran.assert_redelivered_from(0);
    assert_eq!(ran.dead_lettered, [2]);
}
