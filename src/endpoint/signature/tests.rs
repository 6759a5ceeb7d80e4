use std::time::Duration;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::body::SdkBody;
use http::HeaderName;
use proptest::prelude::*;

use super::*;

static ID: HeaderName = HeaderName::from_static("x-id");
static TARGET_MODEL: HeaderName = HeaderName::from_static("x-target-model");

/// Returns the `authorization` header that the AWS SDK creates for this request.
fn sdk_authorization(
    request: &HttpRequest,
    credentials: &Credentials,
    scope: &SigningScope,
    now: SystemTime,
) -> String {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&scope.region)
        .name(&scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let added = ["x-amz-date", "x-amz-security-token", "authorization", "content-length"];
    let headers = request.headers().iter().filter(|(name, _)| !added.contains(name));
    let body = SignableBody::Bytes(request.body().bytes().unwrap());
    let signable = SignableRequest::new(request.method(), request.uri(), headers, body).unwrap();
    let (instructions, _) = sign(signable, &params.into()).unwrap().into_parts();
    let mut headers = instructions.headers();
    let (_, authorization) = headers.find(|(name, _)| *name == "authorization").unwrap();
    authorization.to_owned()
}

fn template(uri: &str, headers: &[(&'static str, String)]) -> HttpRequest {
    let mut template = HttpRequest::new(SdkBody::empty());
    template.set_method("POST").unwrap();
    template.set_uri(uri).unwrap();
    for (name, value) in headers {
        template.headers_mut().insert(*name, value.clone());
    }
    template
}

fn scope() -> SigningScope {
    SigningScope {
        region: "eu-central-1".to_owned(),
        service: "sagemaker".to_owned(),
    }
}

fn credentials(token: Option<&str>) -> Arc<Credentials> {
    let token = token.map(ToOwned::to_owned);
    Arc::new(Credentials::new(
        "AKIDEXAMPLE",
        "wJalrXUtnFEMI/K7MDENG",
        token,
        None,
        "test",
    ))
}

proptest! {
    #[test]
    fn signatures_equal_those_of_the_sdk(
        uri in prop::sample::select(vec![
            "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/fraud/invocations",
            "http://127.0.0.1:9001/endpoints/a%20b%2Bc/invocations",
            "https://example.com:443/x_y~z",
            "http://example.com:443/",
            "https://a1.execute-api.eu-central-1.amazonaws.com/prod/score/@a/JBDvjfGEIAMCERw%3D?b=2&a=%2F&a=1&c",
        ]),
        accept in "[!-~]{1,10}( {1,3}[!-~]{1,10}){0,3} {0,2}",
        variant in prop::option::of("[ -~]{0,20}"),
        token in prop::option::of("[A-Za-z0-9+/=]{1,200}"),
        target in prop::option::of(
            "(/([a-z~_-]|%(2[0-9A-C]|3A|5B|C3%BC)){1,9}){1,3}([?]([ac]=[a-z0-9.]{0,9}&b=(%(2[0-9A-C]|3A|5B)){0,3}))?"
        ),
        id in "[0-9]{1,56}-[0-9]",
        model in prop::option::of("[!-~]{1,5}( {1,3}[!-~]{1,5}){0,2}"),
        body in prop::collection::vec(any::<u8>(), 0..300),
        second in 0_u64..4_000_000_000,
    ) {
        let mut headers = vec![("accept", accept), ("user-agent", "test".to_owned())];
        headers.extend(variant.map(|variant| ("x-target-variant", variant)));
        let signer = Signer::new(template(uri, &headers), scope(), "x-id");
        let target = target.as_deref();
        let credentials = credentials(token.as_deref());
        let now = UNIX_EPOCH + Duration::from_secs(second);
        let mut per_call = vec![(&ID, id.as_str())];
        per_call.extend(model.as_deref().map(|model| (&TARGET_MODEL, model)));
        let request = signer.sign(&credentials, now, target, &per_call, body.into()).unwrap();
        let expected = sdk_authorization(&request, &credentials, &scope(), now);
        prop_assert_eq!(request.headers().get("authorization").unwrap(), expected);
        prop_assert_eq!(request.headers().get("x-amz-security-token"), token.as_deref());
    }
}

#[test]
fn a_cached_context_is_not_used_for_another_second_or_other_credentials() {
    let signer = Signer::new(template("https://example.com/", &[]), scope(), "x-id");
    let [mine, others] = [credentials(None), credentials(Some("token"))];
    // The first and the last second of a day. No request can use the context of the one before it.
    for (credentials, second) in [(&mine, 0), (&others, 0), (&mine, 86_399), (&mine, 86_400), (&mine, 0)] {
        let now = UNIX_EPOCH + Duration::from_millis(second * 1000 + 999);
        let request = signer.sign(credentials, now, None, &[], Bytes::new()).unwrap();
        let expected = sdk_authorization(&request, credentials, &scope(), now);
        assert_eq!(request.headers().get("authorization").unwrap(), expected, "{second}");
    }
}

#[test]
fn an_invalid_header_value_is_an_error() {
    let signer = Signer::new(template("https://example.com/", &[]), scope(), "x-id");
    let sign = |value| signer.sign(&credentials(None), UNIX_EPOCH, None, &[(&ID, value)], Bytes::new());
    assert!(sign("a\nb").is_err());
    assert!(sign("a b").is_ok());
}

/// A case of AWS's published test suite for Signature Version 4: method, path and query, headers, session token and
/// signature.
type Published = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
    &'static str,
);

/// The cases post-vanilla, post-vanilla-query, get-vanilla-query-order-encoded, get-vanilla-query-unreserved,
/// get-unreserved, post-header-value-case, get-header-value-trim, get-vanilla-with-session-token.
const PUBLISHED: [Published; 8] = [
    (
        "POST",
        "/",
        &[],
        None,
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "POST",
        "/?Param1=value1",
        &[],
        None,
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "GET",
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        &[],
        None,
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "GET",
        "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
         -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        None,
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "GET",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        None,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "POST",
        "/",
        &[("my-header1", "VALUE1")],
        None,
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    (
        "GET",
        "/",
        &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
        None,
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "GET",
        "/",
        &[],
        Some("6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"),
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
];

#[test]
fn signatures_equal_those_that_aws_published() {
    let now = UNIX_EPOCH + Duration::from_mins(24_015_636);
    for (method, path_and_query, headers, token, expected) in PUBLISHED {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let mut template = template(&format!("https://example.amazonaws.com{path_and_query}"), &headers);
        template.set_method(method).unwrap();
        let scope = SigningScope {
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
        };
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let credentials = Credentials::new("AKIDEXAMPLE", secret, token.map(ToOwned::to_owned), None, "test");
        let signer = Signer::new(template, scope, "x-id");
        let request = signer
            .sign(&Arc::new(credentials), now, None, &[], Bytes::new())
            .unwrap();
        let authorization = request.headers().get("authorization").unwrap();
        assert_eq!(
            authorization.split("Signature=").nth(1),
            Some(expected),
            "{method} {path_and_query}"
        );
    }
}
