//! `cargo local`, its parts in one run: the sample transactions through the function.

use instream_local::esm::Mapping;
use instream_local::stream_command::{self, Stream};

use crate::{options, repository};

#[tokio::test]
async fn a_thousand_transactions_are_predicted_each_once() {
    let folder = std::env::temp_dir().join(format!("instream-stream-{}", std::process::id()));
    let stream = Stream {
        input: repository("events/transactions.jsonl"),
        limit: None,
        mapping: Mapping {
            batch_size: 100,
            max_retries: 0,
        },
        folder: folder.clone(),
    };
    let summary = stream_command::run(stream, options(&[])).await.unwrap();
    assert_eq!(
        (summary.records, summary.predicted, summary.rejected),
        (1000, Some(1000), Some(0))
    );
    assert_eq!((summary.redelivered, summary.discarded, summary.repeated), (0, 0, 0));
    assert_eq!(summary.calls, Some(1000));
    assert_eq!(summary.batches, 10);
    let predictions = std::fs::read_to_string(&summary.files.predictions).unwrap();
    assert_eq!(predictions.lines().count(), 1000);
    assert!(summary.highest_scores[0].score > 0.9, "some are clearly fraudulent");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn only_so_many_lines_are_taken_and_empty_ones_are_no_records() {
    let folder = std::env::temp_dir().join(format!("instream-limit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let input = folder.join("input");
    std::fs::write(&input, "one\r\n\ntwo\nthree\n").unwrap();
    let mapping = Mapping {
        batch_size: 1,
        max_retries: 0,
    };
    let stream = Stream {
        input,
        limit: Some(2),
        mapping,
        folder: folder.clone(),
    };
    // The model refuses what is no transaction.
    let summary = stream_command::run(stream, options(&[])).await.unwrap();
    assert_eq!(
        (summary.records, summary.predicted, summary.rejected, summary.batches),
        (2, Some(0), Some(2), 2)
    );
    let dead_letters = std::fs::read_to_string(&summary.files.dead_letters).unwrap();
    let data = |text: &str| format!("\"data\":\"{text}\"");
    assert!(
        dead_letters.contains(&data("b25l")) && dead_letters.contains(&data("dHdv")),
        "{dead_letters}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
