use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};

use super::super::journal::Journal;
use super::super::recognise::{Recognised, recognise};
use super::super::{Patience, Redrive, Selection, Source, Summary, Target, run};
use super::*;
use crate::environment::Settings;
use crate::server::Server;

/// What a queue was asked for, and what it still holds.
#[derive(Default)]
struct Asked {
    calls: Vec<(String, Value)>,
    /// Messages for each receive, one answer after the other.
    answers: std::collections::VecDeque<Vec<Value>>,
}

/// A queue on this machine that answers so.
async fn queue(answers: impl IntoIterator<Item = Vec<Value>>) -> (Server, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked {
        answers: answers.into_iter().collect(),
        ..Asked::default()
    }));
    let shared = Arc::clone(&asked);
    let answer = move |headers: HeaderMap, body: bytes::Bytes| {
        let target = headers["x-amz-target"].to_str().unwrap();
        let call = target.rsplit('.').next().unwrap().to_owned();
        let mut asked = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match &*call {
            "ReceiveMessage" => json!({"Messages": asked.answers.pop_front().unwrap_or_default()}),
            _ => json!({"Successful": [], "Failed": []}),
        };
        asked.calls.push((call, serde_json::from_slice(&body).unwrap()));
        async move { answer.to_string() }
    };
    let router = Router::new().fallback(post(answer));
    (Server::start(0, router).await.unwrap(), asked)
}

fn message(id: &str, receipt: &str, body: &str) -> Value {
    json!({"MessageId": id, "ReceiptHandle": receipt, "Body": body, "Attributes": {"SentTimestamp": "1000"}})
}

const LETTER: &str = r#"{"eventId":"shardId-0:7","partitionKey":"k","reason":{"kind":"Refused"},"data":"aGk="}"#;
const EMPTY: &str = r#"{"KinesisBatchInfo":{"shardId":"s","startSequenceNumber":"7","endSequenceNumber":"9",
    "batchSize":2,"streamArn":"arn"},"payload":"{\"Records\":[]}"}"#;

fn settings(server: &Server) -> Settings {
    Settings::from([("AWS_ENDPOINT_URL_SQS".to_owned(), format!("http://{}", server.address))])
}

/// A run over the queue whose journal knows the letter.
async fn run_with_journal(server: &Server, journal: PathBuf, yes: bool) -> Summary {
    let redrive = Redrive {
        sources: vec![Source::Queue(format!("http://{}/1/dead", server.address))],
        selection: Selection::default(),
        target: Target::Stream("stream".to_owned()),
        yes,
        batch_size: 10,
        patience: Patience {
            max_retries: 0,
            stop_after: 1,
            hidden_s: 60,
        },
        journal: Some(journal),
        folder: std::env::temp_dir(),
        settings: settings(server),
    };
    run(redrive).await.unwrap()
}

fn receipts(asked: &Mutex<Asked>, call: &str) -> Vec<String> {
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let bodies = asked
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
async fn a_dry_run_deletes_nothing_and_no_run_deletes_what_holds_no_record() {
    let path = std::env::temp_dir().join(format!("instream-queue-dry-{}", std::process::id()));
    let Recognised::Letters(letters, 0) = recognise(LETTER, &Origin::default()) else {
        panic!()
    };
    let mut journal = Journal::open(&path, false).unwrap();
    journal.intend(&letters).unwrap();
    journal.ended(&[&letters[0]], &[]).unwrap();
    drop(journal);
    for (yes, deleted, shown) in [(false, &[][..], &["r1", "r2"][..]), (true, &["r1"], &["r2"])] {
        let (server, asked) = queue([vec![message("m1", "r1", LETTER), message("m2", "r2", EMPTY)]]).await;
        let summary = run_with_journal(&server, path.clone(), yes).await;
        assert_eq!(
            (summary.counts.done_before, summary.counts.unreadable),
            (1, 1),
            "{summary}"
        );
        assert_eq!(receipts(&asked, "DeleteMessageBatch"), deleted, "{yes}");
        assert_eq!(receipts(&asked, "ChangeMessageVisibilityBatch"), shown, "{yes}");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_message_that_comes_again_is_deleted_by_its_newest_receipt() {
    let twice = ["old", "new"].map(|receipt| vec![message("m1", receipt, LETTER)]);
    let (server, asked) = queue(twice).await;
    let url = format!("http://{}/1/dead", server.address);
    let mut queue = Queue::open(&Services::new(settings(&server)), &url, 60, false).await;
    let Some(Found::Text { origin, .. }) = queue.next().await else {
        panic!()
    };
    assert!(matches!(queue.next().await, Some(Found::Pause)));
    let ticket = origin.ticket.unwrap();
    ticket.holds(1);
    ticket.one_has_gone_through();
    drop(ticket);
    queue.settle().await.unwrap();
    assert_eq!(receipts(&asked, "DeleteMessageBatch"), ["new"]);
}
