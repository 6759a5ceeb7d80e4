//! The metrics of an invocation: each has the value that its name promises, and each listed metric is reported in some
//! run. `support.rs` parses the metrics of every invocation of every test and checks that the outcomes add up.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::delivery::destination::stdout::StdoutLines;
use instream::outcome::FaultKind::{Misconfigured, Overload, Refused, Suspect, Unreachable};
use instream::telemetry::emf::{Metrics, Origin};
use instream::telemetry::invocation_stats::InvocationStats;
use instream::telemetry::metric::METRICS;
use instream_local::packing::gzip;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::cloud::{Cloud, Fate};
use crate::destinations::queue;
use crate::emf;
use crate::support::{Behavior, Running, Scenario, entry};

/// Returns the sum of a metric's values in the latest invocation, or `None` if the metric is not reported.
fn sum(running: &Running, name: &str) -> Option<f64> {
    running.metrics().get(name).map(emf::Metric::sum)
}

async fn after(scenario: Scenario, records: usize) -> Running {
    let running = scenario.start();
    running.invoke(0..records).await.unwrap();
    running
}

/// Builds a record with this data.
fn record(number: &str, data: &[u8]) -> Value {
    let mut record = entry(number);
    record["kinesis"]["data"] = BASE64.encode(data).into();
    record
}

async fn after_event(scenario: Scenario, records: Vec<Value>) -> Running {
    let running = scenario.start();
    running.invoke_event(&json!({ "Records": records })).await.unwrap();
    running
}

/// Runs a batch in which every record is predicted.
async fn succeeded() -> Running {
    after(Scenario::of(0).record_age(3.0), 10).await
}

