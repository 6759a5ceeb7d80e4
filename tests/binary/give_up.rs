//! One record that never succeeds does not block the stream. In an outage, no record is given up.

use std::path::PathBuf;
use std::time::Duration;

use instream_local::esm::Mapping;
use instream_local::faults::Rates;
use instream_local::lambda::Lambda;
use instream_local::packing::Packing;
use instream_local::processes::Disruptions;
use instream_local::source::Source;
use instream_local::stream_command::Stream;
use instream_local::summary::Summary;

use crate::{options, repository, run_stream};

/// Runs the lines through the function, with `GIVE_UP_AFTER_S` of one second. Returns the summary and the dead letters.
async fn run(name: &str, lines: &[String], rates: Rates) -> (Summary, String) {
    let folder = std::env::temp_dir().join(format!("instream-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path: PathBuf = folder.join("input");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let mapping = Mapping {
        batch_size: 100,
        batch_window: Duration::ZERO,
        parallelization_factor: 1,
        max_retries: None,
        max_record_age: Some(Duration::from_secs(4)),
        bisect: false,
    };
    let stream = Stream {
        source: Source::File {
            path,
            shards: 1,
            packing: Packing::default(),
        },
        limit: None,
        mapping,
        folder: folder.clone(),
    };
    let mut options = options(&[("GIVE_UP_AFTER_S", "1")]);
    options.local_endpoint.rates = rates;
    let disruptions = Disruptions::default();
    let summary = run_stream(stream, Lambda::Spawned { options, disruptions }).await;
    let dead_letters = std::fs::read_to_string(&summary.files.dead_letters).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    (summary, dead_letters)
}

fn transactions() -> Vec<String> {
    let text = std::fs::read_to_string(repository("events/transactions.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn one_poison_record_among_a_thousand_is_the_only_dead_letter() {
    let mut lines = transactions();
    lines[499] = lines[499].replacen('{', r#"{"$fault":"always error","#, 1);
    let (summary, dead_letters) = run("poison", &lines, Rates::default()).await;
    assert!(summary.is_complete(), "{summary}");
    assert_eq!((summary.predicted, summary.rejected), (Some(999), Some(1)));
    assert!(dead_letters.contains(r#""partitionKey":"line-500""#), "{dead_letters}");
    assert!(dead_letters.contains(r#""kind":"GivenUp""#), "{dead_letters}");
    assert_eq!(summary.repeated, 0);
}

#[tokio::test]
async fn an_outage_longer_than_give_up_after_s_dead_letters_no_record() {
    let rates = Rates {
        error: 1.0,
        ..Rates::default()
    };
    let (summary, dead_letters) = run("suspects", &transactions()[..100], rates).await;
    assert_eq!((summary.predicted, summary.discarded), (Some(0), 100));
    assert_eq!(dead_letters, "");
}
