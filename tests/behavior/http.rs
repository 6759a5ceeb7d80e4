//! An endpoint behind a URL: the HTTP requests that it gets, and the faults that its responses become.

use std::io;
use std::time::Duration;

use instream::config::Config;
use instream::endpoint::Endpoint as _;
use instream::inference::InferenceRequest;
use instream::outcome::{FaultKind, LoadSignal};

use crate::replay::{Reply, call, call_with, credentials, endpoint, request};

const PREDICTED: Reply = Reply::Http(200, &[], "{}");
const UNSIGNED: (&str, &str) = ("ENDPOINT_AUTH", "none");

#[tokio::test]
async fn a_call_posts_the_body_and_the_headers_that_sagemaker_would_get() {
    let settings = [
        ("ENDPOINT_URL", "https://api.example.com:8443/score?version=2"),
        UNSIGNED,
        ("CONTENT_TYPE", "text/csv"),
        ("ACCEPT", "application/jsonlines"),
        ("CUSTOM_ATTRIBUTES", "trace=1"),
        ("TARGET_VARIANT", "blue"),
        ("ENDPOINT_HEADERS", r#"{"X-Tenant":"fraud"}"#),
    ];
    let (answer, requests) = call_with(&request().for_model("b.tar.gz"), &settings, &[PREDICTED]).await;
    assert!(answer.is_ok());
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert_eq!((request.method(), request.uri()), ("POST", settings[0].1));
    assert_eq!(request.body().bytes(), Some(&b"{\"amount\":1}"[..]));
    for (name, expected) in [
        ("content-type", Some("text/csv")),
        ("content-length", Some("12")),
        ("accept", Some("application/jsonlines")),
        ("x-amzn-sagemaker-custom-attributes", Some("trace=1")),
        ("x-amzn-sagemaker-target-model", Some("b.tar.gz")),
        ("x-amzn-sagemaker-target-variant", Some("blue")),
        ("x-amzn-sagemaker-inference-id", Some("49590-0")),
        ("x-tenant", Some("fraud")),
        ("authorization", None),
        ("x-amz-date", None),
        ("x-api-key", None),
    ] {
        assert_eq!(request.headers().get(name), expected, "{name}");
    }
}

/// Returns the request that a function with these settings makes of a record.
fn request_of(settings: &[(&str, &str)], record: &str) -> InferenceRequest {
    let all = [settings, &[("OUTPUT", "none:")]].concat();
    let value = |name: &str| {
        all.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::from_lookup(value).unwrap().requests.probe(record).unwrap()
}

#[tokio::test]
async fn a_url_with_placeholders_is_called_with_the_values_of_the_record() {
    const URL: (&str, &str) = (
        "ENDPOINT_URL",
        "https://api.example.com:8443/rides/{$.id}/fare?km={$.km}&at={$.at}",
    );
    const CALLED: &str = "https://api.example.com:8443/rides/7%208/fare?km=4.20&at=09%3A30";
    let record = r#"{"id":"7 8","km":4.20,"at":"09:30"}"#;
    for (method, body, content_type, length) in [
        ("POST", record, Some("application/json"), Some("35")),
        ("GET", "", None, None),
    ] {
        for auth in ["none", "sigv4"] {
            let settings = [URL, ("ENDPOINT_METHOD", method), ("ENDPOINT_AUTH", auth)];
            let signing = [("ENDPOINT_REGION", "eu-central-1"), ("ENDPOINT_SERVICE", "execute-api")];
            let signing = if auth == "sigv4" { &signing[..] } else { &[] };
            let settings = [&settings, signing].concat();
            let (answer, requests) = call_with(&request_of(&settings, record), &settings, &[PREDICTED]).await;
            assert!(answer.is_ok());
            let request = &requests[0];
            assert_eq!((request.method(), request.uri()), (method, CALLED));
            assert_eq!(request.body().bytes(), Some(body.as_bytes()));
            let header = |name| request.headers().get(name);
            assert_eq!(
                (header("content-type"), header("content-length")),
                (content_type, length)
            );
            assert_eq!(header("accept"), Some("application/json"));
            assert_eq!(header("authorization").is_some(), auth == "sigv4");
        }
    }
}

#[tokio::test]
async fn the_envelope_names_the_url_without_its_query() {
    let url = ("ENDPOINT_URL", "https://api.example.com/score?code=secret");
    let (endpoint, _) = endpoint(credentials(), &[url, UNSIGNED], &[PREDICTED]).await;
    assert_eq!(endpoint.name(), "https://api.example.com/score");
}

#[tokio::test]
async fn a_signed_call_names_its_region_its_service_and_its_headers() {
    let settings = [("ENDPOINT_HEADERS", r#"{"a-first":"1"}"#)];
    let (_, requests) = call(&settings, &[PREDICTED]).await;
    let authorization = requests[0].headers().get("authorization").unwrap();
    assert!(
        authorization.contains("/eu-central-1/execute-api/aws4_request"),
        "{authorization}"
    );
    assert!(
        authorization.contains("SignedHeaders=a-first;accept;content-type;host;"),
        "{authorization}"
    );
}

#[tokio::test]
async fn statuses_become_faults_after_one_call() {
    use FaultKind::{Misconfigured, Overload, Refused, Suspect, Unreachable};
    let statuses = [
        (Refused, &[400, 404, 406, 409, 413, 415, 422, 424][..]),
        (Misconfigured, &[301, 307, 401, 403, 405]),
        (Overload, &[429, 503]),
        (Suspect, &[202, 204, 205, 206, 226, 408, 500, 501, 502, 504, 507]),
    ];
    for (kind, statuses) in statuses {
        for status in statuses {
            let (answer, requests) = call(&[], &[Reply::Http(*status, &[], "card 4929")]).await;
            let fault = answer.unwrap_err();
            assert_eq!((fault.kind, fault.is_about_named_model), (kind, false), "{status}");
            assert_eq!(fault.load, LoadSignal::FromKind, "{status}");
            assert!(!fault.to_string().contains("4929"), "no log shows the body: {fault}");
            assert!(fault.describe().contains("card 4929"), "a dead letter does: {fault:?}");
            assert_eq!(requests.len(), 1, "{status}");
        }
    }
    for status in [200, 201, 203] {
        assert!(call(&[], &[Reply::Http(status, &[], "")]).await.0.is_ok(), "{status}");
    }
    let (answer, _) = call(&[], &[Reply::Io(io::ErrorKind::ConnectionRefused)]).await;
    assert_eq!(answer.unwrap_err().kind, Unreachable);
}

#[tokio::test]
async fn only_a_429_of_api_gateway_is_a_rate_limit() {
    const TOO_MANY: &[(&str, &str)] = &[("x-amzn-errortype", "TooManyRequestsException")];
    const QUOTA: &[(&str, &str)] = &[("x-amzn-errortype", "LimitExceededException")];
    let of_lambda = r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}"#;
    for (status, headers, body, expected) in [
        (429, TOO_MANY, r#"{"message":"Too Many Requests"}"#, true),
        (429, TOO_MANY, "", true),
        (429, QUOTA, r#"{"message":"Limit Exceeded"}"#, true),
        (429, &[], r#"{"message":"Too Many Requests"}"#, true),
        (429, TOO_MANY, of_lambda, false),
        (429, &[], "no permits left", false),
        (503, TOO_MANY, "", false),
    ] {
        let fault = call(&[], &[Reply::Http(status, headers, body)]).await.0.unwrap_err();
        assert_eq!(
            (fault.kind, fault.load == LoadSignal::RateLimit),
            (FaultKind::Overload, expected),
            "{status} {headers:?} {body}"
        );
    }
}

#[tokio::test]
async fn a_404_is_doubtful_if_the_record_names_its_model() {
    let named = request().for_model("b.tar.gz");
    let (answer, _) = call_with(&named, &[], &[Reply::Http(404, &[], "no such model")]).await;
    let fault = answer.unwrap_err();
    assert_eq!((fault.kind, fault.is_about_named_model), (FaultKind::Refused, true));
}

#[tokio::test]
async fn a_model_that_is_not_ready_slows_down_other_models_only_if_the_settings_name_it() {
    const NOT_READY: [Reply; 1] = [Reply::Http(429, &[("x-amzn-errortype", "ModelNotReadyException")], "")];
    let named = request().for_model("b.tar.gz");
    let fault = call_with(&named, &[], &NOT_READY).await.0.unwrap_err();
    assert_eq!(
        (fault.kind, fault.load),
        (FaultKind::Overload, LoadSignal::SingleModelOnly)
    );
    let fault = call(&[], &NOT_READY).await.0.unwrap_err();
    assert_eq!((fault.kind, fault.load), (FaultKind::Overload, LoadSignal::FromKind));
}

#[tokio::test]
async fn retry_after_is_used_only_with_status_429_and_503() {
    const AFTER: &[(&str, &str)] = &[("retry-after", "7")];
    for (status, expected) in [(429, Some(7)), (503, Some(7)), (500, None), (403, None)] {
        let (answer, _) = call(&[], &[Reply::Http(status, AFTER, "")]).await;
        assert_eq!(
            answer.unwrap_err().retry_after,
            expected.map(Duration::from_secs),
            "{status}"
        );
    }
    let (answer, _) = call(&[], &[Reply::Http(429, &[("retry-after", "later")], "")]).await;
    assert_eq!(answer.unwrap_err().retry_after, None);
}

#[tokio::test]
async fn a_fault_names_the_setting_to_fix() {
    const DENIED: &[(&str, &str)] = &[("x-amzn-errortype", "AccessDeniedException")];
    const FORBIDDEN: &[(&str, &str)] = &[("x-amzn-errortype", "ForbiddenException")];
    const UNSIGNED: &[(&str, &str)] = &[("x-amzn-errortype", "MissingAuthenticationTokenException:http://x/")];
    const WRONGLY_SIGNED: &[(&str, &str)] = &[("x-amzn-errortype", "InvalidSignatureException")];
    const OF_ANOTHER_SERVER: &[(&str, &str)] = &[("x-amzn-errortype", "card 4929")];
    for (status, headers, expected) in [
        (
            403,
            DENIED,
            "403 AccessDeniedException; allow the function's role, or the role of ENDPOINT_ROLE_ARN, to call the endpoint \
             (on SageMaker: sagemaker:InvokeEndpoint)",
        ),
        (
            403,
            FORBIDDEN,
            "403 ForbiddenException; check ENDPOINT_API_KEY, and who may call the endpoint",
        ),
        (
            403,
            UNSIGNED,
            "403 MissingAuthenticationTokenException; check the path of ENDPOINT_URL, and ENDPOINT_AUTH",
        ),
        (
            403,
            WRONGLY_SIGNED,
            "403 InvalidSignatureException; check ENDPOINT_REGION and ENDPOINT_SERVICE, and the function's credentials",
        ),
        (
            401,
            OF_ANOTHER_SERVER,
            "401; check the path of ENDPOINT_URL, ENDPOINT_AUTH, ENDPOINT_API_KEY, and the function's permissions",
        ),
        (
            302,
            &[],
            "302; the endpoint redirects: set ENDPOINT_URL to the target of the redirect",
        ),
        (405, &[], "405; check that ENDPOINT_URL accepts POST"),
        (404, &[], "404; check ENDPOINT_URL, and TARGET_MODEL if it is set"),
        (415, &[], "415; check CONTENT_TYPE"),
        (500, &[], "500"),
        (202, &[], "202; the status of a prediction is 200, 201 or 203"),
    ] {
        let fault = call(&[], &[Reply::Http(status, headers, "")]).await.0.unwrap_err();
        assert_eq!(
            fault.summary_with_remedy(),
            format!("the endpoint answered with status {expected}")
        );
    }
}

#[tokio::test]
async fn reading_an_endless_response_stops_at_the_size_limit() {
    let (answer, _) = call(&[], &[Reply::Endless(200)]).await;
    let fault = answer.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Suspect);
    assert_eq!(fault.summary, "the response has more than 26214400 bytes");
    let (answer, _) = call(&[], &[Reply::Endless(400)]).await;
    let fault = answer.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert_eq!(
        fault.container_message.unwrap().len(),
        1000,
        "the beginning of the body"
    );
}

#[tokio::test]
async fn an_aws_error_code_takes_precedence_over_the_status() {
    use FaultKind::{Misconfigured, Overload, Refused, Suspect, Unreachable};
    const MODEL_ERROR: &str = "ModelError";
    const INVALID: &str = "ValidationError";
    for (status, code, body, kind) in [
        (400, "ThrottlingException", "", Overload),
        (400, "ServiceUnavailable", "", Overload),
        (500, "InternalFailure", "", Unreachable),
        (530, "InternalDependencyException", "", Unreachable),
        (400, "RequestExpired", "", Misconfigured),
        (400, "AccessDeniedException", "", Misconfigured),
        (400, "NotAuthorized", "", Misconfigured),
        (400, "IncompleteSignature", "", Misconfigured),
        (500, "UnrecognizedClientException", "", Misconfigured),
        (502, "InternalServerErrorException", "", Suspect),
        (424, MODEL_ERROR, r#"{"OriginalStatusCode":400}"#, Refused),
        (424, MODEL_ERROR, r#"{"OriginalStatusCode":503}"#, Overload),
        (424, MODEL_ERROR, r#"{"OriginalStatusCode":500}"#, Suspect),
        (424, "", "", Refused),
        (
            400,
            INVALID,
            r#"{"Message":"Endpoint fraud of account 1 not found."}"#,
            Misconfigured,
        ),
        (
            400,
            INVALID,
            r#"{"message":"Inference Component has no capacity"}"#,
            Overload,
        ),
        (400, INVALID, r#"{"message":"Request 1 has oversize body."}"#, Refused),
        (400, INVALID, r#"{"message":"amount is missing"}"#, Refused),
        (
            400,
            "",
            r#"{"__type":"com.amazonaws#AccessDeniedException"}"#,
            Misconfigured,
        ),
    ] {
        let headers: &'static [_] = if code.is_empty() {
            &[]
        } else {
            vec![("x-amzn-errortype", code)].leak()
        };
        let fault = call(&[], &[Reply::Http(status, headers, body)]).await.0.unwrap_err();
        assert_eq!(
            (fault.kind, fault.is_about_named_model),
            (kind, false),
            "{status} {code} {body}"
        );
        assert_eq!(fault.load, LoadSignal::FromKind, "{status} {code} {body}");
    }
}

#[tokio::test]
async fn a_model_servers_error_type_takes_precedence_over_the_status() {
    const RAISED: &str = r#"{"code":503,"type":"InternalServerException","message":"card 4929"}"#;
    const FULL: &str = r#"{"code":503,"type":"ServiceUnavailableException","message":"card 4929"}"#;
    for (status, headers, body, expected) in [
        (
            503,
            &[][..],
            RAISED,
            "Suspect: the endpoint answered with status 503 InternalServerException",
        ),
        (
            400,
            &[],
            RAISED,
            "Suspect: the endpoint answered with status 400 InternalServerException",
        ),
        (
            404,
            &[],
            RAISED,
            "Suspect: the endpoint answered with status 404 InternalServerException",
        ),
        (
            500,
            &[],
            FULL,
            "Overload: the endpoint answered with status 500 ServiceUnavailableException",
        ),
        (
            503,
            &[("x-amzn-errortype", "ThrottlingException")],
            RAISED,
            "Overload: the endpoint answered with status 503 ThrottlingException",
        ),
    ] {
        let named = request().for_model("b.tar.gz");
        let fault = call_with(&named, &[], &[Reply::Http(status, headers, body)]).await.0;
        let fault = fault.unwrap_err();
        assert_eq!(
            (fault.to_string(), fault.is_about_named_model),
            (expected.to_owned(), false)
        );
        assert!(fault.describe().contains("card 4929"), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_counts_even_if_its_body_does_not_arrive() {
    for answer in [Reply::BodyCutShort(422), Reply::BodyHangs(422)] {
        let fault = call(&[], &[answer]).await.0.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Refused, "{answer:?}");
    }
    let fault = call(&[], &[Reply::BodyCutShort(200)]).await.0.unwrap_err();
    assert_eq!(
        (fault.kind, fault.load),
        (FaultKind::Suspect, LoadSignal::FromKind),
        "there is no prediction"
    );
}
