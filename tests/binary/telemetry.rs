//! Logs, metrics and traces of the real binary, as it writes them in Lambda.

use std::path::Path;

use bytes::Bytes;
use instream_local::event_command::{self, EventRun};
use instream_local::function::{Function, InvocationResult, Line};
use instream_local::setup::Setup;
use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::connections::read_request;
use crate::{emf, options, repository};

const AS_LAMBDA: [(&str, &str); 2] = [("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("METRICS", "on")];

async fn run(event: &str, settings: &[(&str, &str)]) -> EventRun {
    let settings = [&AS_LAMBDA[..], settings].concat();
    let file = repository("events").join(event);
    event_command::run(Path::new(&file), options(&settings)).await.unwrap()
}

fn parsed(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_invocation_writes_one_line_of_metrics_before_its_response() {
    let run = run("refused.json", &[("METRICS_NAMESPACE", "fraud/scores")]).await;
    let metrics: Vec<_> = run.output.iter().filter(|line| line.contains("\"_aws\"")).collect();
    let [line] = metrics[..] else {
        panic!("{:?}", run.output)
    };
    let read = emf::read(line).unwrap();
    let sum = |name: &str| read.get(name).map(emf::Metric::sum);
    assert_eq!(
        (sum("Predicted"), sum("Rejected"), sum("RejectedRefused")),
        (Some(4.0), Some(1.0), Some(1.0))
    );
    assert_eq!(
        read["CallLatency"].count(),
        6,
        "a probe is answered before and after the last attempt at the refused record"
    );
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], "fraud/scores");
    assert_eq!(line["FunctionName"], "instream");
    assert_eq!(line["Endpoint"], "fraud-detector");
    let request_ids: Vec<_> = parsed(&run.log)
        .iter()
        .map(|line| line["spans"][0]["requestId"].clone())
        .collect();
    assert!(
        !request_ids.is_empty() && request_ids.iter().all(|id| *id == line["RequestId"]),
        "{request_ids:?}"
    );
}

#[tokio::test]
async fn metrics_can_be_switched_off() {
    let run = run("five.json", &[("METRICS", "off")]).await;
    assert_eq!(run.output.len(), 5, "{:?}", run.output);
}

#[tokio::test]
async fn a_log_line_has_its_level_and_time_in_the_fields_that_lambda_reads() {
    let run = run("refused.json", &[]).await;
    let log = parsed(&run.log);
    let messages: Vec<_> = log
        .iter()
        .map(|line| (line["level"].as_str(), line["message"].as_str()))
        .collect();
    assert_eq!(
        messages,
        [(Some("WARN"), Some("rejected")), (Some("INFO"), Some("batch finished"))]
    );
    for line in &log {
        let time = line["timestamp"].as_str().unwrap();
        assert!(
            time.starts_with("20") && time.contains('T') && time.ends_with('Z'),
            "{time}"
        );
        assert_eq!(line["spans"][0]["name"], "invocation");
        assert!(line["spans"][0]["xrayTraceId"].as_str().unwrap().starts_with("Root="));
    }
    assert_eq!(log[0]["reason"], "Refused");
    assert_eq!((&log[1]["predicted"], &log[1]["rejected"]), (&4.into(), &1.into()));
}

#[tokio::test]
async fn the_log_level_is_the_one_that_lambda_sets() {
    for (level, expected) in [
        ("DEBUG", 3..100),
        ("INFO", 2..3),
        ("WARN", 1..2),
        ("ERROR", 0..1),
        ("FATAL", 0..1),
    ] {
        let settings = [
            ("AWS_LAMBDA_LOG_LEVEL", level),
            ("METRICS", "off"),
            ("OUTPUT", "none:"),
            ("DEAD_LETTER", "none:"),
        ];
        let run = run("refused.json", &settings).await;
        assert!(expected.contains(&run.log.len()), "{level}: {:?}", run.log);
    }
}

#[tokio::test]
async fn each_reason_for_failed_records_is_logged_once() {
    let run = run(
        "poison-in-the-middle.json",
        &[("MAX_ATTEMPTS", "1"), ("CAPACITY", "20")],
    )
    .await;
    let log = parsed(&run.log);
    let failed: Vec<_> = log
        .iter()
        .filter(|line| line["message"].as_str().unwrap().starts_with("failed: "))
        .collect();
    let [failed] = failed[..] else { panic!("{log:?}") };
    assert_eq!(failed["records"], 1);
    assert!(failed["first"].is_string());
    let last = log.last().unwrap();
    assert_eq!(last["message"], "batch is redelivered from here");
    assert_eq!((&last["from"], &last["failed"]), (&failed["first"], &3.into()));
}

#[tokio::test]
async fn records_that_fail_for_the_same_reason_share_a_line() {
    let settings = [&AS_LAMBDA[..], &[("MAX_ATTEMPTS", "1"), ("CALL_TIMEOUT_MS", "200")]].concat();
    let mut options = options(&settings);
    options.local_endpoint.rates.hang = 1.0;
    let run = event_command::run(&repository("events/five.json"), options)
        .await
        .unwrap();
    let log = parsed(&run.log);
    let is_failure = |line: &&Value| line["message"].as_str().unwrap().starts_with("failed: ");
    let failed: Vec<_> = log.iter().filter(is_failure).collect();
    let [failed] = failed[..] else { panic!("{log:?}") };
    assert_eq!(failed["records"], 5);
    assert_eq!(
        failed["message"],
        "failed: Suspect: no answer within CALL_TIMEOUT_MS, 200 ms"
    );
}

#[tokio::test]
async fn answers_with_the_wrong_number_of_predictions_are_logged_once() {
    // The endpoint answers 1 to every request. That is a prediction only for a request with one record.
    let (url, _received) = answering_one().await;
    let settings = [
        &AS_LAMBDA[..],
        &[("BATCH_STRATEGY", "MultiRecord"), ("MAX_RECORDS_PER_REQUEST", "2")],
    ];
    let mut setup = Setup::new(options(&settings.concat())).await.unwrap();
    setup.launch.environment.extend([url]);
    let function = Function::start(&setup.launch).await.unwrap();
    let event = std::fs::read(repository("events/five.json")).unwrap();
    let result = function.invoke(Bytes::from(event)).await;
    assert_eq!(result, InvocationResult::Response(r#"{"batchItemFailures":[]}"#.into()));
    function.stop().await;
    drop(setup.launch);
    let mut records = Vec::new();
    while let Some(line) = setup.lines.recv().await {
        let Line::Log(line) = line else { continue };
        let line: Value = serde_json::from_str(&line).unwrap();
        let is_about_counts = line["message"]
            .as_str()
            .unwrap()
            .starts_with("the number of predictions differs");
        records.extend(is_about_counts.then(|| line["records"].clone()));
    }
    assert_eq!(records, [4]);
}

/// Returns the setting for an endpoint that answers 1 to every request, and the heads of the requests.
async fn answering_one() -> ((String, String), mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut connection = BufReader::new(connection);
                while let Some((head, _)) = read_request(&mut connection).await {
                    _ = sender.send(head);
                    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1";
                    connection.write_all(response).await.unwrap();
                }
            });
        }
    });
    (("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME".to_owned(), url), received)
}

