//! The scripted model behind a URL: calls go through all of the function's HTTP code except the connection itself.

use std::io;
use std::sync::Arc;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use futures_util::FutureExt as _;
use instream::config::Config;
use instream::endpoint::target::AnyEndpoint;
use instream::outcome::FaultKind;

use crate::replay::{credentials, environment};
use crate::scripted::{Behavior, ScriptedError, ScriptedModel};

/// The endpoint that a handler under test calls.
pub(crate) type TestedEndpoint = AnyEndpoint;

/// The settings that name the endpoint.
pub(crate) const ENDPOINT: [(&str, &str); 3] = [
    (
        "ENDPOINT_URL",
        "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod/score",
    ),
    ("ENDPOINT_AUTH", "sigv4"),
    ("OUTPUT", "none:"),
];

/// A status is never about one model, except for records that name their model.
pub(crate) const MISSING_MODEL: [Behavior; 0] = [];
pub(crate) const NOT_READY: [Behavior; 0] = [];

pub(crate) fn endpoint(scripted: ScriptedModel) -> TestedEndpoint {
    let setting = |name: &str| {
        let setting = ENDPOINT.iter().find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    };
    let config = Config::from_lookup(setting).unwrap();
    let (environment, _) = environment(credentials(), &[]);
    let http = SharedHttpConnector::new(ModelConnector(Arc::new(scripted)));
    let endpoint = AnyEndpoint::new(http, &environment, config.endpoint, &config.parameters);
    endpoint.now_or_never().expect("it does not wait").unwrap()
}

/// A connector whose server is the scripted model.
#[derive(Debug)]
struct ModelConnector(Arc<ScriptedModel>);

impl HttpConnector for ModelConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let scripted = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let headers = request.headers();
            assert!(headers.get("authorization").unwrap().contains("/execute-api/"));
            match scripted.call(request.body().bytes().unwrap()).await {
                Ok(answer) => Ok(response(200, answer)),
                Err(ScriptedError::Fault(kind)) => refuse(kind),
                Err(ScriptedError::RetryAfter(seconds)) => {
                    let mut busy = response(503, String::new());
                    busy.headers_mut().insert("retry-after", seconds.to_string());
                    Ok(busy)
                }
                Err(ScriptedError::ContainerOverload) => Ok(response(503, String::new())),
                Err(other) => panic!("no status stands for {other:?}"),
            }
        })
    }
}

fn refuse(kind: FaultKind) -> Result<HttpResponse, ConnectorError> {
    let status = match kind {
        FaultKind::Refused => 422,
        FaultKind::Suspect => 502,
        FaultKind::Overload => 429,
        FaultKind::Misconfigured => 403,
        FaultKind::Unreachable => {
            let error = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(ConnectorError::io(error.into()));
        }
    };
    let mut refused = response(status, "as the script says".to_owned());
    if kind == FaultKind::Overload {
        // Without the code of a service, it would be the container's answer.
        refused.headers_mut().insert("x-amzn-errortype", "ThrottlingException");
    }
    Ok(refused)
}

fn response(status: u16, body: String) -> HttpResponse {
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))
}
