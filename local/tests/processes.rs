//! The function's processes: how they are used again, replaced and killed. The function is this test itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use instream_local::environment::Settings;
use instream_local::function::{Answer, Launch, Line, Program};
use instream_local::processes::{Counts, Mishaps, Processes};
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ANSWER: &[u8] = b"{}";
const HANG: &[u8] = br#"{"hang":true}"#;

/// Not a test where Lambda starts it, but a function: it tells its process, when it starts and as its answer.
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

/// The process that has answered.
fn process(answer: Answer) -> u32 {
    match answer {
        Answer::Response(response) => serde_json::from_slice(&response).unwrap(),
        Answer::Error(_) | Answer::TimedOut(_) | Answer::Exited(_) => panic!("{answer:?}"),
    }
}

/// The processes that have started, once all have ended.
async fn all_started(mut lines: mpsc::UnboundedReceiver<Line>) -> Vec<u32> {
    let mut processes = Vec::new();
    // Only a guard: the lines of a process that goes on have no end.
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
async fn each_invocation_has_a_process_of_its_own_and_the_one_used_last_is_used_next() {
    let (launch, lines) = launch();
    let processes = Processes::start(launch, Mishaps::default()).await.unwrap();
    let answered = RefCell::new(Vec::new());
    let invoke = async || {
        let answer = processes.invoke(Bytes::from_static(ANSWER)).await;
        answered.borrow_mut().push(process(answer));
    };
    tokio::join!(invoke(), invoke());
    invoke().await;
    invoke().await;
    let answered = answered.into_inner();
    let [first, second, others @ ..] = &*answered else {
        panic!("{answered:?}");
    };
    assert_ne!(first, second);
    assert_eq!(others, [*second, *second]);
    assert_eq!(processes.counts(), Counts { started: 2, killed: 0 });
    processes.stop().await;
    assert_eq!(all_started(lines).await.len(), 2);
}

#[tokio::test]
async fn a_fresh_process_answers_after_one_was_killed() {
    let (launch, lines) = launch();
    let mishaps = Mishaps {
        kill: 1.0,
        kills_max: Some(1),
        seed: 1,
        ..Mishaps::default()
    };
    let processes = Processes::start(launch, mishaps).await.unwrap();
    let answer = processes.invoke(Bytes::from_static(HANG)).await;
    assert_eq!(answer, Answer::Exited("killed on purpose".to_owned()));
    let second = process(processes.invoke(Bytes::from_static(ANSWER)).await);
    assert_eq!(processes.counts(), Counts { started: 2, killed: 1 });
    processes.stop().await;
    let started = all_started(lines).await;
    assert_eq!(started.len(), 2, "what the killed one had written is read");
    assert_eq!(started.last(), Some(&second));
}

#[tokio::test]
async fn a_fresh_process_replaces_a_warm_one() {
    let (launch, lines) = launch();
    let mishaps = Mishaps {
        fresh: 1.0,
        ..Mishaps::default()
    };
    let processes = Processes::start(launch, mishaps).await.unwrap();
    let mut answered = HashSet::new();
    for _ in 0..3 {
        answered.insert(process(processes.invoke(Bytes::from_static(ANSWER)).await));
    }
    assert_eq!(answered.len(), 3);
    assert_eq!(processes.counts(), Counts { started: 4, killed: 0 });
    processes.stop().await;
    // The lines end only when all processes have.
    assert_eq!(all_started(lines).await.len(), 4);
}
