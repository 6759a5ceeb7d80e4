//! A `SageMaker` endpoint: what goes over the wire, and what the answers mean.

use std::collections::BTreeMap;
use std::io;

use aws_config::{Region, SdkConfig};
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use instream::endpoint::sagemaker::{Named, SageMaker};
use instream::endpoint::{Endpoint as _, FaultKind, InvokeParameters, Response};

use instream::request::InferenceRequest;

use crate::replay::{Answer, Replay, call, call_with, credentials, environment, request};

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
    let (_, requests) = call(&settings, &[Answer::Http(200, &[], "{}")]).await;
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
async fn a_call_is_what_the_sdk_would_send() {
    let (environment, requests) = environment(credentials(), &[Answer::Http(200, &[], "{}")]);
    let region = |name| environment.to_builder().region(Region::new(name));
    for (environment, body) in [
        (region("eu-central-1"), "{\"amount\":1}"),
        (region("eu-central-1"), ""),
        (region("us-gov-west-1"), "1"),
        (region("us-east-1").use_fips(true), "1"),
        (region("cn-north-1"), "1"),
        (region("us-east-1").use_dual_stack(true), "1"),
        (region("us-east-1").endpoint_url("http://127.0.0.1:9001/behind/"), "1"),
    ] {
        let environment = environment.build();
        let parameters = parameters();
        let http = SharedHttpConnector::new(Replay::onto(&requests));
        let ours = SageMaker::new(http, &environment, named(), &parameters).await.unwrap();
        ours.invoke(&InferenceRequest::alone(0, "49590-0", body)).await.unwrap();
        by_the_sdk(&environment, parameters, body).await;
        let [ours, theirs] = std::mem::take(&mut *requests.lock().unwrap()).try_into().unwrap();
        assert_eq!((ours.method(), ours.uri()), (theirs.method(), theirs.uri()));
        assert_eq!(headers(&ours), headers(&theirs));
        assert_eq!(ours.body().bytes(), theirs.body().bytes());
    }
}

#[tokio::test]
async fn a_custom_endpoint_is_none_of_fips_or_dual_stack() {
    let (environment, requests) = environment(credentials(), &[]);
    let custom = || environment.to_builder().endpoint_url("http://127.0.0.1:9001");
    for environment in [custom().use_fips(true), custom().use_dual_stack(true)] {
        let http = SharedHttpConnector::new(Replay::onto(&requests));
        let error = SageMaker::new(http, &environment.build(), named(), &parameters())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("AWS_ENDPOINT_URL"), "{error}");
    }
}

fn named() -> Named {
    Named {
        name: "fraud".to_owned(),
        region: None,
        role: None,
    }
}

/// All that there are, and a value with spaces that a signature counts once.
fn parameters() -> InvokeParameters {
    InvokeParameters {
        content_type: "text/csv".to_owned(),
        accept: "application/jsonlines".to_owned(),
        custom_attributes: Some("a,  b".to_owned()),
        target_model: Some("model-7.tar.gz".to_owned()),
        target_variant: Some("blue".to_owned()),
        target_container_hostname: Some("second".to_owned()),
        inference_component_name: Some("part".to_owned()),
    }
}

/// Sends the same by the SDK's client.
async fn by_the_sdk(environment: &SdkConfig, parameters: InvokeParameters, body: &str) {
    let sent = Client::new(environment)
        .invoke_endpoint()
        .endpoint_name("fraud")
        .content_type(parameters.content_type)
        .accept(parameters.accept)
        .set_custom_attributes(parameters.custom_attributes)
        .set_target_model(parameters.target_model)
        .set_target_variant(parameters.target_variant)
        .set_target_container_hostname(parameters.target_container_hostname)
        .set_inference_component_name(parameters.inference_component_name)
        .inference_id("49590-0")
        .body(Blob::new(body))
        .send();
    sent.await.unwrap();
}

/// All but what differs from call to call or from client to client.
fn headers(request: &HttpRequest) -> BTreeMap<&str, &str> {
    let own = ["authorization", "user-agent", "x-amz-date", "x-amz-user-agent"];
    let headers = request.headers().iter();
    headers
        .filter(|(name, _)| !own.contains(name) && !name.starts_with("amz-sdk-"))
        .collect()
}

