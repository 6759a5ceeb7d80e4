//! A deployed function, invoked synchronously with Lambda's Invoke API.

use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use bytes::Bytes;
use instream_local::environment::Settings;
use instream_local::function::InvocationResult;
use instream_local::runtime_api::FunctionError;

use crate::aws::config;

/// The timeout of a call: the 15 minutes that Lambda allows for an invocation, and time to start.
const INVOCATION_TIMEOUT: Duration = Duration::from_mins(16);

/// A function in AWS.
pub(crate) struct Deployed {
    client: Client,
    name: String,
}

impl Deployed {
    /// Creates a client for the function with this name or ARN. The first invocation shows whether the function exists.
    pub(super) async fn open(settings: &Settings, name: &str) -> Self {
        let config = config(settings, "LAMBDA").await.into_builder();
        // The SDK must not retry: such an invocation would not be counted.
        let config = config.retry_config(RetryConfig::disabled());
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(INVOCATION_TIMEOUT)
            .read_timeout(INVOCATION_TIMEOUT);
        Self {
            client: Client::new(&config.timeout_config(timeouts.build()).build()),
            name: name.to_owned(),
        }
    }

    /// Invokes the function with an event and waits for the result. Of an error, only the type is kept: the function's
    /// message may quote the event.
    pub(super) async fn invoke(&self, event: Bytes) -> InvocationResult {
        let request = self.client.invoke().function_name(&self.name);
        let request = request.invocation_type(InvocationType::RequestResponse);
        match request.payload(Blob::new(event)).send().await {
            // The SDK's words come from Lambda or from this program, so they quote no records.
            Err(error) => InvocationResult::failed(&format!("{:#}", anyhow::Error::from(error)), ""),
            Ok(answer) => {
                let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
                let Some(kind) = answer.function_error else {
                    return InvocationResult::Response(payload.into());
                };
                let error = serde_json::from_slice::<FunctionError>(&payload).unwrap_or_default();
                InvocationResult::failed(&format!("{kind} {}", error.error_type), "")
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
    use instream_local::server::Server;

    use super::*;

    /// Responds as Lambda does. The event selects the response.
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
    async fn errors_are_failures_and_no_invocation_is_retried_by_the_sdk() {
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
        let function = Deployed::open(&settings, "instream").await;
        let answer = function.invoke(Bytes::from_static(b"{}")).await;
        assert_eq!(
            answer,
            InvocationResult::Response(Bytes::from_static(b"{\"batchItemFailures\":[]}"))
        );
        let failed = function.invoke(Bytes::from_static(b"fail")).await;
        let words = format!("{failed:?}");
        assert!(
            matches!(failed, InvocationResult::Error(_)) && words.contains("Unhandled Oops"),
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
