//! Responses to calls, over HTTP.

use super::super::front::PAYLOAD_BYTES_MAX;
use super::*;

#[tokio::test]
async fn a_valid_call_gets_the_containers_own_response() {
    let endpoint = start(GatewayOptions::default()).await;
    let answered = send(call(&endpoint, RECORD, &static_credentials())).await;
    assert_eq!((answered.status, &answered.error_type), (200, &None), "{answered:?}");
    assert_eq!(answered.content_type, "application/json");
    assert!(answered.json().get("score").is_some(), "{answered:?}");
    let refused = send(call(&endpoint, r#"{"$fault":"refuse"}"#, &static_credentials())).await;
    assert_eq!((refused.status, &*refused.content_type), (400, "text/plain"));
    assert_eq!(refused.body, "injected refusal");
    let error = send(call(&endpoint, r#"{"$fault":"error"}"#, &static_credentials())).await;
    assert_eq!((error.status, error.error_type), (500, None));
    assert_eq!((endpoint.calls(), endpoint.faults().counts().errors), (3, 1));
    assert_eq!(gateway(&endpoint).counts(), Counts::default());
}

#[tokio::test]
async fn a_get_request_has_the_record_in_its_query() {
    let endpoint = start(GatewayOptions::default()).await;
    for (query, status) in [
        ("?distance_km=4.20&time=2026-03-14T23%3A10%3A00Z&passengers=2", 200),
        ("?distance_km=far", 400),
    ] {
        for path in ["/prod/a%20b", "/"] {
            let request = Request::get(format!("{}{path}{query}", endpoint.url()));
            let request = request.header("x-api-key", gateway(&endpoint).key());
            let request = signed(request.body(Full::default()).unwrap(), b"", &static_credentials());
            let answer = send(request).await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.status == 200, answer.body == r#"{"fare":12.68}"#, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_method_that_does_not_exist_looks_like_a_missing_signature() {
    let endpoint = start(GatewayOptions::default()).await;
    for (method, path) in [("PUT", PATH), ("DELETE", "/prod/other")] {
        let request = Request::builder().method(method);
        let request = request.uri(format!("{}{path}", endpoint.url()));
        assert_eq!(
            send(request.body(Full::default()).unwrap()).await,
            missing_token(),
            "{method} {path}"
        );
    }
    assert_eq!((endpoint.calls(), gateway(&endpoint).counts().refused()), (0, 0));
}

#[tokio::test]
async fn without_a_gateway_its_path_does_not_exist() {
    let endpoint = start_with(EndpointOptions::default()).await;
    assert!(endpoint.gateway().is_none());
    let request = Request::post(format!("{}{PATH}", endpoint.url()));
    assert_eq!(send(request.body(Full::default()).unwrap()).await.status, 404);
}

#[tokio::test]
async fn a_call_is_refused_for_the_first_error_found() {
    let endpoint = start(GatewayOptions::default()).await;
    let without = |name: &str| {
        let mut request = call(&endpoint, RECORD, &static_credentials());
        request.headers_mut().remove(name);
        request
    };
    assert_eq!(send(without("authorization")).await, missing_token());
    let stranger = Credentials::builder()
        .access_key_id("AKIDEXAMPLE")
        .secret_access_key("local");
    let stranger = stranger.provider_name("test").build();
    assert_eq!(send(call(&endpoint, RECORD, &stranger)).await, unknown_credentials());
    let mut tampered = call(&endpoint, RECORD, &static_credentials());
    *tampered.body_mut() = Full::from("[]");
    let tampered = send(tampered).await;
    assert_eq!(tampered.error_type.as_deref(), Some("InvalidSignatureException"));
    let message = tampered.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("does not match") && !message.contains("host"),
        "{message}"
    );
    // The key is a signed header, and the signature is checked first.
    let keyless = send(without("x-api-key")).await;
    assert_eq!(keyless.error_type.as_deref(), Some("InvalidSignatureException"));
    let expected = Counts {
        signature: 4,
        ..Counts::default()
    };
    assert_eq!(gateway(&endpoint).counts(), expected);
    assert_eq!(
        (endpoint.calls(), endpoint.faults().counts()),
        (4, crate::faults::Counts::default())
    );
}

#[tokio::test]
async fn a_call_needs_the_current_key() {
    let endpoint = start(GatewayOptions::default()).await;
    let before = call(&endpoint, RECORD, &static_credentials());
    gateway(&endpoint).replace_key();
    let refused = forbidden("ForbiddenException", "Forbidden");
    assert_eq!(send(before).await, refused);
    let keyless = Request::post(format!("{}{PATH}", endpoint.url())).body(Full::from(RECORD));
    let keyless = signed(keyless.unwrap(), RECORD.as_bytes(), &static_credentials());
    assert_eq!(send(keyless).await, refused);
    assert_eq!(send(call(&endpoint, RECORD, &static_credentials())).await.status, 200);
    assert_eq!(gateway(&endpoint).counts().key, 2);
}

#[tokio::test]
async fn calls_beyond_the_plan_are_throttled_and_refused_calls_use_none_of_it() {
    let endpoint = start_with(EndpointOptions {
        gateway: Some(GatewayOptions {
            // No token is refilled while the test runs.
            usage_plan: Some(UsagePlan { rate: 1e-6, burst: 2.0 }),
            ..GatewayOptions::default()
        }),
        recorded_max: 10,
        ..EndpointOptions::default()
    })
    .await;
    let old = call(&endpoint, RECORD, &static_credentials());
    gateway(&endpoint).replace_key();
    assert_eq!(send(old).await.status, 403);
    let too_many = GatewayResponse::own(429, "TooManyRequestsException", "Too Many Requests");
    for expected in [200, 200, 429, 429] {
        let answer = send(call(&endpoint, RECORD, &static_credentials())).await;
        assert_eq!(answer.status, expected);
        assert_eq!(answer == too_many, expected == 429, "{answer:?}");
    }
    assert_eq!(gateway(&endpoint).counts().throttled, 2);
    assert_eq!(
        endpoint.faults().counts().throttled,
        0,
        "these counts are the endpoint's own"
    );
    assert_eq!(endpoint.take_recorded().counts, [2, 2, 0, 0, 1]);
}

#[tokio::test]
async fn a_body_over_10_mb_is_refused_before_the_signature_is_checked() {
    let endpoint = start(GatewayOptions::default()).await;
    let too_large = GatewayResponse {
        status: 413,
        error_type: None,
        content_type: "text; charset=utf-8".to_owned(),
        body: "HTTP content length exceeded 10485760 bytes.".into(),
    };
    let [most, more, beyond] =
        [PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 25 * 1024 * 1024 + 1].map(|size| vec![b' '; size]);
    // It is not a valid record, but it reaches the container.
    assert_eq!(send(call(&endpoint, most, &static_credentials())).await.status, 400);
    for body in [more, beyond] {
        let unsigned = Request::post(format!("{}{PATH}", endpoint.url())).body(Full::from(body));
        assert_eq!(send(unsigned.unwrap()).await, too_large);
    }
    let counts = gateway(&endpoint).counts();
    assert_eq!((counts.too_large, counts.refused(), endpoint.calls()), (2, 2, 3));
}
