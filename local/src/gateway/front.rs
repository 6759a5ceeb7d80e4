//! What the gateway's server serves: the calls, and the services around them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use bytes::Bytes;
use tokio::time::timeout;

use super::answer::{Refusal, passed_through, timed_out, too_long};
use super::signature::Received;
use super::{Gateway, PATH, locked, secrets, sts};
use crate::sagemaker::{ContainerAnswer, Ended, Outcome, Shared};

/// A payload has 10 MB at most:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>.
pub(super) const PAYLOAD_MAX: usize = 10 * 1024 * 1024;

/// An integration must answer within 29 s, unless a quota says otherwise:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>.
const INTEGRATION_MAX: Duration = Duration::from_secs(29);

/// What a container says that has too much to do.
const BUSY: &str = "there are too many calls in flight";

/// What a handler needs.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) gateway: Arc<Gateway>,
    pub(super) shared: Arc<Shared>,
}

/// Serves the calls, and the services around them.
pub(crate) fn router(gateway: Arc<Gateway>, shared: Arc<Shared>) -> Router {
    // A resource or a method that there is not: the gateway does not say so.
    let nothing = async || Refusal::MissingToken.response();
    Router::new()
        .route(PATH, post(score))
        .route("/", post(services))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .with_state(Front { gateway, shared })
}

async fn score(State(front): State<Front>, parts: Parts, body: Result<Bytes, BytesRejection>) -> Response<Body> {
    let body = match body {
        Ok(body) => Some(body),
        // So much that nobody keeps it.
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => None,
        // The caller has gone.
        Err(rejection) => return rejection.into_response(),
    };
    front.shared.counted(front.answer(&parts, body)).await
}

impl Front {
    pub(super) async fn answer(&self, parts: &Parts, body: Option<Bytes>) -> (Outcome, Response<Body>) {
        let Some(body) = body.filter(|body| body.len() <= PAYLOAD_MAX) else {
            locked(&self.gateway.counts).too_large += 1;
            return (Outcome::Refused, too_long());
        };
        let received = Received {
            method: parts.method.as_str(),
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()),
            headers: &parts.headers,
            body: &body,
        };
        if let Err(refusal) = self.gateway.admit(&received) {
            return refused(&refusal);
        }
        match timeout(INTEGRATION_MAX, self.shared.call(&parts.headers, body)).await {
            // It is the container's answer, not the plan's.
            Ok(Ended::Throttled) => (Outcome::Throttled, passed_through(ContainerAnswer::text(503, BUSY))),
            Ok(Ended::Answered(answer)) => (answer.outcome(), passed_through(answer)),
            Err(_) => (Outcome::Error, timed_out()),
        }
    }
}

fn refused(refusal: &Refusal) -> (Outcome, Response<Body>) {
    let outcome = if *refusal == Refusal::Throttled {
        Outcome::Throttled
    } else {
        Outcome::Refused
    };
    (outcome, refusal.response())
}

/// The services around the gateway, each as its requests are told from the other's.
async fn services(State(Front { gateway, .. }): State<Front>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    match headers.get("x-amz-target") {
        Some(target) => secrets::answer(&gateway, target.as_bytes(), &body),
        None => sts::answer(&gateway, &body),
    }
}