#[tokio::test]
async fn every_call_carries_the_trace_of_its_invocation() {
    let (url, mut received) = answering_one().await;
    let mut setup = Setup::new(options(&[])).await.unwrap();
    setup.launch.environment.extend([url]);
    let function = Function::start(&setup.launch).await.unwrap();
    let event = std::fs::read(repository("events/five.json")).unwrap();
    let result = function.invoke(Bytes::from(event)).await;
    assert!(matches!(result, InvocationResult::Response(_)), "{result:?}");
    function.stop().await;
    let heads: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
    assert_eq!(heads.len(), 5);
    for head in heads {
        let trace = head.lines().find_map(|line| line.strip_prefix("x-amzn-trace-id: "));
        assert!(trace.is_some_and(|trace| trace.starts_with("root=1-")), "{head}");
        // The header is not signed, because proxies on the way to the service may change it.
        let signed = head.lines().find(|line| line.starts_with("authorization: "));
        assert!(!signed.unwrap().contains("trace"), "{head}");
    }
}

#[tokio::test]
async fn a_log_level_at_which_lambda_drops_the_metrics_is_logged() {
    let settings = [
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "ERROR"),
        ("OUTPUT", "none:"),
        ("DEAD_LETTER", "none:"),
    ];
    for (metrics, expected) in [("on", true), ("off", false)] {
        let setup = Setup::new(options(&[&settings[..], &[("METRICS", metrics)]].concat()))
            .await
            .unwrap();
        let function = Function::start(&setup.launch).await.unwrap();
        let result = function
            .invoke(Bytes::from(std::fs::read(repository("events/five.json")).unwrap()))
            .await;
        assert!(matches!(result, InvocationResult::Response(_)), "{result:?}");
        function.stop().await;
        drop(setup.launch);
        let mut lines = setup.lines;
        let mut log = Vec::new();
        while let Some(line) = lines.recv().await {
            log.extend(if let Line::Log(line) = line { Some(line) } else { None });
        }
        let is_logged = log.iter().any(|line| line.contains("Lambda drops the metrics"));
        assert_eq!(is_logged, expected, "{log:?}");
    }
}