#[tokio::test]
async fn a_record_that_names_its_model_is_sent_to_that_and_refused_where_there_is_none() {
    const NOT_FOUND: Answer = Answer::Http(
        424,
        &[("x-amzn-errortype", "ModelError")],
        r#"{"Message":"no","OriginalStatusCode":404,"OriginalMessage":"no such model"}"#,
    );
    let named = request().for_model("b.tar.gz");
    let settings = [("TARGET_MODEL", "$.model")];
    let (answer, requests) = call_with(&named, &settings, &[NOT_FOUND]).await;
    assert_eq!(
        requests[0].headers().get("x-amzn-sagemaker-target-model"),
        Some("b.tar.gz")
    );
    assert_eq!(answer.unwrap_err().kind, FaultKind::Refused);
    let (answer, _) = call(&[("TARGET_MODEL", "a.tar.gz")], &[NOT_FOUND]).await;
    assert_eq!(
        answer.unwrap_err().kind,
        FaultKind::Misconfigured,
        "then nobody but the settings names it"
    );
}

#[tokio::test]
async fn a_call_carries_no_parameter_that_is_not_set() {
    let (_, requests) = call(&[], &[Answer::Http(200, &[], "{}")]).await;
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
    let (answer, _) = call(&[], &[Answer::Http(200, HEADERS, "0.5\n")]).await;
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
        (
            Answer::Http(503, &[], "<html>from a load balancer</html>"),
            FaultKind::Overload,
        ),
        (Answer::Http(502, &[], ""), FaultKind::Unreachable),
        (
            Answer::Http(
                400,
                &[],
                r#"{"__type":"com.amazonaws#ThrottlingException","message":null}"#,
            ),
            FaultKind::Overload,
        ),
        (
            Answer::Http(
                400,
                &[],
                r#"{"code":"ThrottlingException:http://","__type":"","Message":"m","message":"m"}"#,
            ),
            FaultKind::Overload,
        ),
        (Answer::Http(301, &[], ""), FaultKind::Misconfigured),
        (Answer::Io(io::ErrorKind::ConnectionRefused), FaultKind::Unreachable),
    ] {
        let (result, requests) = call(&[], &[answer]).await;
        assert_eq!(result.unwrap_err().kind, kind, "{answer:?}");
        assert_eq!(requests.len(), 1, "{answer:?}");
    }
    let in_doubt = Answer::Http(400, INVALID, r#"{"Message":"nobody has seen this yet"}"#);
    let fault = call(&[], &[in_doubt]).await.0.unwrap_err();
    assert_eq!((fault.kind, fault.is_doubtful), (FaultKind::Refused, true));
}

#[tokio::test]
async fn a_fault_says_what_to_mend() {
    const INVALID: &[(&str, &str)] = &[("x-amzn-errortype", "ValidationError")];
    const DENIED: &[(&str, &str)] = &[("x-amzn-errortype", "AccessDeniedException")];
    const MODEL_ERROR: &[(&str, &str)] = &[("x-amzn-errortype", "ModelError")];
    for (answer, expected) in [
        (
            Answer::Http(400, INVALID, r#"{"Message":"Endpoint fraud of account 1 not found."}"#),
            "SageMaker answered ValidationError with status 400; Endpoint fraud of account 1 not found; check \
             ENDPOINT_NAME, what is named beside it, and the region",
        ),
        (
            Answer::Http(403, DENIED, "{}"),
            "SageMaker answered AccessDeniedException with status 403; allow sagemaker:InvokeEndpoint on the endpoint to \
             the function's role",
        ),
        (
            Answer::Http(424, MODEL_ERROR, r#"{"OriginalStatusCode":415}"#),
            "the container answered with status 415; check CONTENT_TYPE",
        ),
        (
            Answer::Http(503, &[], ""),
            "SageMaker answered an error with status 503",
        ),
    ] {
        assert_eq!(call(&[], &[answer]).await.0.unwrap_err().summary, expected);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut() {
    let fault = call(&[], &[Answer::Endless(200)]).await.0.unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.summary),
        (FaultKind::Suspect, "the answer has more than 26214400 bytes")
    );
    let fault = call(&[], &[Answer::Endless(400)]).await.0.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Suspect, "an error without a word");
}

#[tokio::test(start_paused = true)]
async fn a_status_stands_though_its_body_does_not_come() {
    for answer in [Answer::BodyCutShort(413), Answer::BodyHangs(413)] {
        let fault = call(&[], &[answer]).await.0.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Refused, "{answer:?}");
    }
}
