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
            Err(error) => Answer::failed("the function cannot be invoked", &in_words(&error).to_string()),
            Ok(answer) => {
                let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
                match answer.function_error {
                    // What it says is its own, and may quote the event: what sort of error it is will do.
                    Some(sort) => {
                        let error = serde_json::from_slice::<FunctionError>(&payload).unwrap_or_default();
                        Answer::failed("the function failed", &format!("{sort} {}", error.error_type))
                    }
                    None => Answer::Response(payload.into()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;
    use crate::environment::Settings;
    use crate::server::Server;

    /// Answers as Lambda does, by what the event says.
    fn lambda(event: &Bytes) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
        match &**event {
            b"fail" => (
                StatusCode::OK,
                [("X-Amz-Function-Error", "Unhandled")],
                r#"{"errorType":"Oops","errorMessage":"secret"}"#,
            ),
            b"throttle" => (
                StatusCode::TOO_MANY_REQUESTS,
                [("x-amzn-ErrorType", "TooManyRequestsException")],
                r#"{"message":"Rate exceeded"}"#,
            ),
            _ => (
                StatusCode::OK,
                [("x-amz-executed-version", "$LATEST")],
                r#"{"batchItemFailures":[]}"#,
            ),
        }
    }

    #[tokio::test]
    async fn an_error_of_the_functions_is_no_success_and_none_is_repeated_unasked() {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let invoke = move |event: Bytes| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = lambda(&event);
            async move { answer }
        };
        let router = Router::new().route("/2015-03-31/functions/instream/invocations", post(invoke));
        let server = Server::start(0, router).await.unwrap();
        let url = format!("http://{}", server.address);
        let settings = Settings::from([("AWS_ENDPOINT_URL_LAMBDA".to_owned(), url)]);
        let function = Deployed::open(&Services::new(settings), "instream").await;
        let answer = function.invoke(Bytes::from_static(b"{}")).await;
        assert_eq!(
            answer,
            Answer::Response(Bytes::from_static(b"{\"batchItemFailures\":[]}"))
        );
        let failed = function.invoke(Bytes::from_static(b"fail")).await;
        let words = format!("{failed:?}");
        assert!(
            matches!(failed, Answer::Error(_)) && words.contains("Unhandled Oops"),
            "{words}"
        );
        assert!(!words.contains("secret"), "{words}");
        let throttled = format!("{:?}", function.invoke(Bytes::from_static(b"throttle")).await);
        assert!(
            throttled.starts_with("Error(") && throttled.contains("TooManyRequests"),
            "{throttled}"
        );
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }
}
