//! Shared by the gateway's tests: calls signed as the AWS SDK signs them, and their responses.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::*;
use crate::sagemaker::{EndpointOptions, SageMakerRuntime};

mod calls;
mod services;
mod time;

const RECORD: &str = r#"["2026-03-14T12:00:00Z",9,"groceries","DE","DE","192.0.2.1"]"#;

async fn start(gateway: GatewayOptions) -> SageMakerRuntime {
    start_with(EndpointOptions {
        gateway: Some(gateway),
        ..EndpointOptions::default()
    })
    .await
}

async fn start_with(options: EndpointOptions) -> SageMakerRuntime {
    SageMakerRuntime::start(0, &options).await.unwrap()
}

fn gateway(endpoint: &SageMakerRuntime) -> &Gateway {
    endpoint.gateway().unwrap()
}

fn static_credentials() -> Credentials {
    let credentials = Credentials::builder().access_key_id("local").secret_access_key("local");
    credentials.provider_name("test").build()
}

/// Signs a request as the AWS SDK does.
fn signed(mut request: Request<Full<Bytes>>, body: &[u8], credentials: &Credentials) -> Request<Full<Bytes>> {
    let host = request.uri().authority().unwrap().to_string();
    request.headers_mut().insert("host", host.parse().unwrap());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let uri = request.uri().to_string();
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, SignableBody::Bytes(body)).unwrap();
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request
}

/// A valid call.
fn call(endpoint: &SageMakerRuntime, body: impl Into<Bytes>, credentials: &Credentials) -> Request<Full<Bytes>> {
    let body = body.into();
    let request = Request::post(format!("{}{PATH}", endpoint.url()))
        .header("content-type", "application/json")
        .header("x-api-key", gateway(endpoint).key())
        .body(Full::new(body.clone()))
        .unwrap();
    signed(request, &body, credentials)
}

/// A response: its status, `x-amzn-ErrorType`, content type and body.
#[derive(Debug, PartialEq, Eq)]
struct GatewayResponse {
    status: u16,
    error_type: Option<String>,
    content_type: String,
    body: Bytes,
}

impl GatewayResponse {
    async fn from_http(response: Response<impl axum::body::HttpBody<Data = Bytes, Error: fmt::Debug>>) -> Self {
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status().as_u16(),
            error_type: header("x-amzn-errortype"),
            content_type: header("content-type").unwrap_or_default(),
            body: response.into_body().collect().await.unwrap().to_bytes(),
        }
    }

    /// A response of the gateway itself, not of the container.
    fn own(status: u16, error_type: &str, message: &str) -> Self {
        Self {
            status,
            error_type: Some(error_type.to_owned()),
            content_type: "application/json".to_owned(),
            body: format!(r#"{{"message":"{message}"}}"#).into(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn send(request: Request<Full<Bytes>>) -> GatewayResponse {
    let client = Client::builder(TokioExecutor::new()).build_http();
    GatewayResponse::from_http(client.request(request).await.unwrap()).await
}

fn forbidden(error_type: &str, message: &str) -> GatewayResponse {
    GatewayResponse::own(403, error_type, message)
}

fn missing_token() -> GatewayResponse {
    forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
}

fn unknown_credentials() -> GatewayResponse {
    forbidden(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}
