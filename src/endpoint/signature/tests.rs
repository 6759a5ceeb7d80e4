use std::time::Duration;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use proptest::prelude::*;

use super::*;

/// The header that the AWS SDK would sign this request with.
fn by_the_sdk(request: &HttpRequest, credentials: &Credentials, place: &Place, now: SystemTime) -> String {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&place.region)
        .name(&place.service)
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

fn blank(uri: &str, headers: &[(&'static str, String)]) -> HttpRequest {
    let mut blank = HttpRequest::new(SdkBody::empty());
    blank.set_method("POST").unwrap();
    blank.set_uri(uri).unwrap();
    for (name, value) in headers {
        blank.headers_mut().insert(*name, value.clone());
    }
    blank
}

fn place() -> Place {
    Place {
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
    fn signatures_are_those_of_the_sdk(
        uri in prop::sample::select(vec![
            "https://runtime.sagemaker.eu-central-1.amazonaws.com/endpoints/fraud/invocations",
            "http://127.0.0.1:9001/endpoints/a%20b%2Bc/invocations",
            "https://example.com:443/x_y~z",
            "http://example.com:443/",
        ]),
        accept in "[!-~]{1,10}( {1,3}[!-~]{1,10}){0,3} {0,2}",
        variant in prop::option::of("[ -~]{0,20}"),
        token in prop::option::of("[A-Za-z0-9+/=]{1,200}"),
        id in "[0-9]{1,56}-[0-9]",
        model in prop::option::of("[!-~]{1,5}( {1,3}[!-~]{1,5}){0,2}"),
        body in prop::collection::vec(any::<u8>(), 0..300),
        second in 0_u64..4_000_000_000,
    ) {
        let mut headers = vec![("accept", accept), ("user-agent", "test".to_owned())];
        headers.extend(variant.map(|variant| ("x-target-variant", variant)));
        let signer = Signer::new(blank(uri, &headers), place(), "x-id");
        let credentials = credentials(token.as_deref());
        let now = UNIX_EPOCH + Duration::from_secs(second);
        let mut varying = vec![("x-id", id.as_str())];
        varying.extend(model.as_deref().map(|model| ("x-target-model", model)));
        let request = signer.sign(&credentials, now, &varying, body.into()).unwrap();
        let expected = by_the_sdk(&request, &credentials, &place(), now);
        prop_assert_eq!(request.headers().get("authorization").unwrap(), expected);
        prop_assert_eq!(request.headers().get("x-amz-security-token"), token.as_deref());
    }
}

#[test]
fn other_seconds_and_other_credentials_have_signatures_of_their_own() {
    let signer = Signer::new(blank("https://example.com/", &[]), place(), "x-id");
    let [mine, others] = [credentials(None), credentials(Some("token"))];
    // The first and the last second of a day, and all in an order in which nothing that is kept fits.
    for (credentials, second) in [(&mine, 0), (&others, 0), (&mine, 86_399), (&mine, 86_400), (&mine, 0)] {
        let now = UNIX_EPOCH + Duration::from_millis(second * 1000 + 999);
        let request = signer.sign(credentials, now, &[], Bytes::new()).unwrap();
        let expected = by_the_sdk(&request, credentials, &place(), now);
        assert_eq!(request.headers().get("authorization").unwrap(), expected, "{second}");
    }
}

#[test]
fn what_cannot_stand_in_a_header_is_an_error() {
    let signer = Signer::new(blank("https://example.com/", &[]), place(), "x-id");
    let sign = |value| signer.sign(&credentials(None), UNIX_EPOCH, &[("x-id", value)], Bytes::new());
    assert!(sign("a\nb").is_err());
    assert!(sign("a b").is_ok());
}
