//! The minimum cost of the calls: a plain HTTP client without signatures, timeouts, retries or predictions. Use it as a
//! baseline for measurements of the function:
//!
//! ```sh
//! cargo build --release --example bare_http
//! CAPACITY=64 cargo local bench --against target/release/examples/bare_http
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "this is a separate program, which reads its own settings"
)]

use std::env;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    kinesis: Kinesis,
}

#[derive(Deserialize)]
struct Kinesis {
    data: String,
}

type Http = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let http: Http = Client::builder(TokioExecutor::new()).build(connector);
    let (url, endpoint) = (
        env::var("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME")?,
        env::var("ENDPOINT_NAME")?,
    );
    let uri = format!("{url}/endpoints/{endpoint}/invocations");
    let capacity = env::var("CAPACITY").map_or(Ok(20), |capacity| capacity.parse())?;
    let handle = async |event: LambdaEvent<Box<RawValue>>| {
        let event: Event = serde_json::from_str(event.payload.get())?;
        let calls = event.records.iter().map(|record| call(&http, &uri, record));
        let mut calls = iter(calls).buffer_unordered(capacity);
        while let Some(response) = calls.next().await {
            response?;
        }
        Ok::<Value, Error>(json!({"batchItemFailures": []}))
    };
    run(service_fn(handle)).await
}

async fn call(http: &Http, uri: &str, record: &Record) -> Result<Bytes, Error> {
    let data = BASE64.decode(&record.kinesis.data)?;
    let request = http::Request::post(uri)
        .header("content-type", "application/json")
        .body(Full::from(data))?;
    let response = http.request(request).await?;
    if !response.status().is_success() {
        return Err(response.status().to_string().into());
    }
    Ok(response.into_body().collect().await?.to_bytes())
}
