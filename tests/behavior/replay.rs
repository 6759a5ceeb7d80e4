//! An HTTP client with scripted replies, and an endpoint and an AWS environment that use it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sagemakerruntime::config::{Credentials, HttpClient, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use bytes::Bytes;
use http_body::Frame;
use instream::config::Config;
use instream::endpoint::target::AnyEndpoint;
use instream::endpoint::{Endpoint as _, Response};
use instream::inference::InferenceRequest;
use instream::outcome::Fault;
use tokio::task::yield_now;

use crate::transport::ENDPOINT;

/// The reply of a service to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reply {
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    /// No response: the connection fails with this error.
    Io(io::ErrorKind),
    /// No response: the connection ends before the response is complete.
    CutShort,
    /// A response with this status and an endless body.
    Endless(u16),
    /// A response with this status whose body ends too early.
    BodyCutShort(u16),
    /// A response with this status whose body never arrives.
    BodyHangs(u16),
    /// No response at all.
    Hang,
}

/// An HTTP client that logs the requests and gives these replies in order. It repeats the last reply.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    answers: Vec<Reply>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Replay {
    /// Replies to every request with an empty JSON object, and logs the requests to `requests`.
    pub(crate) fn onto(requests: &Arc<Mutex<Vec<HttpRequest>>>) -> Self {
        Self {
            answers: vec![Reply::Http(200, &[], "{}")],
            requests: Arc::clone(requests),
        }
    }
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut requests = self.requests.lock().unwrap();
        let answer = self.answers.get(requests.len()).or(self.answers.last());
        requests.push(request);
        let answer = match *answer.unwrap() {
            Reply::Hang => return HttpConnectorFuture::new(std::future::pending()),
            Reply::Io(kind) => Err(ConnectorError::io(io::Error::from(kind).into())),
            Reply::CutShort => Err(ConnectorError::other(
                "connection closed before message completed".into(),
                Some(ErrorKind::TransientError),
            )),
            Reply::Endless(status) => Ok(answer_with(status, Pieces::Endless)),
            Reply::BodyCutShort(status) => Ok(answer_with(status, Pieces::CutShort)),
            Reply::BodyHangs(status) => Ok(answer_with(status, Pieces::Hang)),
            Reply::Http(status, headers, body) => {
                let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                for (name, value) in headers {
                    response.headers_mut().insert(*name, *value);
                }
                Ok(response)
            }
        };
        // All concurrent requests start before the first gets its reply.
        HttpConnectorFuture::new(async {
            yield_now().await;
            answer
        })
    }
}

/// A body that does not arrive completely.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    /// Piece after piece, without an end.
    Endless,
    /// The connection ends.
    CutShort,
    /// Nothing arrives.
    Hang,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        const PIECE: Bytes = Bytes::from_static(&[b'x'; 65_536]);
        match *self {
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(PIECE)))),
            Self::CutShort => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Self::Hang => Poll::Pending,
        }
    }
}

fn answer_with(status: u16, body: Pieces) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from_body_1_x(body))
}

impl HttpClient for Replay {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// Makes one call with these settings to a service with these replies. Returns the result and the requests.
pub(crate) async fn call(settings: &[(&str, &str)], answers: &[Reply]) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    call_with(&request(), settings, answers).await
}

/// Like [`call`], with this request.
pub(crate) async fn call_with(
    request: &InferenceRequest,
    settings: &[(&str, &str)],
    answers: &[Reply],
) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    let (endpoint, requests) = endpoint(credentials(), settings, answers).await;
    let answer = invoke(&endpoint, request).await;
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    (answer, requests)
}

/// Prepares and makes one call.
pub(crate) async fn invoke(endpoint: &AnyEndpoint, request: &InferenceRequest) -> Result<Response, Fault> {
    endpoint.prepare().await?;
    endpoint.invoke(request.call()).await
}

pub(crate) fn request() -> InferenceRequest {
    InferenceRequest::single(0, "49590-0", "{\"amount\":1}")
}

/// Creates an endpoint with these settings and replies. Returns it with the list of the requests that it makes.
pub(crate) async fn endpoint(
    credentials: SharedCredentialsProvider,
    settings: &[(&str, &str)],
    answers: &[Reply],
) -> (AnyEndpoint, Arc<Mutex<Vec<HttpRequest>>>) {
    let (environment, requests) = environment(credentials, answers);
    let setting = |name: &str| {
        let mut settings = settings.iter().chain(&ENDPOINT);
        settings.find(|(key, _)| *key == name).map(|(_, it)| (*it).to_owned())
    };
    let config = Config::from_lookup(setting).unwrap();
    let http = SharedHttpConnector::new(Replay {
        answers: answers.to_vec(),
        requests: Arc::clone(&requests),
    });
    // Boxed, because setting up an endpoint takes a large future.
    let endpoint = Box::pin(AnyEndpoint::new(
        http,
        &environment,
        config.endpoint,
        &config.parameters,
    ))
    .await;
    (endpoint.unwrap(), requests)
}

/// Creates an SDK configuration for a service with these replies. Returns it with the list of the service's requests.
pub(crate) fn environment(
    credentials: SharedCredentialsProvider,
    answers: &[Reply],
) -> (SdkConfig, Arc<Mutex<Vec<HttpRequest>>>) {
    let requests = Arc::default();
    let client = Replay {
        answers: answers.to_vec(),
        requests: Arc::clone(&requests),
    };
    let environment = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(credentials)
        .http_client(client)
        .build();
    (environment, requests)
}

pub(crate) fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test"))
}
