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
    assert_eq!((summary.records, summary.predicted, summary.rejected), (1000, 1000, 0));
    assert_eq!((summary.redelivered, summary.discarded, summary.repeated), (0, 0, 0));
    assert_eq!(summary.calls, Some(1000));
    assert_eq!(summary.batches, 10);
    let predictions = std::fs::read_to_string(&summary.files.predictions).unwrap();
    assert_eq!(predictions.lines().count(), 1000);
    assert!(summary.highest_scores[0].score > 0.9, "some are clearly fraudulent");
    std::fs::remove_dir_all(folder).unwrap();
}
