//! A `SageMaker` endpoint: the HTTP requests that it gets, and the faults that its responses become.

use std::collections::BTreeMap;
use std::io;

use aws_config::{Region, SdkConfig};
use aws_sdk_sagemakerruntime::Client;
use aws_sdk_sagemakerruntime::primitives::Blob;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use instream::endpoint::sagemaker::{SageMaker, SageMakerTarget};
use instream::endpoint::{Endpoint as _, InvokeParameters, Response};
use instream::outcome::FaultKind;

use instream::inference::InferenceRequest;

use crate::replay::{Replay, Reply, call, call_with, credentials, environment, request};

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
    let (_, requests) = call(&settings, &[Reply::Http(200, &[], "{}")]).await;
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
async fn a_call_is_the_same_as_a_call_of_the_sdk() {
    let (environment, requests) = environment(credentials(), &[Reply::Http(200, &[], "{}")]);
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
        ours.prepare().await.unwrap();
        ours.invoke(InferenceRequest::single(0, "49590-0", body).call())
            .await
            .unwrap();
        invoke_with_sdk(&environment, parameters, body).await;
        let [ours, theirs] = std::mem::take(&mut *requests.lock().unwrap()).try_into().unwrap();
        assert_eq!((ours.method(), ours.uri()), (theirs.method(), theirs.uri()));
        assert_eq!(headers(&ours), headers(&theirs));
        assert_eq!(ours.body().bytes(), theirs.body().bytes());
    }
}

