//! The function answers before Lambda ends it, and leaves no call behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use instream_local::function::{Answer, Function, Program};
use instream_local::setup::Setup;
use instream_local::stream::{self, StreamRecord};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::capacity::RECORD;
use crate::options;

/// Twenty records; the calls for the last ten are never answered.
fn records() -> Vec<StreamRecord> {
    let marked = String::from_utf8_lossy(RECORD).replacen('{', "{\"$fault\":\"always hang\",", 1);
    let data = |number| if number > 10 { marked.as_bytes() } else { RECORD };
    (1..=20)
        .map(|number| StreamRecord::from_line(number, data(number), 0))
        .collect()
}

fn named(record: &StreamRecord) -> Answer {
    let number = &record.sequence_number;
    Answer::Response(format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{number}"}}]}}"#).into())
}

#[tokio::test]
async fn the_deadline_nears() {
    let settings = [("CALL_TIMEOUT_MS", "70000")];
    let mut options = options(&settings);
    options.timeout = Duration::from_secs(3);
    let Setup { endpoint, launch, .. } = Setup::new(options).await.unwrap();
    let endpoint = endpoint.unwrap();
    let function = Function::start(&launch).await.unwrap();
    let records = records();
    // An answer after the deadline would be none: `TimedOut`.
    assert_eq!(function.invoke(stream::event(&records)).await, named(&records[10]));
    assert_eq!(endpoint.calls(), 20);
    // Only a guard: a call that went on would hang the test.
    let ended = timeout(Duration::from_mins(1), endpoint.in_flight_ends()).await;
    ended.expect("the calls in flight were cut");
    // The process is not the worse for it.
    let finished = Answer::Response(r#"{"batchItemFailures":[]}"#.into());
    assert_eq!(function.invoke(stream::event(&records[..10])).await, finished);
    function.stop().await;
}

#[tokio::test]
async fn the_deadline_is_unknown() {
    let settings = [("CALL_TIMEOUT_MS", "70000"), ("INVOCATION_BUDGET_MS", "4000")];
    let setup = Setup::new(options(&settings)).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let records = records();
    let answer = function.invoke_without_deadline(stream::event(&records)).await;
    assert_eq!(answer, named(&records[10]));
    function.stop().await;
}

#[tokio::test]
async fn nobody_reads_the_output_and_the_function_answers_all_the_same() {
    let fifo = Fifo::new().await;
    let mut options = options(&[]);
    let binary = env!("CARGO_BIN_EXE_instream");
    options.program = Some(Program::Shell(format!("{binary} >{}", fifo.path.display())));
    let setup = Setup::new(options).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, RECORD, 0);
    for _ in 0..2 {
        // Were there no end to delivery, the answer would not come at all.
        let answer = function
            .invoke_within(stream::event([&record]), Duration::from_secs(2))
            .await;
        assert_eq!(answer, named(&record));
    }
    function.stop().await;
}

/// A named pipe that is full and not read, gone when dropped.
struct Fifo {
    path: PathBuf,
    _reader: pipe::Receiver,
}

impl Fifo {
    async fn new() -> Self {
        let path = std::env::temp_dir().join(format!("instream-fifo-{}", std::process::id()));
        _ = std::fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        let writer = pipe::OpenOptions::new().open_sender(&path).unwrap();
        writer.writable().await.unwrap();
        while writer.try_write(&[b'\n'; 1]).is_ok() {}
        Self { path, _reader: reader }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}
