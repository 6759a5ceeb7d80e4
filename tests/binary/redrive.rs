//! `cargo redrive`: dead letters of a refusing endpoint, and batches that the mapping discarded, redriven through the
//! real binary.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use instream_local::esm::Mapping;
use instream_local::lambda::Lambda;
use instream_local::packing::Packing;
use instream_local::processes::Disruptions;
use instream_local::setup::Options;
use instream_local::source;
use instream_local::stream_command::Stream;
use instream_redrive::{Run, Summary, Target, run};
use serde_json::Value;

use crate::{options, repository, run_stream};

mod ended;
mod unfinished;

/// The folder of one test, deleted at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("instream-redrive-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Streams transactions through the function. `break_it` changes its options so that records fail. Returns the files
/// with the dead letters and with the batches that the mapping discarded.
async fn broken(folder: &Path, count: usize, packing: Packing, break_it: impl Fn(&mut Options)) -> [PathBuf; 2] {
    let mapping = Mapping {
        batch_size: 40,
        batch_window: Duration::ZERO,
        parallelization_factor: 1,
        max_retries: Some(0),
        max_record_age: None,
        bisect: false,
    };
    let stream = Stream {
        source: source::Source::File {
            path: repository("events/transactions.jsonl"),
            shards: 1,
            packing,
        },
        limit: Some(count),
        mapping,
        folder: folder.join("broken"),
    };
    let mut options = options(&[]);
    break_it(&mut options);
    let disruptions = Disruptions::default();
    let summary = Box::pin(run_stream(stream, Lambda::Spawned { options, disruptions })).await;
    [summary.files.dead_letters, summary.files.on_failure]
}

/// Sets a limit that is too low for all records, so that each is rejected.
fn reject_all(options: &mut Options) {
    options.settings.insert("MAX_PAYLOAD_BYTES".to_owned(), "10".to_owned());
}

/// Returns a file with `count` dead letters, from a function with a wrong setting.
async fn rejected(folder: &Path, count: usize) -> PathBuf {
    let [dead_letters, _] = broken(folder, count, Packing::default(), reject_all).await;
    assert_eq!(lines(&dead_letters).len(), count);
    dead_letters
}

/// Returns a run for the dead letters in `source`, in batches of 20.
fn run_of(folder: &Path, source: &Path) -> Run {
    Run {
        sources: vec![source.display().to_string()],
        yes: true,
        reasons: Vec::new(),
        limit: None,
        again: false,
        batch_size: 20,
        max_retries: 1,
        stop_after: 20,
        journal: None,
        folder: folder.join("redrive"),
        settings: std::collections::HashMap::new(),
    }
}

/// Redrives the dead letters in `source` through the function, with a healthy endpoint.
async fn redrive(folder: &Path, source: &Path) -> Summary {
    run(run_of(folder, source), Target::Local(options(&[]))).await.unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path())
}

/// Returns the number of predictions of each record, by event identifier and subsequence number.
fn predicted(folder: &Path) -> BTreeMap<(String, u64), usize> {
    counted(&lines(&folder.join("redrive/predictions.jsonl")))
}

fn counted(lines: &[String]) -> BTreeMap<(String, u64), usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let envelope: Value = serde_json::from_str(line).unwrap();
        let event_id = envelope["eventId"].as_str().unwrap().to_owned();
        let number = envelope["subSequenceNumber"].as_u64().unwrap();
        *counts.entry((event_id, number)).or_default() += 1;
    }
    counts
}

/// Returns one prediction for each record of the dead letters in `path`.
fn once_each(path: &Path) -> BTreeMap<(String, u64), usize> {
    let mut counts = counted(&lines(path));
    for count in counts.values_mut() {
        *count = 1;
    }
    counts
}

/// The counts of sent, finished, predicted and rejected records.
fn outcome(summary: &Summary) -> (usize, usize, Option<u64>, Option<u64>) {
    let counts = &summary.counts;
    (counts.sent, counts.finished, summary.predicted, summary.rejected_again)
}

