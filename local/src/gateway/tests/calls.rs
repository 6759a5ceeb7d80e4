//! What becomes of calls, by the server.

use super::super::front::PAYLOAD_MAX;
use super::*;

#[tokio::test]
async fn a_call_that_is_right_has_the_containers_own_answer() {
    let endpoint = start(GatewayOptions::default()).await;
    let answered = send(call(&endpoint, RECORD, &of_this_machine())).await;
    assert_eq!((answered.status, &answered.error_type), (200, &None), "{answered:?}");
    assert_eq!(answered.content_type, "application/json");
    assert!(answered.json().get("score").is_some(), "{answered:?}");
    let refused = send(call(&endpoint, r#"{"$fault":"refuse"}"#, &of_this_machine())).await;
    assert_eq!((refused.status, &*refused.content_type), (400, "text/plain"));
    assert_eq!(refused.body, "refused, as asked for");
    let error = send(call(&endpoint, r#"{"$fault":"error"}"#, &of_this_machine())).await;
    assert_eq!((error.status, error.error_type), (500, None));
    assert_eq!((endpoint.calls(), endpoint.faults().counts().errors), (3, 1));
    assert_eq!(gateway(&endpoint).counts(), Counts::default());
}

#[tokio::test]
async fn what_is_not_there_looks_as_if_nothing_were_signed() {
    let endpoint = start(GatewayOptions::default()).await;
    for (method, path) in [
        ("GET", PATH),
        ("POST", "/prod/other"),
        ("POST", "/endpoints/mine/invocations"),
        ("GET", "/"),
    ] {
        let request = Request::builder().method(method);
        let request = request.uri(format!("{}{path}", endpoint.url()));
        assert_eq!(
            send(request.body(Full::default()).unwrap()).await,
            missing(),
            "{method} {path}"
        );
    }
    assert_eq!((endpoint.calls(), gateway(&endpoint).counts().refused()), (0, 0));
}

#[tokio::test]
async fn without_a_gateway_there_is_none_of_it() {
    let endpoint = start_with(EndpointOptions::default()).await;
    assert!(endpoint.gateway().is_none());
    let request = Request::post(format!("{}{PATH}", endpoint.url()));
    assert_eq!(send(request.body(Full::default()).unwrap()).await.status, 404);
}

#[tokio::test]
async fn a_call_is_refused_for_the_first_thing_that_is_wrong() {
    let endpoint = start(GatewayOptions::default()).await;
    let without = |name: &str| {
        let mut request = call(&endpoint, RECORD, &of_this_machine());
        request.headers_mut().remove(name);
        request
    };
    assert_eq!(send(without("authorization")).await, missing());
    let stranger = Credentials::builder()
        .access_key_id("AKIDEXAMPLE")
        .secret_access_key("local");
    let stranger = stranger.provider_name("test").build();
    assert_eq!(send(call(&endpoint, RECORD, &stranger)).await, unknown());
    let mut tampered = call(&endpoint, RECORD, &of_this_machine());
    *tampered.body_mut() = Full::from("[]");
    let tampered = send(tampered).await;
    assert_eq!(tampered.error_type.as_deref(), Some("InvalidSignatureException"));
    let message = tampered.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("does not match") && !message.contains("host"),
        "{message}"
    );
    // It is signed: the signature is looked at first.
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
async fn a_call_needs_the_key_of_now() {
    let endpoint = start(GatewayOptions::default()).await;
    let before = call(&endpoint, RECORD, &of_this_machine());
    gateway(&endpoint).replace_key();
    let refused = forbidden("ForbiddenException", "Forbidden");
    assert_eq!(send(before).await, refused);
    let keyless = Request::post(format!("{}{PATH}", endpoint.url())).body(Full::from(RECORD));
    let keyless = signed(keyless.unwrap(), RECORD.as_bytes(), &of_this_machine());
    assert_eq!(send(keyless).await, refused);
    assert_eq!(send(call(&endpoint, RECORD, &of_this_machine())).await.status, 200);
    assert_eq!(gateway(&endpoint).counts().key, 2);
}

#[tokio::test]
async fn what_is_beyond_the_plan_is_throttled_and_what_was_refused_before_does_not_count() {
    let endpoint = start_with(EndpointOptions {
        gateway: Some(GatewayOptions {
            // None comes back while the test runs.
            usage_plan: Some(UsagePlan { rate: 1e-6, burst: 2.0 }),
            ..GatewayOptions::default()
        }),
        recorded_max: 10,
        ..EndpointOptions::default()
    })
    .await;
    let old = call(&endpoint, RECORD, &of_this_machine());
    gateway(&endpoint).replace_key();
    assert_eq!(send(old).await.status, 403);
    let too_many = Answer::own(429, "TooManyRequestsException", "Too Many Requests");
    for expected in [200, 200, 429, 429] {
        let answer = send(call(&endpoint, RECORD, &of_this_machine())).await;
        assert_eq!(answer.status, expected);
        assert_eq!(answer == too_many, expected == 429, "{answer:?}");
    }
    assert_eq!(gateway(&endpoint).counts().throttled, 2);
    assert_eq!(endpoint.faults().counts().throttled, 0, "these are the endpoint's own");
    assert_eq!(endpoint.take_recorded().counts, [2, 2, 0, 0, 1]);
}

#[tokio::test]
async fn more_than_10_mb_are_too_long_whatever_else_is_wrong() {
    let endpoint = start(GatewayOptions::default()).await;
    let too_long = Answer {
        status: 413,
        error_type: None,
        content_type: "text; charset=utf-8".to_owned(),
        body: "HTTP content length exceeded 10485760 bytes.".into(),
    };
    let [most, more, beyond] = [PAYLOAD_MAX, PAYLOAD_MAX + 1, 25 * 1024 * 1024 + 1].map(|size| vec![b' '; size]);
    // No record, but it reaches the container.
    assert_eq!(send(call(&endpoint, most, &of_this_machine())).await.status, 400);
    for body in [more, beyond] {
        let unsigned = Request::post(format!("{}{PATH}", endpoint.url())).body(Full::from(body));
        assert_eq!(send(unsigned.unwrap()).await, too_long);
    }
    let counts = gateway(&endpoint).counts();
    assert_eq!((counts.too_large, counts.refused(), endpoint.calls()), (2, 2, 3));
}
