//! AWS around an endpoint: a Secrets Manager with one key, an STS with one role, and an endpoint that wants both.

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
use instream::endpoint::remote::Remote;
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::replay::credentials;

pub(crate) const SECRET: &str = "secretsmanager:gateway-key";
pub(crate) const ROLE: &str = "arn:aws:iam::210987654321:role/scorer";

/// All of it, and what was asked of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Around(pub(crate) Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// What the endpoint takes, where it wants a key.
    pub(crate) key: Option<String>,
    /// What Secrets Manager has: a text, or the error that it answers with and its status.
    pub(crate) secret: Secret,
    /// The error that STS answers with and its status; else the role may be assumed.
    pub(crate) not_assumed: Option<(u16, &'static str)>,
    /// Credentials that STS has given out so far; only the latest are taken.
    pub(crate) sessions: usize,
    /// Bodies of the calls to Secrets Manager, and the region of the last.
    pub(crate) fetched: Vec<String>,
    pub(crate) fetched_in: String,
    /// Values of the key's header at the endpoint.
    pub(crate) keys: Vec<Option<String>>,
    /// Bodies of the calls to STS.
    pub(crate) assumed: Vec<String>,
    /// How long Secrets Manager and STS take.
    pub(crate) slow: Duration,
    /// What the endpoint calls a wrong key.
    pub(crate) refusal: &'static str,
    /// Whether a wrong key has status 401, or 403.
    pub(crate) is_unauthorized: bool,
    /// Where the last call went, and for what it was signed.
    pub(crate) called: String,
    pub(crate) scope: String,
    /// Calls of the endpoint, by whom they were signed.
    pub(crate) signers: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Secret {
    Text(&'static str),
    Error(u16, &'static str),
}

impl Default for Secret {
    fn default() -> Self {
        Self::Error(400, "ResourceNotFoundException")
    }
}

impl Around {
    pub(crate) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// An endpoint with these settings, in the midst of it.
    pub(crate) async fn endpoint(&self, settings: &[(&str, &str)]) -> Remote {
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
        let endpoint = Remote::new(http, &environment, config.endpoint, &config.parameters);
        endpoint.await.unwrap()
    }
}

impl State {
    fn answer(&mut self, request: &HttpRequest) -> HttpResponse {
        let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        let uri = request.uri();
        if uri.contains("//secretsmanager.") {
            self.fetched.push(body);
            uri.split('.').nth(1).unwrap().clone_into(&mut self.fetched_in);
            self.secret()
        } else if uri.contains("//sts.") {
            self.assumed.push(body);
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
        if let Some((status, code)) = self.not_assumed {
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
        request.uri().clone_into(&mut self.called);
        signer.unwrap_or_default().clone_into(&mut self.scope);
        let signer = signer.and_then(|value| value.split('/').next()).unwrap_or_default();
        self.signers.push(signer.to_owned());
        if self.key.is_some() && self.key != of_header {
            let mut refusal = refusal(match self.refusal {
                "" => "ForbiddenException",
                other => other,
            });
            if self.is_unauthorized {
                *refusal.status_mut() = 401.try_into().unwrap();
            }
            return refusal;
        }
        if signer.starts_with("SESSION") && signer != format!("SESSION{}", self.sessions) {
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

impl HttpConnector for Around {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let around = self.clone();
        // Concurrent requests are all under way before the first is answered.
        HttpConnectorFuture::new(async move {
            if ["secretsmanager", "sts"]
                .iter()
                .any(|service| request.uri().contains(&format!("//{service}.")))
            {
                sleep(around.state(|state| state.slow)).await;
            }
            yield_now().await;
            Ok(around.state(|state| state.answer(&request)))
        })
    }
}

impl HttpClient for Around {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
