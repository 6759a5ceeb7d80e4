//! The gateway without its HTTP server, on a paused clock.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::answer::proxied;
use super::super::front::Front;
use super::*;
use crate::sagemaker::{CallOutcome, ContainerAnswer, Shared};

fn front(options: &EndpointOptions) -> Front {
    Front {
        gateway: Arc::new(Gateway::new(&GatewayOptions::default())),
        shared: Arc::new(Shared::with_fraud_model(options)),
    }
}

/// Makes a valid call.
async fn answer(front: &Front, body: &'static str) -> (CallOutcome, GatewayResponse) {
    let request = Request::post(format!("http://127.0.0.1{PATH}"))
        .header("x-api-key", front.gateway.key())
        .body(Full::default());
    let request = signed(request.unwrap(), body.as_bytes(), &static_credentials());
    let (outcome, response) = front.answer(&request.into_parts().0, Some(body.into())).await;
    (outcome, GatewayResponse::from_http(response).await)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_takes_longer_than_29_s_times_out() {
    let timed_out = GatewayResponse::own(504, "InternalServerErrorException", "Endpoint request timed out");
    let with_latency = |ms| {
        front(&EndpointOptions {
            latency: Duration::from_millis(ms),
            ..EndpointOptions::default()
        })
    };
    for (front, body, expected_ms, is_timed_out) in [
        (with_latency(28_900), RECORD, 28_900, false),
        (with_latency(29_100), RECORD, 29_000, true),
        (with_latency(0), r#"{"$fault":"hang"}"#, 29_000, true),
    ] {
        let started = Instant::now();
        let (outcome, answer) = answer(&front, body).await;
        let took = started.elapsed().as_millis();
        assert!((expected_ms..=expected_ms + 1).contains(&took), "{took} ms");
        assert_eq!(answer == timed_out, is_timed_out, "{answer:?}");
        assert_eq!(outcome == CallOutcome::Error, is_timed_out);
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_own_throttling_is_a_503_of_the_container_not_a_429_of_the_plan() {
    let too_many = ContainerAnswer::text(503, "there are too many calls in flight");
    let too_many = GatewayResponse::from_http(proxied(too_many)).await;
    let unlimited = front(&EndpointOptions::default());
    assert_eq!(
        answer(&unlimited, r#"{"$fault":"throttle"}"#).await,
        (CallOutcome::Throttled, too_many)
    );
    let limited = front(&EndpointOptions {
        max_in_flight: Some(1),
        ..EndpointOptions::default()
    });
    let hangs = answer(&limited, r#"{"$fault":"hang"}"#);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer(&limited, RECORD).await.1.status
    };
    let ((_, hung), meanwhile) = tokio::join!(hangs, meanwhile);
    assert_eq!((hung.status, meanwhile), (504, 503));
    assert_eq!(
        answer(&limited, RECORD).await.1.status,
        200,
        "a call that timed out is not in flight"
    );
    assert_eq!(
        (unlimited.gateway.counts().throttled, limited.gateway.counts().throttled),
        (0, 0)
    );
}

#[tokio::test]
async fn a_container_that_died_becomes_a_bad_gateway() {
    let died = ContainerAnswer {
        status: 0,
        content_type: None,
        body: "what happened".into(),
    };
    let response = GatewayResponse::from_http(proxied(died)).await;
    let expected = GatewayResponse::own(502, "InternalServerErrorException", "Internal server error");
    assert_eq!(response, expected);
}
