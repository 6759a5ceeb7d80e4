//! The function responds before Lambda stops it, and cancels its calls.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use instream_local::function::{Function, InvocationResult, Program};
use instream_local::setup::Setup;
use instream_local::stream::{self, StreamRecord};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::capacity::RECORD;
use crate::options;

/// Returns twenty records. The endpoint never answers the calls for the last ten.
fn records() -> Vec<StreamRecord> {
    let marked = String::from_utf8_lossy(RECORD).replacen('{', "{\"$fault\":\"always hang\",", 1);
    let data = |number| if number > 10 { marked.as_bytes() } else { RECORD };
    (1..=20)
        .map(|number| StreamRecord::from_line(number, data(number), 0))
        .collect()
}

/// The response that names `record` as the first unfinished one.
fn naming(record: &StreamRecord) -> InvocationResult {
    let number = &record.sequence_number;
    InvocationResult::Response(format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{number}"}}]}}"#).into())
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
    // A response after the deadline would be `TimedOut`.
    assert_eq!(function.invoke(stream::event(&records)).await, naming(&records[10]));
    assert_eq!(endpoint.calls(), 20);
    // Only a guard: a call that is not cancelled would hang the test.
    let ended = timeout(Duration::from_mins(1), endpoint.in_flight_ends()).await;
    ended.expect("the calls in flight are cancelled");
    // The process still works.
    let finished = InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into());
    assert_eq!(function.invoke(stream::event(&records[..10])).await, finished);
    function.stop().await;
}

#[tokio::test]
async fn the_deadline_is_unknown() {
    let settings = [("CALL_TIMEOUT_MS", "70000"), ("INVOCATION_BUDGET_MS", "4000")];
    let setup = Setup::new(options(&settings)).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let records = records();
    let result = function.invoke_without_deadline(stream::event(&records)).await;
    assert_eq!(result, naming(&records[10]));
    function.stop().await;
}

#[tokio::test]
async fn the_function_responds_in_time_although_nobody_reads_its_output() {
    let fifo = Fifo::new("output").await;
    let mut options = options(&[]);
    let binary = env!("CARGO_BIN_EXE_instream");
    options.program = Some(Program::Shell(format!("{binary} >{}", fifo.path.display())));
    let setup = Setup::new(options).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, RECORD, 0);
    for _ in 0..2 {
        // If delivery did not stop at the deadline, there would be no response at all.
        let result = function
            .invoke_within(stream::event([&record]), Duration::from_secs(2))
            .await;
        assert_eq!(result, naming(&record));
    }
    function.stop().await;
}

#[tokio::test]
async fn the_function_responds_although_nobody_reads_its_log() {
    let fifo = Fifo::new("log").await;
    let mut options = options(&[]);
    let binary = env!("CARGO_BIN_EXE_instream");
    options.program = Some(Program::Shell(format!("{binary} 2>{}", fifo.path.display())));
    // Far more than the function needs, which waits 100 ms for the log.
    options.timeout = Duration::from_secs(20);
    let setup = Setup::new(options).await.unwrap();
    let function = Function::start(&setup.launch).await.unwrap();
    let record = StreamRecord::from_line(1, RECORD, 0);
    for _ in 0..2 {
        let result = function.invoke(stream::event([&record])).await;
        assert_eq!(result, InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()));
    }
    // The lines that waited are written as soon as there is a reader.
    let mut log = Vec::new();
    while log.windows(14).filter(|text| text == b"batch finished").count() < 2 {
        fifo.reader.readable().await.unwrap();
        _ = fifo.reader.try_read_buf(&mut log);
    }
    function.stop().await;
}

/// A named pipe that is full and that nobody reads. Dropping it deletes it.
struct Fifo {
    path: PathBuf,
    reader: pipe::Receiver,
}

impl Fifo {
    async fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("instream-{name}-{}", std::process::id()));
        _ = std::fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let reader = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        let writer = pipe::OpenOptions::new().open_sender(&path).unwrap();
        writer.writable().await.unwrap();
        while writer.try_write(&[b'\n'; 1]).is_ok() {}
        Self { path, reader }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}
