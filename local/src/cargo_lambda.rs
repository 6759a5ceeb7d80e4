//! A function that runs under `cargo lambda watch`. It is invoked over HTTP; its process is not visible here.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::function::InvocationResult;
use crate::runtime_api::FunctionError;

/// The path of Lambda's Invoke API for the function.
const INVOCATIONS: &str = "2015-03-31/functions/instream/invocations";
/// The maximum time to connect. A server on this machine accepts a connection immediately.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A function that `cargo lambda watch` runs.
#[derive(Debug, Clone)]
pub struct WatchedFunction {
    url: String,
    timeout: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl WatchedFunction {
    /// Checks that a server listens at `base`, such as `http://127.0.0.1:9000`. `timeout` is the timeout of one
    /// invocation.
    ///
    /// # Errors
    ///
    /// If the URL is not an `http` URL, or no server listens there.
    pub async fn connect(base: &str, timeout: Duration) -> Result<Self> {
        let uri: Uri = base.parse().with_context(|| format!("{base:?} is not a URL"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
        ensure!(host.is_some(), "{base:?} is not like http://127.0.0.1:9000");
        let host = host.unwrap_or_default().trim_matches(['[', ']']);
        let connection = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
        // Only connects: any request would invoke the function, with a body that is not an event.
        tokio::time::timeout(CONNECT_TIMEOUT, connection)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("no server listens at {base}: is `cargo lambda watch` running?"))?;
        Ok(Self {
            url: format!("{}/{INVOCATIONS}", base.trim_end_matches('/')),
            timeout,
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Invokes the function with an event and waits for the result.
    pub async fn invoke(&self, event: Bytes) -> InvocationResult {
        match timeout(self.timeout, self.exchange(event)).await {
            Ok(Ok((status, body))) => answer(status, body),
            Ok(Err(error)) => InvocationResult::failed("the function cannot be invoked", &format!("{error:#}")),
            Err(_elapsed) => InvocationResult::TimedOut(self.timeout),
        }
    }

    async fn exchange(&self, event: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(&self.url).header("Content-Type", "application/json");
        let response = self.client.request(request.body(Full::new(event))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// Converts the HTTP response. A body with an `errorType` is an error of the function, whatever the status; any other
/// response with a status other than 200 is an error as well.
fn answer(status: StatusCode, body: Bytes) -> InvocationResult {
    let value = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let is_error = value.get("errorType").is_some();
    match serde_json::from_value::<FunctionError>(value) {
        Ok(error) if is_error => InvocationResult::Error(error),
        _ if status == StatusCode::OK => InvocationResult::Response(body),
        _ => InvocationResult::failed(&format!("status {status}"), &String::from_utf8_lossy(&body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_an_error_by_its_body_or_its_status() {
        let of = |status: StatusCode, body: &str| answer(status, Bytes::copy_from_slice(body.as_bytes()));
        let response = r#"{"batchItemFailures":[]}"#;
        for body in [response, "null", ""] {
            assert_eq!(
                of(StatusCode::OK, body),
                InvocationResult::Response(Bytes::copy_from_slice(body.as_bytes()))
            );
        }
        let error = r#"{"errorType":"Oops","errorMessage":"no"}"#;
        for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
            assert_eq!(of(status, error), InvocationResult::failed("Oops", "no"));
        }
        assert_eq!(
            of(StatusCode::BAD_GATEWAY, response),
            InvocationResult::failed("status 502 Bad Gateway", response)
        );
    }

    #[tokio::test]
    async fn a_function_is_invoked_at_the_address_where_cargo_lambda_listens() {
        let echo = async |event: Bytes| event;
        let router = axum::Router::new().route(&format!("/{INVOCATIONS}"), axum::routing::post(echo));
        let server = crate::server::Server::start(0, router).await.unwrap();
        let base = format!("http://{}/", server.address);
        let function = WatchedFunction::connect(&base, CONNECT_TIMEOUT).await.unwrap();
        let event = Bytes::from_static(b"{\"Records\":[]}");
        assert_eq!(function.invoke(event.clone()).await, InvocationResult::Response(event));
        drop(server);
        let refused = WatchedFunction::connect("http://127.0.0.1:1", CONNECT_TIMEOUT).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("cargo lambda watch"), "{error}");
    }
}