/// Runs batches with calls that fail at first, are slow, are split or hang.
async fn troubled() -> Vec<Running> {
    let slow = after(
        Scenario::of(0)
            .with("HEDGE", "p95")
            .record(200, Behavior::PredictAfter(900)),
        150,
    )
    .await;
    slow.invoke([200]).await.unwrap();
    let half = Scenario::of(0).packed(4).record(2, Behavior::Fail(Refused));
    let again = after(Scenario::of(0).attempts(0, &[Behavior::Fail(Overload); 3]), 3).await;
    again.invoke(0..3).await.unwrap();
    let hanging = Scenario::of(0).record(1, Behavior::Hang);
    let unsplittable = (0..3).fold(Scenario::of(0).packed(2), |scenario, request| {
        scenario.record(2 * request, Behavior::Merge)
    });
    vec![
        slow,
        after(unsplittable, 6).await,
        after(half, 4).await,
        after(Scenario::of(0).attempts(0, &[Behavior::Fail(Overload)]), 3).await,
        after(hanging, 3).await,
        after_event(Scenario::of(0), vec![record("0", b"")]).await,
        after(
            Scenario::of(0)
                .with("ALERT", "stdout:")
                .with("ALERT_PATTERN", r#"{"output":{"of":["0"]}}"#),
            1,
        )
        .await,
    ]
}

/// Runs a batch and its redelivery, in both output modes.
async fn redelivered() -> Vec<Running> {
    let mut all = Vec::new();
    for mode in ["ordered", "unordered"] {
        let scenario = Scenario::of(0).with("OUTPUT_MODE", mode);
        let running = after(scenario.attempts(0, &[Behavior::Fail(Suspect); 3]), 3).await;
        running.invoke(0..3).await.unwrap();
        all.push(running);
    }
    all
}

/// Runs one batch for each reason to reject a record.
async fn rejected() -> Vec<Running> {
    let limit = Scenario::of(0).with("DECOMPRESS_LIMIT_BYTES", "1000");
    let compressed = gzip(&[b'7'; 2000]);
    let cloud = Cloud::deciding(|_, _| Fate::Taken(1));
    let output = cloud.open(&queue());
    let small = Scenario::of(0)
        .output(output)
        .record(0, Behavior::PredictBytes(2_000_000));
    let queue = Cloud::default().refusing(|_| true).open(&queue());
    let refused = Scenario::of(0).output(queue);
    let mut broken = entry("0");
    broken["kinesis"]["data"] = "no base64".into();
    let old = Scenario::of(0).with("GIVE_UP_AFTER_S", "0");
    vec![
        after_event(limit, vec![record("0", &compressed)]).await,
        after_event(Scenario::of(0), vec![broken]).await,
        after_event(Scenario::of(0).with("FEATURES", "$.amount"), vec![record("0", b"{}")]).await,
        after(Scenario::of(0).with("MAX_PAYLOAD_BYTES", "10"), 11).await,
        after(Scenario::of(0).record(0, Behavior::Fail(Refused)), 2).await,
        after(old.record(0, Behavior::Fail(Suspect)), 2).await,
        after(small, 1).await,
        after(refused, 1).await,
    ]
}

/// Runs one batch for each reason to fail a record.
async fn failed() -> Vec<Running> {
    let queue = Cloud::default().refusing(|_| true).open(&queue());
    let refused = Scenario::of(0).dead_letter(queue);
    let refused = refused.record(0, Behavior::Fail(Refused));
    let short = Scenario::of(0).deadline(Some(Duration::from_secs(2)));
    let one = Scenario::of(0).with("CAPACITY", "1").with("MAX_ATTEMPTS", "1");
    let limit = Scenario::of(0).with("DECOMPRESS_LIMIT_BYTES", "1000");
    let compressed = gzip(&[b'7'; 1000]);
    let compressed = (0..6).map(|number| record(&number.to_string(), &compressed)).collect();
    vec![
        after(Scenario::of(0).record(0, Behavior::Fail(Suspect)), 1).await,
        after(Scenario::of(0).record(0, Behavior::Fail(Refused)), 1).await,
        after(one.record(0, Behavior::Fail(Overload)), 3).await,
        after(Scenario::of(0).record(0, Behavior::Fail(Unreachable)), 1).await,
        after(Scenario::of(0).record(0, Behavior::Fail(Misconfigured)), 1).await,
        after(short.record(0, Behavior::Hang), 1).await,
        after_event(limit, compressed).await,
        after(refused, 2).await,
        after(Scenario::of(0).broken_output(), 1).await,
    ]
}

#[tokio::test(start_paused = true)]
async fn every_listed_metric_is_reported_in_some_run_with_its_listed_unit() {
    let mut runs = vec![succeeded().await];
    runs.extend(Box::pin(troubled()).await);
    runs.extend(redelivered().await);
    runs.extend(Box::pin(rejected()).await);
    runs.extend(Box::pin(failed()).await);
    let mut reported = BTreeSet::new();
    for running in runs {
        for (name, metric) in running.metrics() {
            let listed = METRICS.iter().find(|listed| listed.name == name);
            assert_eq!(listed.unwrap().unit(), metric.unit, "{name}");
            if metric.sum() > 0.0 {
                reported.insert(name);
            }
        }
    }
    let listed: BTreeSet<_> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(reported, listed);
}

#[tokio::test(start_paused = true)]
async fn a_successful_batch_reports_the_expected_metrics_and_no_others() {
    // There are ten records, three seconds old. Five calls run at once and take 10 ms each.
    let scenario = Scenario::of(0).record_age(3.0).with("CAPACITY", "5");
    let running = after(scenario.deadline(Some(Duration::from_secs(30))), 10).await;
    let expected = [
        ("KinesisRecords", 10.0),
        ("UserRecords", 10.0),
        ("Predicted", 10.0),
        ("Rejected", 0.0),
        ("Failed", 0.0),
        ("Calls", 10.0),
        ("CapacityLimit", 5.0),
        ("BatchLatency", 20.0),
        ("DeadlineMargin", 29_980.0),
        ("CallLatency", 100.0),
        ("AgeAtPrediction", 3020.0),
    ];
    let measured = running.metrics();
    assert_eq!(measured.len(), expected.len(), "no other metrics: {measured:?}");
    for (name, value) in expected {
        // Tokio's timer has a resolution of one millisecond.
        let steps = if name == "CallLatency" { 10.0 } else { 2.0 };
        assert!((measured[name].sum() - value).abs() <= steps, "{name}: {measured:?}");
    }
    assert_eq!(measured["CallLatency"].count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_counted_as_predicted_once_however_often_it_is_delivered() {
    for (mode, waiting) in [("ordered", Some(2.0)), ("unordered", None)] {
        let scenario = Scenario::of(0).with("OUTPUT_MODE", mode);
        let running = after(scenario.attempts(1, &[Behavior::Fail(Suspect); 3]), 4).await;
        let first = if mode == "ordered" { 1.0 } else { 3.0 };
        assert_eq!(sum(&running, "Predicted"), Some(first), "{mode}");
        assert_eq!(
            sum(&running, "FailedWaiting"),
            waiting,
            "{mode}: after the failed record"
        );
        running.invoke(1..4).await.unwrap();
        assert_eq!(sum(&running, "Predicted"), Some(4.0 - first), "{mode}");
        assert_eq!(sum(&running, "MemoHits"), Some(2.0), "{mode}");
        assert_eq!(
            sum(&running, "DeliveredBefore"),
            Some(2.0).filter(|_| mode == "unordered")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_records_are_counted_apart_from_undelivered_records() {
    let failed = |running: &Running| ["FailedWaiting", "FailedUndelivered"].map(|name| sum(running, name));
    let ahead = after(Scenario::of(0).record(0, Behavior::Hang).broken_output(), 3).await;
    assert_eq!(failed(&ahead), [Some(2.0), None], "nothing was sent to the output");
    let refused = after(Scenario::of(0).broken_output(), 3).await;
    assert_eq!(failed(&refused), [None, Some(3.0)]);
    let no_dead_letter = Scenario::of(0)
        .with("DEAD_LETTER", "")
        .record(0, Behavior::Fail(Refused));
    assert_eq!(failed(&after(no_dead_letter, 3).await), [Some(2.0), Some(1.0)]);
}

/// A writer that blocks until the test ends.
struct BlockedWriter(Mutex<mpsc::Receiver<()>>);

impl Write for BlockedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        _ = self.0.lock().unwrap().recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_response_waits_at_most_a_second_for_the_metrics() {
    let (release, released) = mpsc::channel();
    let lines = StdoutLines::new(Box::new(BlockedWriter(Mutex::new(released))));
    let metrics = Metrics::new(lines, "instream", "a-function");
    let origin = Origin {
        request_id: "",
        endpoint: "scripted",
        now: SystemTime::now(),
    };
    let (stats, started) = (InvocationStats::default(), Instant::now());
    let mut writing = pin!(metrics.write(&stats, origin, started + Duration::from_mins(1)));
    // The paused clock does not advance by itself while a thread writes.
    loop {
        tokio::select! {
            biased;
            () = &mut writing => break,
            () = advance(Duration::from_millis(50)) => {}
        }
    }
    assert!(
        (1000..1100).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_their_result() {
    let troubled = Scenario::of(0).attempts(0, &[Behavior::Fail(Unreachable)]);
    let running = after(troubled.attempts(1, &[Behavior::Fail(Overload), Behavior::Hang]), 3).await;
    assert_eq!(sum(&running, "Calls"), Some(6.0));
    assert_eq!(sum(&running, "Retries"), Some(3.0));
    assert_eq!(sum(&running, "Throttles"), Some(1.0));
    assert_eq!(sum(&running, "Timeouts"), Some(1.0));
    assert_eq!(
        running.metrics()["CallLatency"].count(),
        3,
        "only answered calls have a latency"
    );
    let running = Scenario::of(0).packed(4).record(2, Behavior::Fail(Refused)).start();
    running.invoke([9]).await.unwrap();
    running.invoke(0..4).await.unwrap();
    // There are five requests, three last attempts at the refused record, a probe before the first request is split,
    // and a probe before and after the last attempts.
    assert_eq!(sum(&running, "Calls"), Some(11.0));
    assert_eq!(sum(&running, "Splits"), Some(2.0));
    assert_eq!(
        sum(&running, "Retries"),
        Some(3.0),
        "the first call for a half is not a retry"
    );
}

#[tokio::test(start_paused = true)]
async fn many_latencies_are_summarized_in_a_few_values() {
    let mut scenario = Scenario::of(0).with("CAPACITY", "1000");
    for number in 0..1000_usize {
        scenario = scenario.record(number, Behavior::PredictAfter(1 + (number * number / 50) as u64));
    }
    let running = after(scenario, 1000).await;
    let latencies = &running.metrics()["CallLatency"];
    assert!(
        (20..=100).contains(&latencies.values.len()),
        "{}",
        latencies.values.len()
    );
    assert_eq!(latencies.count(), 1000);
    let sum: f64 = (0..1000_u32).map(|number| f64::from(1 + number * number / 50)).sum();
    assert!(
        (latencies.sum() / sum - 1.0).abs() < 0.001,
        "{} for {sum}",
        latencies.sum()
    );
    let longest = latencies.values.last().unwrap().0;
    assert!((longest / 19_961.0 - 1.0).abs() < 0.1, "{longest}");
}

#[tokio::test(start_paused = true)]
async fn the_age_at_prediction_is_that_of_the_oldest_predicted_record() {
    let running = Scenario::of(0).start();
    let aged = |number: &str, age: f64| {
        let mut record = entry(number);
        record["kinesis"]["approximateArrivalTimestamp"] = (1_800_000_000.0 - age).into();
        record
    };
    let event = json!({ "Records": [aged("0", 1.0), aged("1", 8.0), entry("2"), aged("3", 2.0)] });
    running.invoke_event(&event).await.unwrap();
    let age = sum(&running, "AgeAtPrediction").unwrap();
    assert!((8009.0..=8015.0).contains(&age), "{age}");
    // The oldest record is rejected. It does not count, since it has no prediction.
    let running = Scenario::of(0).record(1, Behavior::Fail(Refused)).start();
    running.invoke_event(&event).await.unwrap();
    let age = sum(&running, "AgeAtPrediction").unwrap();
    assert!((2009.0..=2040.0).contains(&age), "{age}");
    // The clock is behind the arrival time of the record.
    advance(Duration::from_secs(1)).await;
    running
        .invoke_event(&json!({ "Records": [aged("7", -3600.0)] }))
        .await
        .unwrap();
    assert_eq!(sum(&running, "AgeAtPrediction"), Some(0.0));
}

#[test]
fn documents_that_break_a_rule_of_the_metric_format_are_errors() {
    let document = json!({
        "_aws": {
            "Timestamp": 1_800_000_000_000_u64,
            "CloudWatchMetrics": [{
                "Namespace": "n", "Dimensions": [["D"]], "Metrics": [{ "Name": "M", "Unit": "Count" }],
            }],
        },
        "D": "d",
        "M": { "Values": [1, 2], "Counts": [1, 1] },
    });
    assert_eq!(
        emf::read(&document.to_string()).unwrap()["M"].values,
        [(1.0, 1), (2.0, 1)]
    );
    let directive = "/_aws/CloudWatchMetrics/0";
    for (pointer, value) in [
        ("/_aws/Timestamp", json!(1_800_000_000)),
        ("/_aws/CloudWatchMetrics", json!({})),
        (&format!("{directive}/Namespace"), json!("")),
        (&format!("{directive}/Dimensions"), json!([["Another"]])),
        (&format!("{directive}/Dimensions"), json!(["D"])),
        (&format!("{directive}/Metrics/0/Unit"), json!("Milliseconds ")),
        (&format!("{directive}/Metrics/0/Name"), json!("Another")),
        (
            &format!("{directive}/Metrics"),
            json!([{ "Name": "M", "Unit": "Count" }, { "Name": "M", "Unit": "Count" }]),
        ),
        ("/D", json!(7)),
        ("/M", json!("3")),
        ("/M", json!({ "Values": [1], "Counts": [] })),
        ("/M", json!(vec![1; 101])),
    ] {
        let mut broken = document.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        assert!(emf::read(&broken.to_string()).is_err(), "{pointer}");
    }
}