#[tokio::test]
async fn rejected_records_are_predicted_with_their_event_ids_after_the_setting_is_fixed() {
    let folder = Folder::new("mended");
    let dead_letters = rejected(&folder.0, 100).await;
    let summary = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&summary), (100, 100, Some(100), Some(0)), "{summary}");
    assert!(summary.is_complete() && summary.batches == 5, "{summary}");
    assert_eq!(predicted(&folder.0), once_each(&dead_letters));
    let member = |line: &String, name: &str| serde_json::from_str::<Value>(line).unwrap()[name].clone();
    let predictions = lines(&folder.0.join("redrive/predictions.jsonl"));
    for (prediction, dead_letter) in predictions.iter().zip(&lines(&dead_letters)) {
        for name in ["eventId", "partitionKey", "approximateArrivalTimestamp"] {
            assert_eq!(member(prediction, name), member(dead_letter, name));
        }
    }
    for file in files(&folder.0.join("broken")).chain(files(&folder.0.join("redrive"))) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner reads {}", file.display());
    }
    let again = redrive(&folder.0, &dead_letters).await;
    assert_eq!((again.counts.done_before, again.counts.sent), (100, 0), "{again}");
    assert!(again.is_complete());
    assert_eq!(predicted(&folder.0).values().sum::<usize>(), 100);
}

/// Returns the dead letter with one more byte of data.
fn another_record(letter: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    let mut letter: Value = serde_json::from_str(letter).unwrap();
    let mut data = BASE64.decode(letter["data"].as_str().unwrap()).unwrap();
    data.push(b' ');
    letter["data"] = BASE64.encode(data).into();
    letter.to_string()
}

#[tokio::test]
async fn records_with_the_same_event_ids_in_another_file_are_sent_as_well() {
    let folder = Folder::new("same-ids");
    let dead_letters = rejected(&folder.0, 20).await;
    let of_another_file: Vec<_> = lines(&dead_letters).iter().map(|line| another_record(line)).collect();
    let summary = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&summary), (20, 20, Some(20), Some(0)), "{summary}");
    let both = [lines(&dead_letters), of_another_file].concat();
    std::fs::write(&dead_letters, both.join("\n")).unwrap();
    let mut again = run_of(&folder.0, &dead_letters);
    again.again = true;
    for (run_of, sent) in [(run_of(&folder.0, &dead_letters), 20), (again, 40)] {
        let summary = run(run_of, Target::Local(options(&[]))).await.unwrap();
        assert_eq!(
            (summary.counts.sent, summary.counts.finished),
            (sent, sent),
            "{summary}"
        );
        assert!(summary.is_complete() && summary.counts.repeated == 0, "{summary}");
    }
    assert_eq!(predicted(&folder.0).values().sum::<usize>(), 20 + 20 + 40);
}

#[tokio::test]
async fn without_yes_nothing_is_sent_and_nothing_is_written() {
    let folder = Folder::new("dry");
    let dead_letters = rejected(&folder.0, 30).await;
    let before = std::fs::read(&dead_letters).unwrap();
    let mut dry = run_of(&folder.0, &dead_letters);
    dry.yes = false;
    // The run would fail if it started this function.
    let mut options = options(&[]);
    options.program = Some(instream_local::function::Program::Shell("false".to_owned()));
    let summary = run(dry, Target::Local(options)).await.unwrap();
    assert_eq!(summary.survey.records, 30, "{summary}");
    assert_eq!(
        summary.survey.reasons,
        BTreeMap::from([("PayloadTooLarge".to_owned(), 30)])
    );
    assert_eq!(summary.survey.sources.values().sum::<usize>(), 30);
    assert!(summary.survey.oldest_ms.is_some() && summary.survey.oldest_ms <= summary.survey.newest_ms);
    assert!(
        summary.is_complete() && summary.to_string().contains("--yes"),
        "{summary}"
    );
    assert_eq!(std::fs::read(&dead_letters).unwrap(), before);
    assert!(!folder.0.join("redrive").exists());
}

#[tokio::test]
async fn records_that_are_rejected_again_are_sent_by_their_new_dead_letters() {
    let folder = Folder::new("rejected");
    let first = rejected(&folder.0, 30).await;
    let again = folder.0.join("redrive/dead-letters.jsonl");
    // The second time, the new dead letters are appended to the file that is read.
    for source in [&first, &again] {
        let mut options = options(&[]);
        reject_all(&mut options);
        let target = Target::Local(options);
        let summary = run(run_of(&folder.0, source), target).await.unwrap();
        assert_eq!(outcome(&summary), (30, 30, Some(0), Some(30)), "{summary}");
        assert!(!summary.is_complete());
    }
    assert_eq!(lines(&again).len(), 60);
    let fixed = redrive(&folder.0, &again).await;
    assert_eq!((fixed.counts.done_before, fixed.counts.sent), (30, 30), "{fixed}");
    assert_eq!(predicted(&folder.0), once_each(&first));
}

