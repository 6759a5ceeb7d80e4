//! The function's processes: how they are reused, replaced and killed. This test binary is also the function.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use instream_local::environment::Settings;
use instream_local::function::{InvocationResult, Launch, Line, Program};
use instream_local::processes::{Counts, Disruptions, Processes};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

const REPLY: &[u8] = b"{}";
const HANG: &[u8] = br#"{"hang":true}"#;

/// A test that passes at once, except when the emulated Lambda starts it: then it is the function. It reports its
/// process ID, on standard output when it starts and as its response.
#[tokio::test]
async fn function() {
    if !std::env::vars().any(|(name, _)| name == "AWS_LAMBDA_RUNTIME_API") {
        return;
    }
    println!("\nprocess {}", std::process::id());
    let handler = async |event: LambdaEvent<Value>| {
        if event.payload["hang"] == true {
            std::future::pending::<()>().await;
        }
        Ok::<_, std::io::Error>(json!(std::process::id()))
    };
    lambda_runtime::run(service_fn(handler)).await.unwrap();
}

fn launch() -> (Launch, mpsc::UnboundedReceiver<Line>) {
    let (sender, lines) = mpsc::unbounded_channel();
    let own = std::env::current_exe().unwrap();
    let environment = Settings::from(
        [
            ("AWS_LAMBDA_FUNCTION_NAME", "itself"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let launch = Launch {
        program: Program::Shell(format!("'{}' --exact function --nocapture", own.display())),
        environment,
        timeout: Duration::from_mins(1),
        lines: sender,
    };
    (launch, lines)
}

/// Returns the ID of the process that has replied.
fn process(result: InvocationResult) -> u32 {
    match result {
        InvocationResult::Response(response) => serde_json::from_slice(&response).unwrap(),
        InvocationResult::Error(_) | InvocationResult::TimedOut(_) | InvocationResult::Exited(_) => {
            panic!("{result:?}")
        }
    }
}

/// Waits until all processes have ended, and returns the IDs of those that had started.
async fn all_started(mut lines: mpsc::UnboundedReceiver<Line>) -> Vec<u32> {
    let mut processes = Vec::new();
    // Only a guard: the lines of a process that keeps running do not end.
    let mut next = async || timeout(Duration::from_mins(1), lines.recv()).await;
    while let Some(line) = next().await.expect("all processes end") {
        if let Line::Output(line) = line
            && let Some(process) = line.strip_prefix("process ")
        {
            processes.push(process.parse().unwrap());
        }
    }
    processes
}

#[tokio::test]
async fn each_invocation_has_its_own_process_and_the_one_used_last_is_used_next() {
    let (launch, lines) = launch();
    let processes = Processes::start(launch, Disruptions::default()).await.unwrap();
    let replied = RefCell::new(Vec::new());
    let invoke = async || {
        let result = processes.invoke(Bytes::from_static(REPLY)).await;
        replied.borrow_mut().push(process(result));
    };
    tokio::join!(invoke(), invoke());
    invoke().await;
    invoke().await;
    let replied = replied.into_inner();
    let [first, second, others @ ..] = &*replied else {
        panic!("{replied:?}");
    };
    assert_ne!(first, second);
    assert_eq!(others, [*second, *second]);
    assert_eq!(processes.counts(), Counts { started: 2, killed: 0 });
    processes.stop().await;
    assert_eq!(all_started(lines).await.len(), 2);
}

#[tokio::test]
async fn a_fresh_process_replies_after_one_was_killed() {
    let (launch, lines) = launch();
    let disruptions = Disruptions {
        kill: 1.0,
        kills_max: Some(1),
        seed: 1,
        ..Disruptions::default()
    };
    let processes = Processes::start(launch, disruptions).await.unwrap();
    let result = processes.invoke(Bytes::from_static(HANG)).await;
    assert_eq!(result, InvocationResult::Exited("killed on purpose".to_owned()));
    let second = process(processes.invoke(Bytes::from_static(REPLY)).await);
    assert_eq!(processes.counts(), Counts { started: 2, killed: 1 });
    processes.stop().await;
    let started = all_started(lines).await;
    assert_eq!(started.len(), 2, "the output of the killed process is read");
    assert_eq!(started.last(), Some(&second));
}

#[tokio::test]
async fn a_fresh_process_replaces_a_warm_one() {
    let (launch, lines) = launch();
    let disruptions = Disruptions {
        fresh: 1.0,
        ..Disruptions::default()
    };
    let processes = Processes::start(launch, disruptions).await.unwrap();
    let mut replied = HashSet::new();
    for _ in 0..3 {
        replied.insert(process(processes.invoke(Bytes::from_static(REPLY)).await));
    }
    assert_eq!(replied.len(), 3);
    assert_eq!(processes.counts(), Counts { started: 4, killed: 0 });
    processes.stop().await;
    // The lines end only when all processes have ended.
    assert_eq!(all_started(lines).await.len(), 4);
}
