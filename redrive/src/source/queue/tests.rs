use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use instream_local::server::Server;
use serde_json::{Value, json};

use super::super::Source;
use super::super::journal::Journal;
use super::super::recognise::{Recognised, recognise};
use super::super::test_run::{redrive, settings};
use super::*;

/// The calls that a queue has received, and the messages that it still returns.
#[derive(Default)]
struct QueueState {
    calls: Vec<(String, Value)>,
    /// The messages of each receive, in this order.
    receives: std::collections::VecDeque<Vec<Value>>,
}

/// A queue on this machine that returns these messages.
async fn queue(receives: impl IntoIterator<Item = Vec<Value>>) -> (Server, Arc<Mutex<QueueState>>) {
    let state = Arc::new(Mutex::new(QueueState {
        receives: receives.into_iter().collect(),
        ..QueueState::default()
    }));
    let shared = Arc::clone(&state);
    let answer = move |headers: HeaderMap, body: bytes::Bytes| {
        let target = headers["x-amz-target"].to_str().unwrap();
        let call = target.rsplit('.').next().unwrap().to_owned();
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match &*call {
            "ReceiveMessage" => json!({"Messages": state.receives.pop_front().unwrap_or_default()}),
            _ => json!({"Successful": [], "Failed": []}),
        };
        state.calls.push((call, serde_json::from_slice(&body).unwrap()));
        async move { answer.to_string() }
    };
    let router = Router::new().fallback(post(answer));
    (Server::start(0, router).await.unwrap(), state)
}

fn message(id: &str, receipt: &str, body: &str) -> Value {
    json!({"MessageId": id, "ReceiptHandle": receipt, "Body": body, "Attributes": {"SentTimestamp": "1000"}})
}

const LETTER: &str = r#"{"eventId":"shardId-0:7","partitionKey":"k","reason":{"kind":"Refused"},"data":"aGk="}"#;
const EMPTY: &str = r#"{"KinesisBatchInfo":{"shardId":"s","startSequenceNumber":"7","endSequenceNumber":"9",
    "batchSize":2,"streamArn":"arn"},"payload":"{\"Records\":[]}"}"#;

fn url(server: &Server) -> String {
    format!("http://{}/1/dead", server.address)
}

fn receipts(state: &Mutex<QueueState>, call: &str) -> Vec<String> {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let bodies = state
        .calls
        .iter()
        .filter(|(name, _)| name == call)
        .map(|(_, body)| body);
    let entries = bodies.flat_map(|body| body["Entries"].as_array().unwrap());
    let mut receipts: Vec<_> = entries
        .map(|entry| entry["ReceiptHandle"].as_str().unwrap().to_owned())
        .collect();
    receipts.sort();
    receipts
}

#[tokio::test]
async fn a_dry_run_deletes_no_messages_and_no_run_deletes_a_message_without_records() {
    let path = std::env::temp_dir().join(format!("instream-queue-dry-{}", std::process::id()));
    let Recognised::DeadLetters(letters, 0) = recognise(LETTER, &Origin::default()) else {
        panic!()
    };
    let mut journal = Journal::open(&path, false).unwrap();
    journal.record_intent(&letters).unwrap();
    journal.record_outcome(&[&letters[0]], &[]).unwrap();
    drop(journal);
    for (yes, deleted, shown) in [(false, &[][..], &["r1", "r2"][..]), (true, &["r1"], &["r2"])] {
        let (server, state) = queue([vec![message("m1", "r1", LETTER), message("m2", "r2", EMPTY)]]).await;
        let summary = redrive(Source::Queue(url(&server)), &path, settings("SQS", &server), yes).await;
        assert_eq!(
            (summary.counts.done_before, summary.counts.unreadable),
            (1, 1),
            "{summary}"
        );
        assert_eq!(receipts(&state, "DeleteMessageBatch"), deleted, "{yes}");
        assert_eq!(receipts(&state, "ChangeMessageVisibilityBatch"), shown, "{yes}");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_message_that_is_received_again_is_deleted_with_its_newest_receipt() {
    let twice = ["old", "new"].map(|receipt| vec![message("m1", receipt, LETTER)]);
    let (server, state) = queue(twice).await;
    let mut queue = Queue::open(&Services::new(settings("SQS", &server)), &url(&server), 60, false).await;
    let Some(SourceItem::Text { origin, .. }) = queue.next().await else {
        panic!()
    };
    assert!(matches!(queue.next().await, Some(SourceItem::Pause)));
    let held_message = origin.held_message.unwrap();
    held_message.set_record_count(1);
    held_message.count_succeeded();
    drop(held_message);
    queue.delete_done().await.unwrap();
    assert_eq!(receipts(&state, "DeleteMessageBatch"), ["new"]);
}