#[tokio::test]
async fn discarded_batches_are_sent_from_their_payload_with_aggregates_unchanged() {
    let folder = Folder::new("given-up");
    let packing = Packing {
        aggregate: Some(3),
        gzip: true,
    };
    let [_, on_failure] = broken(&folder.0, 100, packing, |options| {
        options.local_endpoint.rates.throttle = 1.0;
        options.settings.insert("MAX_ATTEMPTS".to_owned(), "1".to_owned());
    })
    .await;
    let summary = redrive(&folder.0, &on_failure).await;
    assert_eq!(
        outcome(&summary),
        (34, 34, Some(100), Some(0)),
        "34 Kinesis records: {summary}"
    );
    assert_eq!(summary.survey.reasons["RetryAttemptsExhausted"], 34);
    assert!(summary.is_complete());
    let predicted = predicted(&folder.0);
    assert_eq!(predicted.len(), 100);
    assert_eq!(predicted.values().sum::<usize>(), 100);
}

#[tokio::test]
async fn user_records_of_an_aggregate_are_sent_with_identifiers_of_their_own() {
    let folder = Folder::new("aggregate");
    let packing = Packing {
        aggregate: Some(7),
        gzip: false,
    };
    let [dead_letters, _] = broken(&folder.0, 70, packing, reject_all).await;
    let summary = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&summary), (70, 70, Some(70), Some(0)), "{summary}");
    let expected = once_each(&dead_letters).into_keys().map(|(event_id, number)| {
        let event_id = if number == 0 {
            event_id
        } else {
            format!("{event_id}#{number}")
        };
        ((event_id, 0), 1)
    });
    assert_eq!(predicted(&folder.0), expected.collect());
}

#[tokio::test]
async fn unreadable_lines_are_counted_and_skipped_and_a_repeated_dead_letter_is_sent_once() {
    let folder = Folder::new("broken-lines");
    let dead_letters = rejected(&folder.0, 20).await;
    let mut text = lines(&dead_letters);
    let twin = text[3].replace("the body", "another body");
    assert_ne!(twin, text[3]);
    text.push(twin);
    let (start, _) = text[5].split_at(100);
    text.insert(5, start.to_owned());
    text.insert(
        9,
        r#"{"eventId":"shardId-0:1","reason":{"kind":"PayloadTooLarge"}}"#.to_owned(),
    );
    text.insert(12, String::new());
    text.insert(
        13,
        r#"{"eventId":"shardId-0:1","subSequenceNumber":0,"output":null}"#.to_owned(),
    );
    std::fs::write(&dead_letters, text.join("\n")).unwrap();
    let summary = redrive(&folder.0, &dead_letters).await;
    assert_eq!(outcome(&summary), (20, 20, Some(20), Some(0)), "{summary}");
    assert_eq!(
        (summary.counts.unreadable, summary.counts.repeated),
        (2, 1),
        "{summary}"
    );
    assert_eq!(summary.counts.predictions, 1, "among the dead letters");
    assert!(summary.to_string().contains("predictions     1, skipped"), "{summary}");
    assert!(!summary.is_complete(), "the exit code is 1");
    let predicted = predicted(&folder.0);
    assert_eq!((predicted.len(), predicted.values().sum::<usize>()), (20, 20));
}

#[tokio::test]
async fn only_dead_letters_with_the_selected_reasons_are_sent_up_to_the_limit() {
    let folder = Folder::new("filter");
    let dead_letters = rejected(&folder.0, 20).await;
    let mut text = lines(&dead_letters);
    for line in &mut text[10..] {
        *line = line.replace(r#""kind":"PayloadTooLarge""#, r#""kind":"GivenUp""#);
    }
    std::fs::write(&dead_letters, text.join("\n")).unwrap();
    let mut some = run_of(&folder.0, &dead_letters);
    some.reasons = vec!["givenup".to_owned()];
    some.limit = Some(4);
    let summary = run(some, Target::Local(options(&[]))).await.unwrap();
    assert_eq!(outcome(&summary), (4, 4, Some(4), Some(0)), "{summary}");
    assert_eq!(summary.counts.left_out, 10);
    std::fs::write(folder.0.join("selected"), text[10..14].join("\n")).unwrap();
    assert_eq!(predicted(&folder.0), once_each(&folder.0.join("selected")));
}
