//! The obvious first version: a loop over the AWS SDK's client. It has none of the function's guarantees. Use it as a
//! baseline for measurements of the function:
//!
//! ```sh
//! cargo build --release --example plain_loop
//! cargo local bench --against target/release/examples/plain_loop
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "this is a separate program, which reads its own settings"
)]

use std::env;

use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::primitives::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Deserialize;
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
#[serde(rename_all = "camelCase")]
struct Kinesis {
    sequence_number: String,
    data: String,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::new(&aws_config::load_from_env().await);
    let endpoint = env::var("ENDPOINT_NAME")?;
    let capacity = env::var("CAPACITY").map_or(Ok(20), |capacity| capacity.parse())?;
    let handle = async |event: LambdaEvent<Event>| {
        let calls = event
            .payload
            .records
            .iter()
            .map(|record| call(&client, &endpoint, record));
        let responses: Vec<_> = iter(calls).buffered(capacity).collect().await;
        let records = event.payload.records.iter().zip(responses);
        let failed = records.filter(|(_, response)| response.is_err());
        let failures: Vec<_> = failed
            .map(|(record, _)| json!({"itemIdentifier": record.kinesis.sequence_number}))
            .collect();
        Ok::<Value, Error>(json!({"batchItemFailures": failures}))
    };
    run(service_fn(handle)).await
}

async fn call(client: &Client, endpoint: &str, record: &Record) -> Result<Vec<u8>, Error> {
    let data = BASE64.decode(&record.kinesis.data)?;
    let call = client
        .invoke_endpoint()
        .endpoint_name(endpoint)
        .content_type("application/json")
        .accept("application/json")
        .body(Blob::new(data));
    let response = call.send().await?;
    Ok(response.body.map(Blob::into_inner).unwrap_or_default())
}