#[tokio::test]
async fn a_custom_endpoint_url_cannot_be_combined_with_fips_or_dual_stack() {
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

fn named() -> SageMakerTarget {
    SageMakerTarget {
        name: "fraud".to_owned(),
        region: None,
        role: None,
        allow_http: false,
    }
}

/// Returns all parameters. One value has consecutive spaces, which a signature reduces to one.
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

/// Sends the same request with the SDK's client.
async fn invoke_with_sdk(environment: &SdkConfig, parameters: InvokeParameters, body: &str) {
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

/// Returns the headers that do not depend on the call or on the client.
fn headers(request: &HttpRequest) -> BTreeMap<&str, &str> {
    let own = ["authorization", "user-agent", "x-amz-date", "x-amz-user-agent"];
    let headers = request.headers().iter();
    headers
        .filter(|(name, _)| !own.contains(name) && !name.starts_with("amz-sdk-"))
        .collect()
}

#[tokio::test]
async fn a_record_is_sent_to_the_model_that_it_names_and_refused_if_there_is_no_such_model() {
    const NOT_FOUND: Reply = Reply::Http(
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
    let fault = answer.unwrap_err();
    assert_eq!((fault.kind, fault.is_about_named_model), (FaultKind::Refused, true));
    let (answer, _) = call(&[("TARGET_MODEL", "a.tar.gz")], &[NOT_FOUND]).await;
    assert!(
        !answer.unwrap_err().is_about_named_model,
        "here only the settings name the model"
    );
}

#[tokio::test]
async fn a_log_shows_the_services_message_only_if_it_cannot_quote_the_record() {
    const MISSING: Reply = Reply::Http(
        400,
        &[("x-amzn-errortype", "ValidationError")],
        r#"{"Message":"Failed to download model data(bucket: models, key: card-4929.tar.gz)."}"#,
    );
    let named = request().for_model("card-4929.tar.gz");
    let fault = call_with(&named, &[("TARGET_MODEL", "$.model")], &[MISSING]).await.0;
    let fault = fault.unwrap_err();
    assert_eq!(fault.summary, "SageMaker answered ValidationError with status 400");
    assert!(fault.describe().contains("key: card-4929.tar.gz"), "{fault:?}");
    let fault = call(&[("TARGET_MODEL", "card-4929.tar.gz")], &[MISSING]).await.0;
    let fault = fault.unwrap_err();
    assert_eq!(
        (fault.kind, &fault.container_message),
        (FaultKind::Misconfigured, &None)
    );
    assert_eq!(
        fault.summary_with_remedy(),
        "SageMaker answered ValidationError with status 400; Failed to download model data(bucket: models, key: \
         card-4929.tar.gz); check TARGET_MODEL"
    );
}

#[tokio::test]
async fn a_call_carries_no_parameter_that_is_not_set() {
    let (_, requests) = call(&[], &[Reply::Http(200, &[], "{}")]).await;
    let sent = requests[0].headers().iter().map(|(name, _)| name.to_owned());
    let mut of_sagemaker: Vec<_> = sent.filter(|name| name.contains("sagemaker")).collect();
    of_sagemaker.sort();
    assert_eq!(of_sagemaker, ["x-amzn-sagemaker-inference-id"]);
}

#[tokio::test]
async fn a_response_has_its_body_content_type_and_variant() {
    const HEADERS: &[(&str, &str)] = &[
        ("content-type", "text/csv"),
        ("x-amzn-invoked-production-variant", "blue"),
        ("x-amzn-sagemaker-custom-attributes", "model=7"),
    ];
    let (answer, _) = call(&[], &[Reply::Http(200, HEADERS, "0.5\n")]).await;
    let expected = Response {
        body: "0.5\n".into(),
        content_type: Some("text/csv".to_owned()),
        variant: Some("blue".into()),
        custom_attributes: Some("model=7".to_owned()),
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
    let raised =
        r#"{"OriginalStatusCode":400,"OriginalMessage":"{\"code\":400,\"type\":\"InternalServerException\"}"}"#;
    for (answer, kind) in [
        (Reply::Http(424, MODEL_ERROR, refused), FaultKind::Refused),
        (Reply::Http(424, MODEL_ERROR, died), FaultKind::Suspect),
        (Reply::Http(424, MODEL_ERROR, raised), FaultKind::Suspect),
        (Reply::Http(400, THROTTLED, r#"{"message":null}"#), FaultKind::Overload),
        (Reply::Http(429, NOT_READY, "{}"), FaultKind::Overload),
        (
            Reply::Http(400, INVALID, r#"{"Message":"Endpoint fraud of account 1 not found."}"#),
            FaultKind::Misconfigured,
        ),
        (Reply::Http(500, INTERNAL, "{}"), FaultKind::Unreachable),
        (
            Reply::Http(403, DENIED, r#"{"Message":"not authorized"}"#),
            FaultKind::Misconfigured,
        ),
        (
            Reply::Http(503, &[], "<html>from a load balancer</html>"),
            FaultKind::Overload,
        ),
        (Reply::Http(502, &[], ""), FaultKind::Unreachable),
        (
            Reply::Http(
                400,
                &[],
                r#"{"__type":"com.amazonaws#ThrottlingException","message":null}"#,
            ),
            FaultKind::Overload,
        ),
        (
            Reply::Http(
                400,
                &[],
                r#"{"code":"ThrottlingException:http://","__type":"","Message":"m","message":"m"}"#,
            ),
            FaultKind::Overload,
        ),
        (Reply::Http(301, &[], ""), FaultKind::Misconfigured),
        (Reply::Io(io::ErrorKind::ConnectionRefused), FaultKind::Unreachable),
    ] {
        let (result, requests) = call(&[], &[answer]).await;
        assert_eq!(result.unwrap_err().kind, kind, "{answer:?}");
        assert_eq!(requests.len(), 1, "{answer:?}");
    }
    let unknown = Reply::Http(400, INVALID, r#"{"Message":"nobody has seen this yet"}"#);
    for (request, is_about_named_model) in [(request(), false), (request().for_model("b.tar.gz"), true)] {
        let fault = call_with(&request, &[], &[unknown]).await.0.unwrap_err();
        let expected = (FaultKind::Refused, is_about_named_model);
        assert_eq!((fault.kind, fault.is_about_named_model), expected);
    }
}

#[tokio::test]
async fn a_fault_names_the_setting_to_fix() {
    const INVALID: &[(&str, &str)] = &[("x-amzn-errortype", "ValidationError")];
    const DENIED: &[(&str, &str)] = &[("x-amzn-errortype", "AccessDeniedException")];
    const MODEL_ERROR: &[(&str, &str)] = &[("x-amzn-errortype", "ModelError")];
    for (answer, expected) in [
        (
            Reply::Http(400, INVALID, r#"{"Message":"Endpoint fraud of account 1 not found."}"#),
            "SageMaker answered ValidationError with status 400; Endpoint fraud of account 1 not found; check \
             ENDPOINT_NAME, or what ENDPOINT_URL calls, the variant, container and component in the settings, and the \
             region",
        ),
        (
            Reply::Http(403, DENIED, "{}"),
            "SageMaker answered AccessDeniedException with status 403; allow the function's role, or the role of \
             ENDPOINT_ROLE_ARN, to call the endpoint (on SageMaker: sagemaker:InvokeEndpoint)",
        ),
        (
            Reply::Http(424, MODEL_ERROR, r#"{"OriginalStatusCode":405}"#),
            "the container answered with status 405; check that it serves POST /invocations",
        ),
        (Reply::Http(503, &[], ""), "SageMaker answered an error with status 503"),
        (
            Reply::Http(503, &[], r#"{"__type":"Card\n4929","message":"one\ntwo"}"#),
            "SageMaker answered an error with status 503; one two",
        ),
    ] {
        assert_eq!(
            call(&[], &[answer]).await.0.unwrap_err().summary_with_remedy(),
            expected
        );
    }
}

#[tokio::test]
async fn reading_an_endless_response_stops_at_the_size_limit() {
    let fault = call(&[], &[Reply::Endless(200)]).await.0.unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.summary),
        (FaultKind::Suspect, "the response has more than 26214400 bytes")
    );
    let fault = call(&[], &[Reply::Endless(400)]).await.0.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Suspect, "an error without a body");
}

#[tokio::test(start_paused = true)]
async fn a_status_counts_even_if_its_body_does_not_arrive() {
    for answer in [Reply::BodyCutShort(413), Reply::BodyHangs(413)] {
        let fault = call(&[], &[answer]).await.0.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Refused, "{answer:?}");
    }
}
