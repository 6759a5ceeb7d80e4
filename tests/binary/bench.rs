//! `cargo local bench` from end to end: compares the function with itself, on an endpoint with faults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use instream_local::bench::comparison::{Column, Comparison};
use instream_local::bench::quantity::QUANTITIES;
use instream_local::bench::report::ReportFile;
use instream_local::bench_command::{self, Bench};
use instream_local::environment::Settings;
use instream_local::faults::Rates;
use instream_local::sagemaker::EndpointOptions;

const FUNCTION: &str = env!("CARGO_BIN_EXE_instream");

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("instream-bench-{name}-{}", std::process::id()))
}

/// Returns a bench of the binary that cargo has just built: one round of 300 records in batches of 50.
fn bench(folder: &Path) -> Bench {
    Bench {
        input: None,
        records: 300,
        batch_size: 50,
        rounds: 1,
        function: Some(FUNCTION.to_owned()),
        against: Vec::new(),
        endpoint: EndpointOptions::default(),
        timeout: Duration::from_mins(1),
        settings: Settings::new(),
        command: "cargo local bench".to_owned(),
        report: ReportFile::open(&folder.join("bench.html")).unwrap(),
    }
}

/// Returns the values of a quantity, one per round.
fn values(column: &Column, key: &str) -> Vec<Option<f64>> {
    let quantity = QUANTITIES.iter().find(|quantity| quantity.key == key).unwrap();
    column.rounds.iter().map(|round| quantity.of(round)).collect()
}

#[tokio::test]
async fn a_function_is_compared_with_itself() {
    let folder = folder("beside-itself");
    let comparison = bench_command::run(Bench {
        rounds: 2,
        against: vec![FUNCTION.to_owned()],
        endpoint: EndpointOptions {
            latency: Duration::from_millis(2),
            rates: Rates {
                throttle: 0.1,
                refuse: 0.05,
                seed: 1,
                ..Rates::default()
            },
            ..EndpointOptions::default()
        },
        settings: Settings::from([("CAPACITY".to_owned(), "8".to_owned())]),
        ..bench(&folder)
    })
    .await
    .unwrap();
    let names: Vec<_> = comparison.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["instream", "instream-2"]);
    for column in &comparison.columns {
        check_outcomes(column);
    }
    let refused = |column| values(column, "callsRefused");
    let [ours, theirs] = &comparison.columns[..] else {
        panic!("two columns");
    };
    assert_eq!(refused(ours), refused(theirs), "the same records, the same seed");
    check_report(&comparison);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Checks the values that do not depend on time.
fn check_outcomes(column: &Column) {
    let is = |key, expected: f64| assert_eq!(values(column, key), [Some(expected); 2], "{key}");
    is("invocations", 6.0);
    is("redelivered", 0.0);
    is("callsError", 0.0);
    is("callsCut", 0.0);
    for round in &column.rounds {
        let [answered, throttled, _, _, refused] = round.calls;
        // A refused record has a last attempt, with a probe before or after it if no other call is left.
        assert!((300..=340).contains(&(answered + refused)), "{:?}", round.calls);
        assert!(throttled > 0 && refused > 0, "{:?}", round.calls);
        assert_eq!(round.timeline.batches.len(), 6);
        let drawn: u64 = round.timeline.outcomes.iter().flatten().sum();
        assert_eq!(drawn, answered + refused + throttled, "every call is plotted");
        assert_eq!(round.timeline.limits.len(), 6, "the log shows a limit for each batch");
        assert!(
            round.limit.is_some_and(|limit| (1.0..=8.0).contains(&limit)),
            "{:?}",
            round.limit
        );
    }
    // Linux reports these values of a process. Other systems may not.
    if cfg!(target_os = "linux") {
        let measured = [
            "startAndFirstBatchCpuMs",
            "cpuPerRecordUs",
            "idleMemoryMib",
            "peakOverIdleMib",
        ];
        for value in measured.into_iter().flat_map(|key| values(column, key)) {
            assert!(value.is_some_and(|value| value > 0.0), "{value:?}");
        }
    }
}

fn check_report(comparison: &Comparison) {
    // The name of SVG's elements looks like a URL, but nothing is read from there.
    let html = std::fs::read_to_string(&comparison.report).unwrap();
    let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(html.ends_with("</html>\n"));
    assert_eq!(html.matches("<svg").count(), 7);
    assert!(html.contains("CAPACITY=8") && html.contains("OUTPUT=none:") && html.contains("instream-2"));
    assert!(!html.contains("http://") && !html.contains("https://"));
    let text = comparison.to_string();
    assert!(
        text.contains("instream / instream-2") && text.ends_with(".html\n"),
        "{text}"
    );
}

#[tokio::test]
async fn the_error_of_a_function_that_does_not_start_names_it_and_quotes_its_log() {
    let folder = folder("no-start");
    // This OUTPUT is not a destination: the function logs that and exits.
    let other = format!("/usr/bin/env OUTPUT=nowhere {FUNCTION}");
    let error = bench_command::run(Bench {
        against: vec![other],
        ..bench(&folder)
    })
    .await
    .unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("env, round 1"), "{error}");
    assert!(error.contains("nowhere") && error.contains("OUTPUT"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn records_that_are_given_up_end_the_bench_with_the_reason() {
    let folder = folder("given-up");
    let mut bench = bench(&folder);
    bench.endpoint.rates.error = 1.0;
    bench.settings.insert("MAX_ATTEMPTS".to_owned(), "1".to_owned());
    let error = format!("{:#}", bench_command::run(bench).await.unwrap_err());
    assert!(error.starts_with("instream, round 1"), "{error}");
    assert!(
        error.contains("50 records were given up after 6 invocations"),
        "{error}"
    );
    assert!(error.contains("batch is redelivered from here"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}
