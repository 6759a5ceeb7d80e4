//! A deployed function, invoked as `aws lambda invoke` does: one event, and the wait for its answer.

use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use bytes::Bytes;

use super::aws::{Services, in_words};
use crate::function::Answer;
use crate::runtime_api::FunctionError;

/// No function may take longer, and its start comes before.
const ANSWER_MAX: Duration = Duration::from_mins(16);

/// A function in AWS.
#[derive(Debug)]
pub(super) struct Deployed {
    client: Client,
    name: String,
}

impl Deployed {
    /// The function of this name or ARN. Whether it is there is told by its first invocation.
    pub(super) async fn open(services: &Services, name: &str) -> Self {
        let config = services.config("LAMBDA").await.into_builder();
        // An invocation that was repeated behind our back would be a repeat that nobody counts.
        let config = config.retry_config(RetryConfig::disabled());
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ANSWER_MAX)
            .read_timeout(ANSWER_MAX);
        Self {
            client: Client::new(&config.timeout_config(timeouts.build()).build()),
            name: name.to_owned(),
        }
    }

    /// Hands the function an event and waits for the answer.
    pub(super) async fn invoke(&self, event: Bytes) -> Answer {
        let request = self.client.invoke().function_name(&self.name);
        let request = request.invocation_type(InvocationType::RequestResponse);
        match request.payload(Blob::new(event)).send().await {
            Err(error) => failed("the function cannot be invoked", &in_words(&error).to_string()),
            Ok(answer) => {
                let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
                match answer.function_error {
                    // What it says is its own, and may quote the event: what sort of error it is will do.
                    Some(sort) => {
                        let error = serde_json::from_slice::<FunctionError>(&payload).unwrap_or_default();
                        failed("the function failed", &format!("{sort} {}", error.error_type))
                    }
                    None => Answer::Response(payload.into()),
                }
            }
        }
    }
}

fn failed(error_type: &str, error_message: &str) -> Answer {
    Answer::Error(FunctionError {
        error_type: error_type.to_owned(),
        error_message: error_message.to_owned(),
    })
}
