//! `cargo local check` with model servers of several kinds. This test binary is also the function.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instream_local::check::{Report, Verdict};
use instream_local::check_command::{self, Check};
use instream_local::environment::Settings;
use instream_local::function::Program;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

/// A test that passes at once, except when the emulated Lambda starts it: then it is a small function. It calls one by
/// one what is refused together, and rejects what is refused alone. Like the real function, it needs two more calls to
/// trust a list, and does not start with a template of other types than JSON.
#[tokio::test]
async fn function() {
    if !std::env::vars().any(|(name, _)| name == "AWS_LAMBDA_RUNTIME_API") {
        return;
    }
    println!();
    let [content_type, template] =
        ["CONTENT_TYPE", "REQUEST_TEMPLATE"].map(|name| optional_setting(name).unwrap_or_default());
    assert!(
        template.is_empty() || content_type == "application/json",
        "the configuration is wrong"
    );
    let handler = async |event: LambdaEvent<Value>| {
        let records = event.payload["Records"].as_array().unwrap().clone();
        for chunk in records.chunks(setting("MAX_RECORDS_PER_REQUEST").parse().unwrap()) {
            score(chunk).await;
        }
        Ok::<_, std::io::Error>(json!({"batchItemFailures": []}))
    };
    lambda_runtime::run(service_fn(handler)).await.unwrap();
}

fn setting(name: &str) -> String {
    optional_setting(name).unwrap()
}

fn optional_setting(name: &str) -> Option<String> {
    std::env::vars().find(|(own, _)| own == name).map(|(_, value)| value)
}

