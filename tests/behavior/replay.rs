//! AWS over an HTTP client that gives scripted answers.

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
use instream::endpoint::remote::Remote;
use instream::endpoint::{Endpoint as _, Fault, Response};
use instream::request::InferenceRequest;
use tokio::task::yield_now;

use crate::over::ENDPOINT;

/// What the service answers to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    /// No answer, since the connection ended like this.
    Io(io::ErrorKind),
    /// No answer, since the connection ended in the middle of one.
    CutShort,
    /// An answer that does not end, with this status.
    Endless(u16),
    /// An answer with this status, whose body ends too early.
    BodyCutShort(u16),
    /// An answer with this status, whose body never comes.
    BodyHangs(u16),
    /// No answer ever.
    Hang,
}

/// An HTTP client that keeps the requests, and gives these answers, the last of them again and again.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    answers: Vec<Answer>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Replay {
    /// Answers all with an empty object, and keeps the requests here.
    pub(crate) fn onto(requests: &Arc<Mutex<Vec<HttpRequest>>>) -> Self {
        Self {
            answers: vec![Answer::Http(200, &[], "{}")],
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
            Answer::Hang => return HttpConnectorFuture::new(std::future::pending()),
            Answer::Io(kind) => Err(ConnectorError::io(io::Error::from(kind).into())),
            Answer::CutShort => Err(ConnectorError::other(
                "connection closed before message completed".into(),
                Some(ErrorKind::TransientError),
            )),
            Answer::Endless(status) => Ok(answer_with(status, Pieces::Endless)),
            Answer::BodyCutShort(status) => Ok(answer_with(status, Pieces::CutShort)),
            Answer::BodyHangs(status) => Ok(answer_with(status, Pieces::Hang)),
            Answer::Http(status, headers, body) => {
                let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                for (name, value) in headers {
                    response.headers_mut().insert(*name, *value);
                }
                Ok(response)
            }
        };
        // Concurrent requests are all under way before the first is answered.
        HttpConnectorFuture::new(async {
            yield_now().await;
            answer
        })
    }
}

/// How a body comes.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    /// One after the other, without an end.
    Endless,
    /// The connection ends.
    CutShort,
    /// Not at all.
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

/// One call with these settings to a service that gives these answers: what came of it, and the requests that it took.
pub(crate) async fn call(settings: &[(&str, &str)], answers: &[Answer]) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    call_with(&request(), settings, answers).await
}

/// As [`call`], with another request.
pub(crate) async fn call_with(
    request: &InferenceRequest,
    settings: &[(&str, &str)],
    answers: &[Answer],
) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    let (endpoint, requests) = endpoint(credentials(), settings, answers).await;
    let answer = endpoint.invoke(request).await;
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    (answer, requests)
}

pub(crate) fn request() -> InferenceRequest {
    InferenceRequest::alone(0, "49590-0", "{\"amount\":1}")
}

/// The endpoint, and the requests that it will have made.
pub(crate) async fn endpoint(
    credentials: SharedCredentialsProvider,
    settings: &[(&str, &str)],
    answers: &[Answer],
) -> (Remote, Arc<Mutex<Vec<HttpRequest>>>) {
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
    let endpoint = Remote::new(http, &environment, config.endpoint, &config.parameters).await;
    (endpoint.unwrap(), requests)
}

/// What the SDK finds around a service that gives these answers, and the requests that it will have taken.
pub(crate) fn environment(
    credentials: SharedCredentialsProvider,
    answers: &[Answer],
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
