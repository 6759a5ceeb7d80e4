//! What is delivered is a prefix of the batch, and only what was delivered is finished.

use instream::endpoint::FaultKind;

use crate::support::{Does, Scenario};

#[tokio::test(start_paused = true)]
async fn only_the_finished_prefix_is_delivered() {
    let scenario = Scenario::of(8)
        .record(1, Does::Fail(FaultKind::Refused))
        .record(4, Does::Fail(FaultKind::Overload));
    let ran = scenario.record(6, Does::Fail(FaultKind::Refused)).run().await;
    ran.comes_again_from(4);
    assert_eq!(ran.predicted, [0, 2, 3]);
    assert_eq!(
        ran.dead_lettered,
        [1],
        "record 6 is behind the checkpoint and comes again"
    );
}

#[tokio::test(start_paused = true)]
async fn output_refuses_the_predictions() {
    let ran = Scenario::of(3).broken_output().run().await;
    ran.comes_again_from(0);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_refuses_a_record() {
    let ran = Scenario::of(3)
        .broken_dead_letter()
        .record(1, Does::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.comes_again_from(1);
    assert_eq!(ran.predicted, [0], "what comes again is not delivered yet");
}
