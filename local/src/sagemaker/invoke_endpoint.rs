//! `InvokeEndpoint`: reads the request and writes the response of a call in the format of `SageMaker` Runtime.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use serde_json::json;

use super::answer::{model_error_response, prediction_response, service_error_response};
use super::call::{CallResult, Shared};
use super::recorder::CallOutcome;

/// The only endpoint name that does not exist.
const NO_SUCH_ENDPOINT: &str = "no-such-endpoint";

pub(super) async fn invoke_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.count_call(answer(&shared, &endpoint, &headers, body)).await
}

async fn answer(shared: &Shared, endpoint: &str, headers: &HeaderMap, body: Bytes) -> (CallOutcome, Response<Body>) {
    if endpoint == NO_SUCH_ENDPOINT {
        let message = format!("Endpoint {endpoint} of account 000000000000 not found.");
        let response = service_error_response("ValidationError", &json!({ "Message": message }));
        return (CallOutcome::Refused, response);
    }
    match shared.call(headers, body).await {
        CallResult::Throttled => {
            let response = service_error_response("ThrottlingException", &json!({ "message": null }));
            (CallOutcome::Throttled, response)
        }
        CallResult::Answered(answer) => {
            let outcome = answer.outcome();
            let response = if outcome == CallOutcome::Answered {
                prediction_response(answer)
            } else {
                model_error_response(endpoint, &answer)
            };
            (outcome, response)
        }
    }
}
