//! A function that runs under `cargo lambda watch`: it is invoked over HTTP, and nothing else is known of it.

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

use crate::function::Answer;
use crate::runtime_api::FunctionError;

/// Where Lambda's Invoke API takes events for the function.
const INVOCATIONS: &str = "2015-03-31/functions/instream/invocations";
/// Somebody who listens takes a connection at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The function.
#[derive(Debug, Clone)]
pub struct WatchedFunction {
    url: String,
    timeout: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl WatchedFunction {
    /// Looks whether somebody listens at `base`, such as `http://127.0.0.1:9000`. `timeout` is the time for one invocation.
    ///
    /// # Errors
    ///
    /// If the URL is none of plain HTTP, or nobody listens there.
    pub async fn connect(base: &str, timeout: Duration) -> Result<Self> {
        let uri: Uri = base.parse().with_context(|| format!("{base:?} is no URL"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("http"));
        ensure!(host.is_some(), "{base:?} is not like http://127.0.0.1:9000");
        let host = host.unwrap_or_default().trim_matches(['[', ']']);
        let connection = TcpStream::connect((host, uri.port_u16().unwrap_or(80)));
        // No request: any would start the function with an event that is none.
        tokio::time::timeout(CONNECT_MAX, connection)
            .await
            .map_err(anyhow::Error::from)
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("nobody listens at {base}: does `cargo lambda watch` run?"))?;
        Ok(Self {
            url: format!("{}/{INVOCATIONS}", base.trim_end_matches('/')),
            timeout,
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Hands the function an event and waits for the answer.
    pub async fn invoke(&self, event: Bytes) -> Answer {
        match timeout(self.timeout, self.exchange(event)).await {
            Ok(Ok((status, body))) => answer(status, body),
            Ok(Err(error)) => Answer::failed("the function cannot be invoked", &format!("{error:#}")),
            Err(_elapsed) => Answer::TimedOut(self.timeout),
        }
    }

    async fn exchange(&self, event: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(&self.url).header("Content-Type", "application/json");
        let response = self.client.request(request.body(Full::new(event))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// An error is told by a body that has an `errorType`, with whatever status, or by the status alone.
fn answer(status: StatusCode, body: Bytes) -> Answer {
    let value = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let is_error = value.get("errorType").is_some();
    match serde_json::from_value::<FunctionError>(value) {
        Ok(error) if is_error => Answer::Error(error),
        _ if status == StatusCode::OK => Answer::Response(body),
        _ => Answer::failed(&format!("status {status}"), &String::from_utf8_lossy(&body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_error_by_its_body_or_its_status() {
        let of = |status: StatusCode, body: &str| answer(status, Bytes::copy_from_slice(body.as_bytes()));
        let response = r#"{"batchItemFailures":[]}"#;
        for body in [response, "null", ""] {
            assert_eq!(
                of(StatusCode::OK, body),
                Answer::Response(Bytes::copy_from_slice(body.as_bytes()))
            );
        }
        let error = r#"{"errorType":"Oops","errorMessage":"no"}"#;
        for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
            assert_eq!(of(status, error), Answer::failed("Oops", "no"));
        }
        assert_eq!(
            of(StatusCode::BAD_GATEWAY, response),
            Answer::failed("status 502 Bad Gateway", response)
        );
    }

    #[tokio::test]
    async fn a_function_is_invoked_where_cargo_lambda_listens() {
        let echo = async |event: Bytes| event;
        let router = axum::Router::new().route(&format!("/{INVOCATIONS}"), axum::routing::post(echo));
        let server = crate::server::Server::start(0, router).await.unwrap();
        let base = format!("http://{}/", server.address);
        let function = WatchedFunction::connect(&base, CONNECT_MAX).await.unwrap();
        let event = Bytes::from_static(b"{\"Records\":[]}");
        assert_eq!(function.invoke(event.clone()).await, Answer::Response(event));
        drop(server);
        let refused = WatchedFunction::connect("http://127.0.0.1:1", CONNECT_MAX).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("cargo lambda watch"), "{error}");
    }
}
