//! A Lambda function that does nothing, as a baseline for the function's cold start.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let handle = async |_: LambdaEvent<Value>| Ok::<Value, Error>(json!({"batchItemFailures": []}));
    run(service_fn(handle)).await
}
