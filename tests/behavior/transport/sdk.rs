//! The scripted model as a `SageMaker` endpoint behind the AWS SDK: calls go through all of the SDK and the function's
//! HTTP code except the connection itself.

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
use serde_json::json;

use crate::replay::{credentials, environment};
use crate::scripted::{Behavior, ScriptedError, ScriptedModel};

/// The endpoint that a handler under test calls.
pub(crate) type TestedEndpoint = AnyEndpoint;

/// The settings that name the endpoint.
pub(crate) const ENDPOINT: [(&str, &str); 2] = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "none:")];

/// Only records that name their model can miss it. These tests have no such records.
pub(crate) const MISSING_MODEL: [Behavior; 0] = [];
pub(crate) const NOT_READY: [Behavior; 1] = [Behavior::NotReady];

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
            assert!(headers.get("authorization").unwrap().contains("/sagemaker/"));
            assert!(headers.get("user-agent").unwrap().starts_with("aws-sdk-rust/"));
            match scripted.call(request.body().bytes().unwrap()).await {
                Ok(answer) => Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(answer))),
                Err(ScriptedError::Fault(kind)) => refuse(kind),
                Err(ScriptedError::NotReady) => Ok(error(429, "ModelNotReadyException", "not ready")),
                Err(ScriptedError::ContainerOverload) => Ok(model_error(503)),
                Err(other) => panic!("no answer of SageMaker stands for {other:?}"),
            }
        })
    }
}

fn refuse(kind: FaultKind) -> Result<HttpResponse, ConnectorError> {
    Ok(match kind {
        FaultKind::Refused => model_error(422),
        FaultKind::Suspect => model_error(500),
        FaultKind::Overload => error(400, "ThrottlingException", "Rate exceeded"),
        FaultKind::Misconfigured => error(403, "AccessDeniedException", "not authorized"),
        FaultKind::Unreachable => {
            let error = io::Error::from(io::ErrorKind::ConnectionRefused);
            return Err(ConnectorError::io(error.into()));
        }
    })
}

/// An error of the container, as `SageMaker` passes it on.
fn model_error(status: u16) -> HttpResponse {
    let body =
        json!({"OriginalStatusCode": status, "OriginalMessage": "as the script says", "Message": "of the model"});
    response(424, "ModelError", &body.to_string())
}

fn error(status: u16, code: &'static str, message: &str) -> HttpResponse {
    response(status, code, &json!({ "message": message }).to_string())
}

fn response(status: u16, code: &'static str, body: &str) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    response.headers_mut().insert("x-amzn-errortype", code);
    response
}
