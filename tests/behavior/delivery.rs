//! What is delivered is a prefix of the batch, and only what was delivered is finished.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use instream::endpoint::FaultKind;
use instream::output::Output;
use instream::output::stdout::Lines;

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

/// Takes down how many lines each write has.
struct Writes(Arc<Mutex<Vec<usize>>>);

impl Write for Writes {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let lines = std::str::from_utf8(text).unwrap().lines().count();
        self.0.lock().unwrap().push(lines);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_written_before_the_last_call_has_ended() {
    let writes = Arc::default();
    let output = Output::Stdout(Lines::new(Box::new(Writes(Arc::clone(&writes)))));
    let scenario = Scenario::of(2000).output(output).with("CAPACITY", "10");
    scenario.start().invoke(0..2000).await.unwrap();
    let writes = writes.lock().unwrap();
    assert_eq!(writes.iter().sum::<usize>(), 2000);
    assert!(writes.iter().all(|lines| *lines < 1000), "they take memory: {writes:?}");
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
