//! Simulated AWS services around an endpoint: Secrets Manager with one key, STS with one role, and an endpoint that
//! requires both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sagemakerruntime::config::HttpClient;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use instream::config::Config;
use instream::endpoint::target::AnyEndpoint;
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::replay::credentials;

pub(crate) const SECRET: &str = "secretsmanager:gateway-key";
pub(crate) const ROLE: &str = "arn:aws:iam::210987654321:role/scorer";

/// The services, their settings and the calls that they got.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsStub(pub(crate) Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The key that the endpoint requires, if any.
    pub(crate) expected_key: Option<String>,
    /// The response of Secrets Manager.
    pub(crate) secret: Secret,
    /// The status and code of the error that STS returns. Without it, the role can be assumed.
    pub(crate) sts_error: Option<(u16, &'static str)>,
    /// The number of sessions that STS has created. The endpoint accepts only the latest.
    pub(crate) sessions: usize,
    /// The end of a body that a firewall blocks.
    pub(crate) blocks: Option<&'static str>,
    /// Whether the endpoint accepts no session at all.
    pub(crate) refuses_sessions: bool,
    /// Bodies of the calls to Secrets Manager.
    pub(crate) secret_requests: Vec<String>,
    /// The region of the last call to Secrets Manager.
    pub(crate) secret_region: String,
    /// The keys in the calls of the endpoint.
    pub(crate) keys: Vec<Option<String>>,
    /// Bodies of the calls to STS.
    pub(crate) sts_requests: Vec<String>,
    /// The response time of Secrets Manager and STS.
    pub(crate) delay: Duration,
    /// The error code of the endpoint for a wrong key. Empty means `ForbiddenException`.
    pub(crate) key_error_code: &'static str,
    /// Whether the status for a wrong key is 401 instead of 403.
    pub(crate) is_unauthorized: bool,
    /// The URL of the last call of the endpoint.
    pub(crate) called_url: String,
    /// The signing scope of the last call of the endpoint.
    pub(crate) signing_scope: String,
    /// The access keys that signed the calls of the endpoint.
    pub(crate) signers: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Secret {
    /// A secret with this text.
    Text(&'static str),
    /// An error with this status and code.
    Error(u16, &'static str),
}

impl Default for Secret {
    fn default() -> Self {
        Self::Error(400, "ResourceNotFoundException")
    }
}

impl AwsStub {
    /// Reads or changes the state.
    pub(crate) fn state<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        access(&mut self.0.lock().unwrap())
    }

    /// Creates an endpoint with these settings that uses these services.
    pub(crate) async fn endpoint(&self, settings: &[(&str, &str)]) -> AnyEndpoint {
        let setting = |name: &str| {
            let mut settings = settings.iter().chain(&[("OUTPUT", "none:")]);
            settings.find(|(key, _)| *key == name).map(|(_, it)| (*it).to_owned())
        };
        let config = Config::from_lookup(setting).unwrap();
        let environment = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(credentials())
            .http_client(self.clone())
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new())
            .build();
        let http = SharedHttpConnector::new(self.clone());
        let endpoint = Box::pin(AnyEndpoint::new(
            http,
            &environment,
            config.endpoint,
            &config.parameters,
        ));
        endpoint.await.unwrap()
    }
}

impl State {
    fn answer(&mut self, request: &HttpRequest) -> HttpResponse {
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        let uri = request.uri();
        if uri.contains("//secretsmanager.") {
            self.secret_requests.push(body);
            uri.split('.').nth(1).unwrap().clone_into(&mut self.secret_region);
            self.secret()
        } else if uri.contains("//sts.") {
            self.sts_requests.push(body);
            self.session()
        } else {
            self.predict(request)
        }
    }

    fn secret(&self) -> HttpResponse {
        match self.secret {
            Secret::Text(text) => response(200, &json!({ "Name": "gateway-key", "SecretString": text }).to_string()),
            Secret::Error(status, code) => response(status, &json!({ "__type": code, "message": "m" }).to_string()),
        }
    }

    fn session(&mut self) -> HttpResponse {
        if let Some((status, code)) = self.sts_error {
            let error =
                format!("<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>");
            return response(status, &error);
        }
        self.sessions += 1;
        let credentials = format!(
            "<AccessKeyId>SESSION{}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration>",
            self.sessions
        );
        let answer = format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>{credentials}</Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>"
        );
        response(200, &answer)
    }

    fn predict(&mut self, request: &HttpRequest) -> HttpResponse {
        let header = |name: &str| request.headers().get(name).map(ToOwned::to_owned);
        let (key, authorization) = (header("x-api-key").or(header("x-key")), header("authorization"));
        let of_header = key.or(authorization.clone().filter(|value| value.starts_with("Bearer")));
        self.keys.push(of_header.clone());
        let signer = authorization
            .as_deref()
            .and_then(|value| value.split("Credential=").nth(1));
        request.uri().clone_into(&mut self.called_url);
        signer.unwrap_or_default().clone_into(&mut self.signing_scope);
        let signer = signer.and_then(|value| value.split('/').next()).unwrap_or_default();
        self.signers.push(signer.to_owned());
        if self.expected_key.is_some() && self.expected_key != of_header {
            let mut refusal = refusal(match self.key_error_code {
                "" => "ForbiddenException",
                other => other,
            });
            if self.is_unauthorized {
                *refusal.status_mut() = 401.try_into().unwrap();
            }
            return refusal;
        }
        let body = request.body().bytes().unwrap();
        if self.blocks.is_some_and(|blocked| body.ends_with(blocked.as_bytes())) {
            return refusal("ForbiddenException");
        }
        let is_latest = signer == format!("SESSION{}", self.sessions);
        if signer.starts_with("SESSION") && (self.refuses_sessions || !is_latest) {
            return refusal("ExpiredTokenException");
        }
        response(200, "{}")
    }
}

fn refusal(code: &'static str) -> HttpResponse {
    let mut refusal = response(403, "{}");
    refusal.headers_mut().insert("x-amzn-errortype", code);
    refusal
}

fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
}

impl HttpConnector for AwsStub {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.clone();
        // All concurrent requests start before the first gets its response.
        HttpConnectorFuture::new(async move {
            if ["secretsmanager", "sts"]
                .iter()
                .any(|service| request.uri().contains(&format!("//{service}.")))
            {
                sleep(aws.state(|state| state.delay)).await;
            }
            yield_now().await;
            Ok(aws.state(|state| state.answer(&request)))
        })
    }
}

impl HttpClient for AwsStub {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
