//! CAPACITY limits the calls of the whole process, not of each concurrent invocation.

use std::collections::HashSet;
use std::time::Duration;

use instream_local::function::{Function, InvocationResult, Line};
use instream_local::setup::Setup;
use instream_local::stream::{self, StreamRecord};

use tokio::time::timeout;

use crate::options;

/// A record that the built-in model predicts.
pub(crate) const RECORD: &[u8] = br#"{"time":"2026-03-14T12:00:00Z","amount":1,"merchant_category":"fuel","country":"DE","card_country":"DE","source_address":"192.0.2.1"}"#;

#[tokio::test]
async fn two_concurrent_invocations_share_the_capacity() {
    // With one thread and with several. The function derives the number of threads from its memory size, as in Lambda.
    for memory_mb in ["512", "10240"] {
        for capacity in [1, 8, 64] {
            check_shared_capacity(capacity, memory_mb).await;
        }
    }
}

async fn check_shared_capacity(capacity: u64, memory_mb: &str) {
    let settings = [
        ("CAPACITY", &*capacity.to_string()),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "2"),
        ("METRICS", "off"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb),
    ];
    let Setup {
        endpoint,
        launch,
        mut lines,
    } = Setup::new(options(&settings)).await.unwrap();
    let endpoint = endpoint.unwrap();
    let function = Function::start(&launch).await.unwrap();
    drop(launch);
    let records: Vec<_> = (1..=200)
        .map(|number| StreamRecord::from_line(number, RECORD, 0))
        .collect();
    let (first, second) = records.split_at(100);
    // While the endpoint holds the calls, they accumulate up to the capacity. Without a limit, they would exceed it.
    endpoint.hold();
    let full = async {
        // Only a guard: without it, a lost permit would hang the test.
        let reached = timeout(Duration::from_mins(1), endpoint.in_flight_reaches(capacity)).await;
        reached.expect("calls in flight reach the capacity");
        endpoint.release();
    };
    let (first, second, ()) = tokio::join!(
        function.invoke(stream::event(first)),
        function.invoke(stream::event(second)),
        full
    );
    let finished = InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into());
    assert_eq!((&first, &second), (&finished, &finished));
    assert_eq!(endpoint.most_in_flight(), capacity, "{memory_mb} MB");
    assert_eq!(endpoint.calls(), 200);
    function.stop().await;
    assert_eq!(count_runs(&mut lines).await, 2, "lines of two invocations do not mix");
}

/// Reads 200 different predictions of two batches. Returns the number of runs of lines of the same batch: two, if the
/// batches do not mix.
async fn count_runs(lines: &mut tokio::sync::mpsc::UnboundedReceiver<Line>) -> usize {
    let mut seen = HashSet::new();
    let mut batches = Vec::new();
    while let Some(line) = lines.recv().await {
        if let Line::Output(line) = line {
            let envelope: serde_json::Value = serde_json::from_str(&line).unwrap();
            let number: u64 = envelope["partitionKey"]
                .as_str()
                .unwrap()
                .strip_prefix("line-")
                .unwrap()
                .parse()
                .unwrap();
            assert!(seen.insert(number), "line {number} was delivered twice");
            batches.push(number > 100);
        }
    }
    assert_eq!(seen.len(), 200);
    batches.dedup();
    batches.len()
}