/// Writes a prediction or a dead letter for each of these records.
async fn score(records: &[Value]) {
    let is_multi_record = setting("BATCH_STRATEGY") == "MultiRecord";
    let data = |record: &Value| -> Value {
        let data = BASE64.decode(record["kinesis"]["data"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&data).unwrap()
    };
    if is_multi_record {
        let instances: Vec<_> = records.iter().map(data).collect();
        let (status, answer) = call(json!({ "instances": instances })).await;
        let predictions = answer["predictions"].as_array().cloned().unwrap_or_default();
        if status == 200 && predictions.len() == records.len() {
            for half in instances
                .chunks(records.len().div_ceil(2))
                .filter(|_| records.len() > 1)
            {
                call(json!({ "instances": half })).await;
            }
            for (record, prediction) in records.iter().zip(predictions) {
                write(record, "output", &prediction);
            }
            return;
        }
    }
    for record in records {
        let body = if is_multi_record {
            json!({ "instances": [data(record)] })
        } else {
            data(record)
        };
        match call(body).await {
            (200, answer) => write(record, "output", &answer),
            (status, _) => write(
                record,
                "reason",
                &json!({"kind": "Refused", "message": status.to_string()}),
            ),
        }
    }
}

fn write(record: &Value, name: &str, value: &Value) {
    let line = json!({"eventId": record["eventID"], "subSequenceNumber": 0, name: value});
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

async fn call(body: Value) -> (u16, Value) {
    let url = format!(
        "{}/endpoints/mine/invocations",
        setting("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")
    );
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(url)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let limit = Duration::from_millis(setting("CALL_TIMEOUT_MS").parse().unwrap());
    let Ok(answered) = tokio::time::timeout(limit, client.request(request)).await else {
        return (0, Value::Null);
    };
    let (parts, body) = answered.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

type Answer = (StatusCode, String);

/// Predicts the sum of `x` and 1, or fails with status 500 if it is not a number.
fn predict(record: &Value) -> Result<Value, Answer> {
    let x = record["x"].as_f64();
    let x = x.ok_or_else(|| (StatusCode::INTERNAL_SERVER_ERROR, "could not\nconvert".to_owned()))?;
    Ok(json!({"score": x + 1.0}))
}

/// Takes several records together, and not one record.
async fn together(body: String) -> Result<Answer, Answer> {
    let body: Value = serde_json::from_str(&body).unwrap();
    let instances = body["instances"].as_array();
    let instances = instances.ok_or_else(|| (StatusCode::BAD_REQUEST, "no instances".to_owned()))?;
    let predictions = instances.iter().map(predict).collect::<Result<Vec<_>, _>>()?;
    Ok((StatusCode::OK, json!({ "predictions": predictions }).to_string()))
}

/// Answers several records in the wrong order.
async fn reversed(body: String) -> Result<Answer, Answer> {
    let (status, body) = together(body).await?;
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body["predictions"].as_array_mut().unwrap().reverse();
    Ok((status, body.to_string()))
}

/// Takes one record alone.
async fn one(body: String) -> Result<Answer, Answer> {
    let prediction = predict(&serde_json::from_str(&body).unwrap())?;
    Ok((StatusCode::OK, prediction.to_string()))
}

async fn start_server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/ping", get(|| async {}))
        .route("/together", post(together))
        .route("/reversed", post(reversed))
        .route("/one", post(one))
        .route("/empty", post(|| async {}))
        .route("/never", post(std::future::pending::<()>));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Checks a model server with five records.
async fn check(url: String, own: &[(&str, &str)]) -> anyhow::Result<Report> {
    let name = url.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let input = std::env::temp_dir().join(format!("instream-check-{name}-{}", std::process::id()));
    std::fs::write(
        &input,
        "{\"x\":1}\n{\"x\":2}\n{\"x\":3}\n{\"x\":4}\n{\"x\":5}\n{\"x\":6}\n",
    )
    .unwrap();
    let executable = std::env::current_exe().unwrap();
    let mut settings = Settings::from([("CONTENT_TYPE".to_owned(), "application/json".to_owned())]);
    settings.extend(
        own.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let check = Check {
        input: input.clone(),
        limit: 5,
        model_server: url,
        program: Some(Program::Shell(format!(
            "'{}' --exact function --nocapture",
            executable.display()
        ))),
        settings,
    };
    let report = check_command::run(check).await;
    std::fs::remove_file(input).unwrap();
    report
}

#[tokio::test]
async fn settings_that_predict_all_records_together_fit_best() {
    let report = check(format!("http://{}/together", start_server().await), &[])
        .await
        .unwrap();
    let fitting = report.fitting().unwrap();
    assert_eq!(
        (fitting.shape.strategy.as_str(), &fitting.verdict),
        ("MultiRecord", &Verdict::Together)
    );
    let report = report.to_string();
    for expected in [
        "SingleRecord    application/json  application/json                    5      400     0 of 5     400 no instances\n",
        "MultiRecord     application/json  application/json                    3      200     5 of 5     together, as alone\n",
        "a prediction     {\"score\":2.0}\na broken record  ",
        "the model answers 500 could not convert; it is rejected as Refused; 5 of 5 others are predicted\n",
        "\n  BATCH_STRATEGY=MultiRecord CONTENT_TYPE=application/json ACCEPT=application/json\n  \
         OUTPUT_FILTER='$.score'",
    ] {
        assert!(report.contains(expected), "{expected}\n{report}");
    }
}

#[tokio::test]
async fn a_shape_that_the_users_settings_exclude_is_not_tried() {
    let own = [("FEATURES", "$.x"), ("REQUEST_TEMPLATE", "array"), ("CONTENT_TYPE", "")];
    let report = check(format!("http://{}/together", start_server().await), &own)
        .await
        .unwrap();
    assert_eq!(report.fitting().unwrap().verdict, Verdict::Together);
    let report = report.to_string();
    assert!(!report.contains("text/csv"), "{report}");
    let none = [("REQUEST_TEMPLATE", "array"), ("CONTENT_TYPE", "text/csv")];
    let error = check(format!("http://{}/together", start_server().await), &none)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("the function ended while it started"),
        "{error:#}"
    );
}

#[tokio::test]
async fn predictions_in_the_wrong_order_fit_nothing() {
    let report = check(format!("http://{}/reversed", start_server().await), &[])
        .await
        .unwrap();
    assert!(report.fitting().is_none(), "{report}");
    let report = report.to_string();
    assert!(
        report.contains("together, but not as alone: records 1, 2, 4, 5\n"),
        "{report}"
    );
    assert!(report.contains("no settings fit"), "{report}");
}

#[tokio::test]
async fn a_server_that_takes_one_record_alone_fits_single_record() {
    let report = check(format!("http://{}/one", start_server().await), &[])
        .await
        .unwrap();
    let fitting = report.fitting().unwrap();
    assert_eq!(
        (fitting.shape.strategy.as_str(), &fitting.verdict),
        ("SingleRecord", &Verdict::Alone)
    );
    assert!(report.to_string().contains("500 could not convert"), "{report}");
    let only_multi = [("BATCH_STRATEGY", "MultiRecord")];
    let report = check(format!("http://{}/one", start_server().await), &only_multi)
        .await
        .unwrap();
    assert!(report.fitting().is_none(), "an own setting is not varied\n{report}");
}

#[tokio::test]
async fn no_server_a_wrong_path_and_a_server_that_never_answers_are_errors() {
    let server = start_server().await;
    // This port was free a moment ago.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let short = [("CALL_TIMEOUT_MS", "200")];
    for (url, expected) in [
        (format!("http://{closed}"), "is the model server up?"),
        (format!("https://{server}"), "must be a plain HTTP URL"),
        (
            format!("http://{server}/wrong"),
            "/wrong answers each request with status 404",
        ),
        (
            format!("http://{server}/empty"),
            "/empty answers each request with an empty body",
        ),
        (format!("http://{server}/never"), "/never in time: set CALL_TIMEOUT_MS"),
    ] {
        let error = format!("{:#}", check(url, &short).await.unwrap_err());
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}
