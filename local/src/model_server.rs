//! A client of a model server on this machine. The server implements `SageMaker`'s contract for containers,
//! `POST /invocations` and `GET /ping`:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html>. A container of a multi-model
//! endpoint has a path for each model:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/mms-container-apis.html>.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::{Extensions, HeaderMap, HeaderValue, Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::sagemaker::ContainerAnswer;

/// The time within which a model must answer, 60 s.
const INVOCATION_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout of a ping. A server that is up answers it immediately.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The path of a container with one model.
const INVOCATIONS: &str = "/invocations";
/// The header that names the model of a multi-model endpoint.
const TARGET_MODEL: &str = "x-amzn-sagemaker-target-model";
/// The headers that `SageMaker` forwards to the container. The inference ID is not one of them: by its documentation,
/// it is only added to captured data.
const FORWARDED_HEADERS: [&str; 4] = [
    "content-type",
    "accept",
    "x-amzn-sagemaker-custom-attributes",
    TARGET_MODEL,
];

/// The user's model server.
#[derive(Debug)]
pub struct ModelServer {
    /// The scheme, host and port of the server.
    origin: String,
    /// The path of every request, and its query.
    path: String,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Never reuses a connection.
    unpooled: Client<HttpConnector, Full<Bytes>>,
    /// The local addresses of the pooled connections that have answered.
    answered: Mutex<HashSet<SocketAddr>>,
}

impl ModelServer {
    /// Connects to the server at `url`, such as `http://127.0.0.1:8080`, and checks that it is up. Requests go to the
    /// path of the URL. Without a path, they go where `SageMaker` sends them.
    ///
    /// # Errors
    ///
    /// If `url` is not a plain HTTP URL, or no server answers there.
    pub async fn connect(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let host = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let host = host.with_context(|| format!("{url:?} must be a plain HTTP URL such as http://127.0.0.1:8080"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut builder = Client::builder(TokioExecutor::new());
        let server = Self {
            origin: format!("http://{host}"),
            path: if path == "/" { INVOCATIONS } else { path }.to_owned(),
            client: builder.build_http(),
            unpooled: builder.pool_max_idle_per_host(0).build_http(),
            answered: Mutex::default(),
        };
        let ping = Request::get(format!("{}/ping", server.origin)).body(Full::default())?;
        // Any status shows that the server is up: not every server has a /ping.
        let answered = timeout(PING_TIMEOUT, server.client.request(ping)).await;
        answered
            .map_err(anyhow::Error::from)
            .and_then(|answered| Ok(answered?))
            .with_context(|| format!("nothing answers at {}/ping: is the model server up?", server.origin))?;
        Ok(server)
    }

    /// Returns the URL of the requests that name no model.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.path)
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
        let sent = self.client.request(self.request(headers, body.clone())?).await;
        let response = match sent {
            // Some servers close a connection after an answer without announcing it, for example uvicorn after an
            // unhandled exception. The request was then never read.
            Err(error) if self.is_on_reused_connection(&error) => {
                self.unpooled.request(self.request(headers, body)?).await?
            }
            sent => sent?,
        };
        if let Some(address) = local_address(response.extensions()) {
            self.answered().insert(address);
        }
        let (parts, body) = response.into_parts();
        let content_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok());
        Ok(ContainerAnswer {
            status: parts.status.as_u16(),
            content_type: content_type.map(str::to_owned),
            body: body.collect().await?.to_bytes(),
        })
    }

    fn request(&self, headers: &HeaderMap<HeaderValue>, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::post(format!("{}{}", self.origin, self.path_for(headers)));
        for name in FORWARDED_HEADERS {
            for value in headers.get_all(name) {
                request = request.header(name, value);
            }
        }
        Ok(request.body(Full::new(body))?)
    }

    /// Returns the path of a request: that of its model if it names one, unless the user has chosen a path.
    fn path_for(&self, headers: &HeaderMap<HeaderValue>) -> Cow<'_, str> {
        match headers.get(TARGET_MODEL) {
            Some(model) if self.path == INVOCATIONS => {
                let encoded: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
                // Form encoding differs from a path's for spaces only. A plus sign is already `%2B`.
                format!("/models/{}/invoke", encoded.replace('+', "%20")).into()
            }
            _ => Cow::Borrowed(&self.path),
        }
    }

    /// Returns whether a request failed, before the head of its answer, on a connection that has answered before.
    fn is_on_reused_connection(&self, error: &Error) -> bool {
        let mut connection = Extensions::new();
        if let Some(connected) = error.connect_info() {
            connected.get_extras(&mut connection);
        }
        local_address(&connection).is_some_and(|address| self.answered().remove(&address))
    }

    fn answered(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn local_address(connection: &Extensions) -> Option<SocketAddr> {
    connection.get::<HttpInfo>().map(HttpInfo::local_addr)
}
