//! The gateway's HTTP routes: the calls, and the services STS and Secrets Manager.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use bytes::Bytes;
use serde_json::{Number, Value};
use tokio::time::timeout;

use super::answer::{Refusal, integration_timed_out, payload_too_large, proxied};
use super::signature::ReceivedRequest;
use super::{Gateway, locked, secrets, sts};
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

/// Routes calls to the container, and requests to STS and Secrets Manager. Every other path is a resource with the
/// methods POST and GET.
pub(crate) fn router(gateway: Arc<Gateway>, shared: Arc<Shared>) -> Router {
    let front = Front { gateway, shared };
    // API Gateway does not report that a method does not exist.
    let no_such_method = async || Refusal::MissingToken.response();
    Router::new()
        .route("/", post(services).get(score))
        .fallback_service(
            post(score)
                .get(score)
                .fallback(no_such_method)
                .with_state(front.clone()),
        )
        .with_state(front)
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
        let body = if parts.method == Method::GET {
            query_as_json(parts.uri.query().unwrap_or_default())
        } else {
            body
        };
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

/// Returns a JSON object of the parameters of a query, as a mapping template of an integration makes it. A value that
/// is a number in JSON becomes a number.
fn query_as_json(query: &str) -> Bytes {
    let parameters = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| {
        let number = serde_json::from_str::<Number>(&value).map(Value::from);
        (name.into_owned(), number.unwrap_or_else(|_| value.into()))
    });
    Value::Object(parameters.collect()).to_string().into()
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
