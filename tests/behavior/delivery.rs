//! Delivery: the delivered records are a prefix of the batch, and a record is finished only when it is delivered.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use instream::delivery::destination::Destination;
use instream::delivery::destination::stdout::StdoutLines;
use instream::outcome::FaultKind;

use crate::support::{Behavior, Scenario};

#[tokio::test(start_paused = true)]
async fn only_the_finished_prefix_is_delivered() {
    let scenario = Scenario::of(8)
        .record(1, Behavior::Fail(FaultKind::Refused))
        .record(4, Behavior::Fail(FaultKind::Overload));
    let ran = scenario.record(6, Behavior::Fail(FaultKind::Refused)).run().await;
    ran.assert_redelivered_from(4);
    assert_eq!(ran.predicted, [0, 2, 3]);
    assert_eq!(
        ran.dead_lettered,
        [1],
        "record 6 is after the checkpoint and is redelivered"
    );
}

/// A writer that records the number of lines of each write.
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
    let output = Destination::Stdout(StdoutLines::new(Box::new(Writes(Arc::clone(&writes)))));
    let scenario = Scenario::of(2000).output(output).with("CAPACITY", "10");
    scenario.start().invoke(0..2000).await.unwrap();
    let writes = writes.lock().unwrap();
    assert_eq!(writes.iter().sum::<usize>(), 2000);
    assert!(
        writes.iter().all(|lines| *lines < 1000),
        "lines pile up in memory: {writes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn output_refuses_the_predictions() {
    let ran = Scenario::of(3).broken_output().run().await;
    ran.assert_redelivered_from(0);
}

#[tokio::test(start_paused = true)]
async fn dead_letter_refuses_a_record() {
    let ran = Scenario::of(3)
        .broken_dead_letter()
        .record(1, Behavior::Fail(FaultKind::Refused))
        .run()
        .await;
    ran.assert_redelivered_from(1);
    assert_eq!(ran.predicted, [0], "records to be redelivered are not delivered yet");
}
