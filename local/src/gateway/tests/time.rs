//! The gateway without its server, on a paused clock.

use std::sync::Arc;

use tokio::time::Instant;

use super::super::answer::passed_through;
use super::super::front::Front;
use super::*;
use crate::sagemaker::{ContainerAnswer, Outcome, Shared};

fn front(options: &EndpointOptions) -> Front {
    Front {
        gateway: Arc::new(Gateway::new(&GatewayOptions::default())),
        shared: Arc::new(Shared::of_the_model(options)),
    }
}

/// A call that is right in everything.
async fn answer(front: &Front, body: &'static str) -> (Outcome, Answer) {
    let request = Request::post(format!("http://127.0.0.1{PATH}"))
        .header("x-api-key", front.gateway.key())
        .body(Full::default());
    let request = signed(request.unwrap(), body.as_bytes(), &of_this_machine());
    let (outcome, response) = front.answer(&request.into_parts().0, Some(body.into())).await;
    (outcome, Answer::of(response).await)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_takes_longer_than_29_s_is_given_up() {
    let timed_out = Answer::own(504, "InternalServerErrorException", "Endpoint request timed out");
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
        assert_eq!(outcome == Outcome::Error, is_timed_out);
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_own_throttling_is_the_containers_answer_and_not_the_plans() {
    let too_many = ContainerAnswer::text(503, "there are too many calls in flight");
    let too_many = Answer::of(passed_through(too_many)).await;
    let drawn = front(&EndpointOptions::default());
    assert_eq!(
        answer(&drawn, r#"{"$fault":"throttle"}"#).await,
        (Outcome::Throttled, too_many)
    );
    let one = front(&EndpointOptions {
        max_in_flight: Some(1),
        ..EndpointOptions::default()
    });
    let hangs = answer(&one, r#"{"$fault":"hang"}"#);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer(&one, RECORD).await.1.status
    };
    let ((_, hung), meanwhile) = tokio::join!(hangs, meanwhile);
    assert_eq!((hung.status, meanwhile), (504, 503));
    assert_eq!(
        answer(&one, RECORD).await.1.status,
        200,
        "what was given up is not in flight"
    );
    assert_eq!(
        (drawn.gateway.counts().throttled, one.gateway.counts().throttled),
        (0, 0)
    );
}

#[tokio::test]
async fn a_container_that_died_is_a_bad_gateway() {
    let died = ContainerAnswer {
        status: 0,
        content_type: None,
        body: "what happened".into(),
    };
    let response = Answer::of(passed_through(died)).await;
    let expected = Answer::own(502, "InternalServerErrorException", "Internal server error");
    assert_eq!(response, expected);
}
