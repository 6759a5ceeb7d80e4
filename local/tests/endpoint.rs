//! The local endpoint with the built-in model, over HTTP.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instream_local::faults::Rates;
use instream_local::sagemaker::{EndpointOptions, SageMakerRuntime};
use serde_json::{Value, json};

const GOOD: &str = r#"{"time":"2026-03-14T12:00:00Z","amount":9,"merchant_category":"groceries","country":"DE","card_country":"DE","source_address":"192.0.2.1"}"#;

async fn start(rates: Rates) -> SageMakerRuntime {
    let options = EndpointOptions {
        rates,
        ..EndpointOptions::default()
    };
    SageMakerRuntime::start(0, &options).await.unwrap()
}

/// Makes a call. Returns the status, content type and body of the response.
async fn call(endpoint: &SageMakerRuntime, content_type: &str, body: String) -> (u16, String, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("{}/endpoints/mine/invocations", endpoint.url()))
        .header("content-type", content_type)
        .header("x-amzn-sagemaker-inference-id", body.len().to_string())
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    let content_type = parts.headers["content-type"].to_str().unwrap().to_owned();
    (
        parts.status.as_u16(),
        content_type,
        body.collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test]
async fn a_response_follows_the_requests_content_type() {
    let endpoint = start(Rates::default()).await;
    let two = format!("{GOOD}\n{GOOD}\n");
    let (status, content_type, body) = call(&endpoint, "application/jsonlines", two).await;
    assert_eq!((status, content_type.as_str()), (200, "application/jsonlines"));
    assert_eq!(String::from_utf8_lossy(&body).lines().count(), 2);
    let (status, _, body) = call(&endpoint, "application/json", format!("{{\"instances\":[{GOOD},5]}}")).await;
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &error["OriginalStatusCode"]), (424, &json!(400)));
    assert!(
        error["OriginalMessage"]
            .as_str()
            .unwrap()
            .starts_with("record 2 of 2: ")
    );
}

#[tokio::test]
async fn a_marked_record_has_its_faults_alone_and_with_others() {
    let endpoint = start(Rates::default()).await;
    let marked = GOOD.replacen('{', r#"{"$fault":"refuse, error","#, 1);
    let (status, _, _) = call(&endpoint, "application/json", marked.clone()).await;
    assert_eq!((status, endpoint.faults().counts().refused), (424, 1));
    let (status, _, _) = call(&endpoint, "application/jsonlines", format!("{GOOD}\n{marked}\n")).await;
    assert_eq!((status, endpoint.faults().counts().errors), (424, 1), "its second call");
    let (status, _, _) = call(&endpoint, "application/json", format!("{{\"instances\":[{marked}]}}")).await;
    assert_eq!(status, 200, "its third call");
}

#[tokio::test]
async fn a_record_that_is_refused_at_a_rate_is_refused_in_every_shape() {
    let endpoint = start(Rates {
        refuse: 0.2,
        ..Rates::default()
    })
    .await;
    let mut refused = 0;
    for amount in 0..50 {
        let record = GOOD.replace(":9,", &format!(":{amount},"));
        let (alone, _, _) = call(&endpoint, "application/json", format!("{record}\n")).await;
        let (line, _, _) = call(&endpoint, "application/jsonlines", record.clone()).await;
        let (instance, _, _) = call(&endpoint, "application/json", format!("{{\"instances\":[{record}]}}")).await;
        assert_eq!((line, instance), (alone, alone));
        refused += u64::from(alone != 200);
    }
    assert!((1..50).contains(&refused), "{refused}");
}
