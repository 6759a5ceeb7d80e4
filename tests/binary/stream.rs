//! `cargo local` from end to end: runs the sample transactions through the function.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use instream_local::environment::settings_beside;
use instream_local::esm::Mapping;
use instream_local::faults::{Faults, InjectedFault, Rates};
use instream_local::gateway::GatewayOptions;
use instream_local::lambda::Lambda;
use instream_local::packing::Packing;
use instream_local::processes::Disruptions;
use instream_local::setup::Options;
use instream_local::source::Source;
use instream_local::stream_command::Stream;
use serde_json::Value;

use crate::{options, repository, run_stream};

const MAPPING: Mapping = Mapping {
    batch_size: 100,
    batch_window: Duration::ZERO,
    parallelization_factor: 1,
    max_retries: Some(0),
    max_record_age: None,
    bisect: false,
};

fn file(path: PathBuf) -> Source {
    Source::File {
        path,
        shards: 1,
        packing: Packing::default(),
    }
}

fn transactions() -> Source {
    file(repository("events/transactions.jsonl"))
}

fn spawned(options: Options) -> Lambda {
    Lambda::Spawned {
        options,
        disruptions: Disruptions::default(),
    }
}

#[tokio::test]
async fn each_of_a_thousand_transactions_is_predicted_once() {
    let folder = std::env::temp_dir().join(format!("instream-stream-{}", std::process::id()));
    let stream = Stream {
        source: transactions(),
        limit: None,
        mapping: MAPPING,
        folder: folder.clone(),
    };
    let summary = run_stream(stream, spawned(options(&[]))).await;
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
async fn ride_requests_are_scored_by_signed_get_requests_and_high_fares_raise_alerts() {
    let folder = std::env::temp_dir().join(format!("instream-rides-{}", std::process::id()));
    let input = repository("events/rides.jsonl");
    let mut options = options(&[]);
    options.settings.extend(settings_beside(&input).unwrap());
    options.local_endpoint.gateway = Some(GatewayOptions {
        usage_plan: None,
        ..GatewayOptions::default()
    });
    let events: Vec<Value> = std::fs::read_to_string(&input)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let requests = events.iter().filter(|event| event["type"] == "ride_request");
    let stream = Stream {
        source: file(input),
        limit: None,
        mapping: MAPPING,
        folder: folder.clone(),
    };
    let summary = run_stream(stream, spawned(options)).await;
    let refused = summary.gateway.map(|counts| counts.refused());
    let lines = |file: &Path| -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let predictions = lines(&summary.files.predictions);
    let mut scored: Vec<_> = predictions.iter().map(|line| line["input"].to_string()).collect();
    scored.sort();
    let mut expected: Vec<_> = requests.map(Value::to_string).collect();
    expected.sort();
    assert_eq!(scored, expected, "each ride request once, and no other event");
    let count = expected.len() as u64;
    assert_eq!((summary.predicted, summary.rejected), (Some(count), Some(0)));
    assert_eq!(
        (summary.skipped, summary.calls, refused),
        (240 - count, Some(count), Some(0))
    );
    let high = predictions
        .iter()
        .filter(|line| line["output"]["fare"].as_f64() > Some(60.0));
    let mut high: Vec<_> = high.map(Value::to_string).collect();
    high.sort();
    let mut alerts: Vec<_> = lines(&summary.files.alerts).iter().map(Value::to_string).collect();
    alerts.sort();
    assert_eq!(alerts, high);
    assert_eq!(summary.alerted, 5);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn the_limit_counts_records_and_empty_lines_are_not_records() {
    let folder = std::env::temp_dir().join(format!("instream-limit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let input = folder.join("input");
    std::fs::write(&input, "one\r\n\ntwo\nthree\n").unwrap();
    let mapping = Mapping {
        batch_size: 1,
        ..MAPPING
    };
    let stream = Stream {
        source: file(input),
        limit: Some(2),
        mapping,
        folder: folder.clone(),
    };
    // The model refuses records that are not transactions. The answer to a transaction is the evidence that it works.
    let transactions = std::fs::read_to_string(repository("events/transactions.jsonl")).unwrap();
    let transaction = transactions.lines().next().unwrap();
    let summary = run_stream(stream, spawned(options(&[("PROBE", transaction)]))).await;
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

const RATES: Rates = Rates {
    throttle: 0.1,
    error: 0.05,
    hang: 0.01,
    refuse: 0.02,
    seed: 1,
};

/// Returns the numbers of the input lines whose envelopes are in a file.
fn line_numbers(file: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    let number = |line: &str| {
        let envelope: Value = serde_json::from_str(line).unwrap();
        let key = envelope["partitionKey"].as_str().unwrap();
        key.strip_prefix("line-").unwrap().parse().unwrap()
    };
    text.lines().map(number).collect()
}

#[tokio::test]
async fn a_faulty_endpoint_loses_nothing_and_only_refused_records_are_dead_lettered() {
    let folder = std::env::temp_dir().join(format!("instream-faults-{}", std::process::id()));
    let stream = Stream {
        source: transactions(),
        limit: None,
        mapping: Mapping {
            max_retries: Some(5),
            ..MAPPING
        },
        folder: folder.clone(),
    };
    let mut options = options(&[("CALL_TIMEOUT_MS", "200")]);
    options.local_endpoint.rates = RATES;
    let summary = run_stream(stream, spawned(options)).await;
    assert!(summary.is_complete(), "{summary}");
    assert_eq!((summary.discarded, summary.repeated), (0, 0));
    assert!(
        summary.faults.throttled > 50 && summary.faults.hung > 0,
        "{:?}",
        summary.faults
    );
    let faults = Faults::new(RATES);
    let text = std::fs::read_to_string(repository("events/transactions.jsonl")).unwrap();
    let is_refused = |line: &str| faults.next(&[(line.as_bytes(), None)]) == Some(InjectedFault::Refuse);
    let refused: Vec<u64> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| is_refused(line))
        .map(|(number, _)| number)
        .collect();
    let others: Vec<_> = (1..=1000).filter(|number| !refused.contains(number)).collect();
    assert!(refused.len() > 5);
    assert_eq!(
        line_numbers(&summary.files.dead_letters),
        refused,
        "all refused records and no others"
    );
    assert_eq!(
        line_numbers(&summary.files.predictions),
        others,
        "in stream order, each record once"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn in_a_total_outage_no_record_is_lost() {
    let folder = std::env::temp_dir().join(format!("instream-outage-{}", std::process::id()));
    let mapping = Mapping {
        max_retries: Some(3),
        ..MAPPING
    };
    let stream = Stream {
        source: transactions(),
        limit: Some(200),
        mapping,
        folder: folder.clone(),
    };
    let mut options = options(&[]);
    options.local_endpoint.rates.throttle = 1.0;
    let summary = run_stream(stream, spawned(options)).await;
    assert!(!summary.is_complete());
    // If a response had named another record than the first, fewer records would be discarded at the end.
    assert_eq!(
        (summary.predicted, summary.rejected, summary.discarded),
        (Some(0), Some(0), 200)
    );
    assert_eq!(summary.batches, 8, "two batches, delivered four times each");
    let on_failure = std::fs::read_to_string(&summary.files.on_failure).unwrap();
    let objects: Vec<Value> = on_failure
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert_eq!(object["requestContext"]["condition"], "RetryAttemptsExhausted");
        assert_eq!(object["KinesisBatchInfo"]["batchSize"], 100);
        let payload: Value = serde_json::from_str(object["payload"].as_str().unwrap()).unwrap();
        assert_eq!(payload["Records"].as_array().unwrap().len(), 100, "the payload is kept");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_killed_process_loses_no_record() {
    let folder = std::env::temp_dir().join(format!("instream-killed-{}", std::process::id()));
    let stream = Stream {
        source: Source::File {
            path: repository("events/transactions.jsonl"),
            shards: 2,
            packing: Packing::default(),
        },
        limit: Some(300),
        mapping: Mapping {
            batch_size: 20,
            parallelization_factor: 2,
            max_retries: None,
            ..MAPPING
        },
        folder: folder.clone(),
    };
    let mut options = options(&[("CAPACITY", "4")]);
    options.local_endpoint.latency = Duration::from_millis(20);
    let disruptions = Disruptions {
        fresh: 0.1,
        kill: 0.5,
        kills_max: Some(8),
        seed: 1,
    };
    let summary = run_stream(stream, Lambda::Spawned { options, disruptions }).await;
    let processes = summary.processes.unwrap();
    assert!(
        processes.killed >= 3 && processes.started > processes.killed,
        "{summary}"
    );
    assert!(summary.redelivered > 0 && summary.is_complete(), "{summary}");
    assert_eq!((summary.predicted, summary.discarded), (Some(300), 0));
    let predicted: HashSet<_> = line_numbers(&summary.files.predictions).into_iter().collect();
    assert_eq!(predicted, (1..=300).collect(), "no record is lost");
    std::fs::remove_dir_all(folder).unwrap();
}
