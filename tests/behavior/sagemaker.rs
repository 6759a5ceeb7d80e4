//! The `SageMaker` endpoint behind the AWS SDK: what goes over the wire, and what the answers mean.

use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_sagemakerruntime::config::{Credentials, HttpClient, ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use instream::config::Config;
use instream::endpoint::sagemaker::SageMaker;
use instream::endpoint::{Endpoint as _, Fault, FaultKind, Response};
use instream::request::InferenceRequest;

/// What the service answers to every request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Http(u16, &'static [(&'static str, &'static str)], &'static str),
    NoConnection,
}

/// An HTTP client that keeps the last request and always gives the same answer.
#[derive(Debug, Clone)]
struct Replay {
    answer: Answer,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.lock().unwrap().push(request);
        HttpConnectorFuture::ready(match self.answer {
            Answer::NoConnection => Err(ConnectorError::io("connection refused".into())),
            Answer::Http(status, headers, body) => {
                let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                for (name, value) in headers {
                    response.headers_mut().insert(*name, *value);
                }
                Ok(response)
            }
        })
    }
}

impl HttpClient for Replay {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

async fn call(settings: &[(&str, &str)], answer: Answer) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    let credentials = Credentials::new("id", "secret", None, None, "test");
    call_with(SharedCredentialsProvider::new(credentials), settings, answer).await
}

async fn call_with(
    credentials: SharedCredentialsProvider,
    settings: &[(&str, &str)],
    answer: Answer,
) -> (Result<Response, Fault>, Vec<HttpRequest>) {
    let requests = Arc::default();
    let environment = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(credentials)
        .http_client(Replay {
            answer,
            requests: Arc::clone(&requests),
        })
        .build();
    let minimal = [("ENDPOINT_NAME", "fraud"), ("OUTPUT", "none:")];
    let setting = |name: &str| {
        settings
            .iter()
            .chain(&minimal)
            .find(|(key, _)| *key == name)
            .map(|(_, it)| (*it).to_owned())
    };
    let parameters = Config::from_lookup(setting).unwrap().parameters;
    let endpoint = SageMaker::new(&environment, parameters).unwrap();
    let request = InferenceRequest {
        body: "{\"amount\":1}".into(),
        inference_id: "49590-0".to_owned(),
    };
    let answer = endpoint.invoke(&request).await;
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    (answer, requests)
}

#[tokio::test]
async fn a_call_carries_every_parameter_that_is_set() {
    let settings = [
        ("CONTENT_TYPE", "text/csv"),
        ("ACCEPT", "application/jsonlines"),
        ("CUSTOM_ATTRIBUTES", "trace=1"),
        ("TARGET_MODEL", "model-7.tar.gz"),
        ("TARGET_VARIANT", "blue"),
        ("TARGET_CONTAINER_HOSTNAME", "second"),
        ("INFERENCE_COMPONENT_NAME", "part"),
    ];
    let (_, requests) = call(&settings, Answer::Http(200, &[], "{}")).await;
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    let expected_uri = "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/fraud/invocations";
    assert_eq!((request.method(), request.uri()), ("POST", expected_uri));
    assert_eq!(request.body().bytes(), Some(&b"{\"amount\":1}"[..]));
    for (name, expected) in [
        ("content-type", "text/csv"),
        ("accept", "application/jsonlines"),
        ("x-amzn-sagemaker-custom-attributes", "trace=1"),
        ("x-amzn-sagemaker-target-model", "model-7.tar.gz"),
        ("x-amzn-sagemaker-target-variant", "blue"),
        ("x-amzn-sagemaker-target-container-hostname", "second"),
        ("x-amzn-sagemaker-inference-component", "part"),
        ("x-amzn-sagemaker-inference-id", "49590-0"),
    ] {
        assert_eq!(request.headers().get(name), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn a_call_carries_no_parameter_that_is_not_set() {
    let (_, requests) = call(&[], Answer::Http(200, &[], "{}")).await;
    let sent = requests[0].headers().iter().map(|(name, _)| name.to_owned());
    let mut of_sagemaker: Vec<_> = sent.filter(|name| name.contains("sagemaker")).collect();
    of_sagemaker.sort();
    assert_eq!(of_sagemaker, ["x-amzn-sagemaker-inference-id"]);
}

#[tokio::test]
async fn an_answer_brings_body_type_and_variant() {
    const HEADERS: &[(&str, &str)] = &[
        ("content-type", "text/csv"),
        ("x-amzn-invoked-production-variant", "blue"),
    ];
    let (answer, _) = call(&[], Answer::Http(200, HEADERS, "0.5\n")).await;
    let expected = Response {
        body: "0.5\n".into(),
        content_type: Some("text/csv".to_owned()),
        variant: Some("blue".to_owned()),
    };
    assert_eq!(answer, Ok(expected));
}

#[tokio::test]
async fn errors_on_the_wire_become_faults_after_one_attempt() {
    const MODEL_ERROR: &[(&str, &str)] = &[("x-amzn-errortype", "ModelError")];
    const THROTTLED: &[(&str, &str)] = &[("x-amzn-errortype", "ThrottlingException")];
    const NOT_READY: &[(&str, &str)] = &[("x-amzn-errortype", "ModelNotReadyException")];
    const INVALID: &[(&str, &str)] = &[("x-amzn-errortype", "ValidationError")];
    const INTERNAL: &[(&str, &str)] = &[("x-amzn-errortype", "InternalFailure")];
    const DENIED: &[(&str, &str)] = &[("x-amzn-errortype", "AccessDeniedException")];
    let refused = r#"{"Message":"m","OriginalStatusCode":400,"OriginalMessage":"bad amount"}"#;
    let died = r#"{"Message":"m","OriginalStatusCode":0,"OriginalMessage":"server error (0)"}"#;
    for (answer, kind) in [
        (Answer::Http(424, MODEL_ERROR, refused), FaultKind::Refused),
        (Answer::Http(424, MODEL_ERROR, died), FaultKind::Suspect),
        (Answer::Http(400, THROTTLED, r#"{"message":null}"#), FaultKind::Overload),
        (Answer::Http(429, NOT_READY, "{}"), FaultKind::Overload),
        (
            Answer::Http(400, INVALID, r#"{"Message":"Endpoint fraud of account 1 not found."}"#),
            FaultKind::Misconfigured,
        ),
        (Answer::Http(500, INTERNAL, "{}"), FaultKind::Unreachable),
        (
            Answer::Http(403, DENIED, r#"{"Message":"not authorized"}"#),
            FaultKind::Misconfigured,
        ),
        (Answer::NoConnection, FaultKind::Unreachable),
    ] {
        let (result, requests) = call(&[], answer).await;
        assert_eq!(result.unwrap_err().kind, kind, "{answer:?}");
        assert_eq!(requests.len(), 1, "the SDK must not retry: {answer:?}");
    }
}

/// Credentials that cannot be had, as with an expired login.
#[derive(Debug)]
struct LoggedOut;

impl ProvideCredentials for LoggedOut {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("the login has expired")))
    }
}

#[tokio::test]
async fn missing_credentials_are_a_matter_of_configuration_and_say_so() {
    let (result, requests) = call_with(SharedCredentialsProvider::new(LoggedOut), &[], Answer::NoConnection).await;
    let fault = result.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misconfigured);
    assert!(fault.summary.contains("the login has expired"), "{fault}");
    assert!(requests.is_empty());
}
