//! A client of a model server on this machine. The server implements `SageMaker`'s contract for containers,
//! `POST /invocations` and `GET /ping`:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html>.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::http::{HeaderMap, HeaderValue, Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::sagemaker::ContainerAnswer;

/// The time within which a model must answer, 60 s.
const INVOCATION_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of a ping. A server that is up answers it immediately.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The headers that `SageMaker` forwards to the container.
const FORWARDED_HEADERS: [&str; 3] = ["content-type", "accept", "x-amzn-sagemaker-custom-attributes"];

/// The user's model server.
#[derive(Debug, Clone)]
pub struct ModelServer {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl ModelServer {
    /// Connects to the server at `url`, such as `http://127.0.0.1:8080`, and checks that it is up.
    ///
    /// # Errors
    ///
    /// If `url` is not a plain HTTP URL, or no server answers there.
    pub async fn connect(url: &str) -> Result<Self> {
        let base = url.trim_end_matches('/').trim_end_matches("/invocations").to_owned();
        let uri: Uri = base.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let plain_http = uri.scheme_str() == Some("http") && uri.host().is_some();
        ensure!(
            plain_http,
            "{url:?} must be a plain HTTP URL such as http://127.0.0.1:8080"
        );
        let server = Self {
            base,
            client: Client::builder(TokioExecutor::new()).build_http(),
        };
        let ping = Request::get(format!("{}/ping", server.base)).body(Full::default())?;
        // Any status shows that the server is up: not every server has a /ping.
        let answered = timeout(PING_TIMEOUT, server.client.request(ping)).await;
        answered
            .map_err(anyhow::Error::from)
            .and_then(|answered| Ok(answered?))
            .with_context(|| format!("nothing answers at {}/ping: is the model server up?", server.base))?;
        Ok(server)
    }

    /// Sends one request to the container. If it fails or takes too long, the status is 0, as `SageMaker` reports it.
    pub(crate) async fn invoke(&self, headers: &HeaderMap<HeaderValue>, body: Bytes) -> ContainerAnswer {
        let exchanged = timeout(INVOCATION_TIMEOUT, self.exchange(headers, body)).await;
        exchanged
            .map_err(anyhow::Error::from)
            .flatten()
            .unwrap_or_else(|error| ContainerAnswer {
                status: 0,
                content_type: None,
                body: format!("Your invocation timed out or the container died: {error:#}").into(),
            })
    }

    async fn exchange(&self, headers: &HeaderMap<HeaderValue>, body: Bytes) -> Result<ContainerAnswer> {
        let mut request = Request::post(format!("{}/invocations", self.base));
        for name in FORWARDED_HEADERS {
            for value in headers.get_all(name) {
                request = request.header(name, value);
            }
        }
        let response = self.client.request(request.body(Full::new(body))?).await?;
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok());
        Ok(ContainerAnswer {
            status: parts.status.as_u16(),
            content_type: content_type.map(str::to_owned),
            body: body.collect().await?.to_bytes(),
        })
    }
}
