//! Whole runs, with services of AWS on this machine.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;

use instream_local::environment::Settings;
use instream_local::server::Server;
use serde_json::{Value, json};

use super::{Run, Summary, Target, run};

mod aws;

use aws::{Aws, aws};

/// The settings with which `server` is all of AWS.
pub(crate) fn settings(server: &Server) -> Settings {
    let url = format!("http://{}", server.address);
    Settings::from([("AWS_ENDPOINT_URL".to_owned(), url)])
}

/// The files of one test, deleted at its end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("instream-run-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes dead letters to a file, and returns its name.
    pub(crate) fn write(&self, lines: &[String]) -> String {
        let path = self.0.join("letters.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    }

    /// Returns a run without retries, whose journal is in this folder.
    pub(crate) fn run(&self, source: &str, settings: Settings) -> Run {
        Run {
            sources: vec![source.to_owned()],
            yes: true,
            reasons: Vec::new(),
            limit: None,
            again: false,
            batch_size: 100,
            max_retries: 0,
            stop_after: 2,
            journal: None,
            folder: self.0.clone(),
            settings,
        }
    }

    /// Redrives a source to a stream.
    pub(crate) async fn to_stream(&self, source: &str, server: &Server) -> Summary {
        let target = Target::Stream("target".to_owned());
        run(self.run(source, settings(server)), target).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Returns a dead letter of the record with this sequence number and partition key.
fn letter(number: usize, partition_key: &str) -> String {
    let reason = json!({"kind": "Refused", "message": "no"});
    let event_id = format!("shardId-0:{number}");
    json!({"eventId": event_id, "partitionKey": partition_key, "reason": reason, "data": "aGk="}).to_string()
}

fn message(id: &str, receipt: &str, body: &str) -> Value {
    json!({"MessageId": id, "ReceiptHandle": receipt, "Body": body})
}

fn queue(server: &Server) -> String {
    format!("sqs:http://{}/1/dead", server.address)
}

#[tokio::test]
async fn a_record_that_was_rejected_again_is_sent_by_its_new_dead_letter() {
    let folder = Folder::new("rejected");
    let (server, aws) = aws(Aws::default()).await;
    // The function overwrites the object. Its text is the same.
    for (written, sent) in [
        ("Mon, 30 Nov 2026 17:00:00 GMT", 1),
        ("Mon, 30 Nov 2026 17:00:00 GMT", 0),
        ("Mon, 30 Nov 2026 17:00:01 GMT", 1),
    ] {
        aws.lock().unwrap().object = (letter(7, "k"), written);
        let summary = folder.to_stream("s3://dead/letters", &server).await;
        assert_eq!(
            (summary.counts.sent, summary.counts.done_before),
            (sent, 1 - sent),
            "{summary}"
        );
        assert!(summary.is_complete(), "{summary}");
    }
    // In a file, it is in another line.
    for (lines, sent) in [(1, 1), (2, 1), (2, 0)] {
        let summary = folder
            .to_stream(&folder.write(&vec![letter(7, "k"); lines]), &server)
            .await;
        assert_eq!(summary.counts.sent, sent, "{summary}");
    }
    // In a queue, it is in another message.
    for (id, sent) in [("m1", 1), ("m1", 0), ("m2", 1)] {
        aws.lock()
            .unwrap()
            .receives
            .push_back(vec![message(id, id, &letter(7, "k"))]);
        let summary = folder.to_stream(&queue(&server), &server).await;
        assert_eq!(summary.counts.sent, sent, "{summary}");
    }
    assert_eq!(aws.lock().unwrap().receipts("DeleteMessageBatch"), ["m1", "m1", "m2"]);
}

#[tokio::test]
async fn a_run_sends_a_record_once_even_if_it_is_rejected_to_the_queue_that_is_read() {
    let folder = Folder::new("once");
    let receives = ["m1", "m2"].map(|id| vec![message(id, id, &letter(7, "k"))]);
    let (server, aws) = aws(Aws {
        receives: receives.into(),
        ..Aws::default()
    })
    .await;
    let summary = folder.to_stream(&queue(&server), &server).await;
    assert_eq!((summary.counts.sent, summary.counts.repeated), (1, 1), "{summary}");
    assert_eq!(aws.lock().unwrap().receipts("DeleteMessageBatch"), ["m1"]);
    assert_eq!(aws.lock().unwrap().receipts("ChangeMessageVisibilityBatch"), ["m2"]);
}

#[tokio::test]
async fn the_journal_of_another_target_skips_nothing() {
    let folder = Folder::new("targets");
    let (server, _) = aws(Aws::default()).await;
    let source = folder.write(&[letter(7, "k")]);
    let other_profile = ("AWS_PROFILE".to_owned(), "staging".to_owned());
    let mut other_settings = settings(&server);
    other_settings.extend([other_profile]);
    let name = || "target".to_owned();
    for (target, settings) in [
        (Target::Stream(name()), settings(&server)),
        (Target::Stream("another".to_owned()), settings(&server)),
        (Target::Stream(name()), other_settings),
        (Target::Deployed(name()), settings(&server)),
    ] {
        for sent in [1, 0] {
            let summary = run(folder.run(&source, settings.clone()), target.clone())
                .await
                .unwrap();
            assert_eq!(summary.counts.sent, sent, "{summary}");
        }
    }
    let mut again = folder.run(&source, settings(&server));
    again.again = true;
    let summary = run(again, Target::Stream(name())).await.unwrap();
    assert_eq!(summary.counts.sent, 1, "{summary}");
}

#[tokio::test]
async fn a_message_stays_in_its_queue_until_all_its_records_have_succeeded() {
    let folder = Folder::new("message");
    let entries = ["a", "b"].map(|key| json!({"kinesis": {"sequenceNumber": key, "partitionKey": key, "data": ""}}));
    let batch = json!({"shardId": "s", "startSequenceNumber": "a", "endSequenceNumber": "b", "batchSize": 2,
        "streamArn": "arn"});
    let whole = json!({"KinesisBatchInfo": batch, "payload": {"Records": entries}}).to_string();
    let empty = json!({"KinesisBatchInfo": batch, "payload": {"Records": []}}).to_string();
    let (server, aws) = aws(Aws::default()).await;
    for (refused, taken, deleted, shown) in [
        (Some("b"), &["a", "b", "b"][..], &[][..], &["r1", "r2"][..]),
        // Only the record that failed is sent again.
        (None, &["b"], &["r1"], &["r2"]),
    ] {
        let messages = vec![message("m1", "r1", &whole), message("m2", "r2", &empty)];
        *aws.lock().unwrap() = Aws {
            receives: VecDeque::from([messages]),
            refused: refused.map(str::to_owned).into_iter().collect(),
            ..Aws::default()
        };
        let summary = folder.to_stream(&queue(&server), &server).await;
        let aws = aws.lock().unwrap();
        assert_eq!(aws.taken, taken, "{summary}");
        assert_eq!(aws.receipts("DeleteMessageBatch"), deleted, "{summary}");
        assert_eq!(aws.receipts("ChangeMessageVisibilityBatch"), shown, "{summary}");
        assert_eq!(summary.counts.unreadable, 1, "no record: {summary}");
    }
}

#[tokio::test]
async fn a_message_that_is_received_again_is_deleted_with_its_newest_receipt() {
    let folder = Folder::new("receipt");
    let receives = ["old", "new"].map(|receipt| vec![message("m1", receipt, &letter(7, "k"))]);
    let (server, aws) = aws(Aws {
        receives: receives.into(),
        ..Aws::default()
    })
    .await;
    let summary = folder.to_stream(&queue(&server), &server).await;
    assert_eq!((summary.counts.sent, summary.counts.repeated), (1, 0), "{summary}");
    assert_eq!(aws.lock().unwrap().receipts("DeleteMessageBatch"), ["new"]);
}

#[tokio::test]
async fn a_dry_run_sends_deletes_and_writes_nothing() {
    let folder = Folder::new("dry");
    let receives = VecDeque::from([vec![
        message("m1", "r1", &letter(7, "k")),
        message("m2", "r2", "broken"),
    ]]);
    let (server, aws) = aws(Aws {
        receives,
        ..Aws::default()
    })
    .await;
    let mut dry = folder.run(&queue(&server), settings(&server));
    dry.yes = false;
    let summary = run(dry, Target::Stream("target".to_owned())).await.unwrap();
    assert_eq!((summary.survey.records, summary.counts.unreadable), (1, 1), "{summary}");
    assert_eq!(summary.survey.reasons["Refused"], 1);
    let aws = aws.lock().unwrap();
    assert!(
        aws.calls
            .iter()
            .all(|(operation, _)| operation.ends_with("ReceiveMessage") || operation.starts_with("Change"))
    );
    assert_eq!(aws.receipts("ChangeMessageVisibilityBatch"), ["r1", "r2"]);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[tokio::test]
async fn one_poison_record_among_100_stops_nothing() {
    let folder = Folder::new("poison");
    let letters: Vec<_> = (0..100)
        .map(|number| letter(number, if number == 41 { "poison" } else { "good" }))
        .collect();
    let refused = BTreeSet::from(["poison".to_owned()]);
    let (server, _) = aws(Aws {
        refused,
        ..Aws::default()
    })
    .await;
    let source = folder.write(&letters);
    for (target, finished) in [("target", 99), ("target", 0)] {
        let run_of = folder.run(&source, settings(&server));
        let summary = run(run_of, Target::Deployed(target.to_owned())).await.unwrap();
        let counts = &summary.counts;
        assert_eq!(
            (counts.finished, counts.unfinished, counts.not_tried),
            (finished, 1, 0),
            "{summary}"
        );
        assert!(!summary.given_up && !summary.is_complete(), "{summary}");
    }
}

#[tokio::test]
async fn a_run_ends_in_an_outage_and_the_next_run_sends_the_rest() {
    let folder = Folder::new("outage");
    let letters: Vec<_> = (0..100).map(|number| letter(number, "good")).collect();
    let refused = BTreeSet::from(["good".to_owned()]);
    let (server, aws) = aws(Aws {
        refused,
        ..Aws::default()
    })
    .await;
    let source = folder.write(&letters);
    let outage = folder.to_stream(&source, &server).await;
    assert!(outage.given_up && outage.counts.unfinished == 2, "{outage}");
    assert_eq!(outage.counts.not_tried, 98);
    aws.lock().unwrap().refused.clear();
    let rest = folder.to_stream(&source, &server).await;
    assert!(rest.counts.finished == 100 && rest.is_complete(), "{rest}");
}
