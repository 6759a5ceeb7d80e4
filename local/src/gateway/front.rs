//! The gateway's HTTP routes: the calls, and the services STS and Secrets Manager.

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

use super::answer::{Refusal, integration_timed_out, payload_too_large, proxied};
use super::signature::ReceivedRequest;
use super::{Gateway, PATH, locked, secrets, sts};
use crate::sagemaker::{CallOutcome, CallResult, ContainerAnswer, Shared};

/// The maximum size of a payload is 10 MB:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>.
pub(super) const PAYLOAD_BYTES_MAX: usize = 10 * 1024 * 1024;

/// An integration must answer within 29 s, unless a quota sets another limit:
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>.
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(29);

/// The container's message when it throttles a call.
const BUSY_MESSAGE: &str = "there are too many calls in flight";

/// The state of the request handlers: the gateway, and the container that it forwards to.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) gateway: Arc<Gateway>,
    pub(super) shared: Arc<Shared>,
}

/// Routes calls to the container, and requests to STS and Secrets Manager.
pub(crate) fn router(gateway: Arc<Gateway>, shared: Arc<Shared>) -> Router {
    // API Gateway does not report that a resource or method does not exist.
    let not_found = async || Refusal::MissingToken.response();
    Router::new()
        .route(PATH, post(score))
        .route("/", post(services))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(Front { gateway, shared })
}

async fn score(State(front): State<Front>, parts: Parts, body: Result<Bytes, BytesRejection>) -> Response<Body> {
    let body = match body {
        Ok(body) => Some(body),
        // The body exceeds the server's own limit, so it was not read.
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => None,
        // The caller has disconnected.
        Err(rejection) => return rejection.into_response(),
    };
    front.shared.count_call(front.answer(&parts, body)).await
}

impl Front {
    pub(super) async fn answer(&self, parts: &Parts, body: Option<Bytes>) -> (CallOutcome, Response<Body>) {
        let Some(body) = body.filter(|body| body.len() <= PAYLOAD_BYTES_MAX) else {
            locked(&self.gateway.counts).too_large += 1;
            return (CallOutcome::Refused, payload_too_large());
        };
        let received = ReceivedRequest {
            method: parts.method.as_str(),
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()),
            headers: &parts.headers,
            body: &body,
        };
        if let Err(refusal) = self.gateway.admit(&received) {
            return refused(&refusal);
        }
        match timeout(INTEGRATION_TIMEOUT, self.shared.call(&parts.headers, body)).await {
            // The container throttled this call, not the usage plan.
            Ok(CallResult::Throttled) => (
                CallOutcome::Throttled,
                proxied(ContainerAnswer::text(503, BUSY_MESSAGE)),
            ),
            Ok(CallResult::Answered(answer)) => (answer.outcome(), proxied(answer)),
            Err(_) => (CallOutcome::Error, integration_timed_out()),
        }
    }
}

fn refused(refusal: &Refusal) -> (CallOutcome, Response<Body>) {
    let outcome = if *refusal == Refusal::Throttled {
        CallOutcome::Throttled
    } else {
        CallOutcome::Refused
    };
    (outcome, refusal.response())
}

/// Serves Secrets Manager and STS. Only requests to Secrets Manager have the header `x-amz-target`.
async fn services(State(Front { gateway, .. }): State<Front>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    match headers.get("x-amz-target") {
        Some(target) => secrets::answer(&gateway, target.as_bytes(), &body),
        None => sts::answer(&gateway, &body),
    }
}
