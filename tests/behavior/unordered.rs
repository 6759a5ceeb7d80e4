//! `OUTPUT_MODE=unordered`: what is finished is delivered, whatever lies before it, and delivered once.

use instream::endpoint::FaultKind;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn what_is_finished_is_delivered_though_a_record_before_it_is_not() {
    let scenario = Scenario::of(6).with("OUTPUT_MODE", "unordered");
    let scenario = scenario.record(2, Does::Fail(FaultKind::Suspect));
    let ran = scenario.record(4, Does::Fail(FaultKind::Refused)).run().await;
    ran.comes_again_from(2);
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 1, 3, 5], vec![4]));
}

#[tokio::test(start_paused = true)]
async fn what_was_delivered_behind_the_checkpoint_is_not_delivered_again() {
    let scenario = Scenario::of(0).with("OUTPUT_MODE", "unordered");
    let scenario = scenario.attempts(2, &[Does::Fail(FaultKind::Suspect); 3]);
    let running = scenario.record(4, Does::Fail(FaultKind::Refused)).start();
    let answer = running.deliver_again(0..6, 2).await;
    let ran = running.ran(answer);
    ran.is_finished();
    assert_eq!((ran.predicted, ran.dead_lettered), (vec![0, 1, 3, 5, 2], vec![4]));
    assert_eq!(ran.seen.calls.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_refuses_does_not_keep_dead_letters_back() {
    let scenario = Scenario::of(4).with("OUTPUT_MODE", "unordered").broken_output();
    let ran = scenario.record(2, Does::Fail(FaultKind::Refused)).run().await;
    ran.comes_again_from(0);
    assert_eq!(ran.dead_lettered, [2]);
}
