//! `InvokeEndpoint`: how `SageMaker` Runtime itself takes a call, and tells how it ended.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use serde_json::json;

use super::answer::{model_error, predicted, service_error};
use super::call::{Ended, Shared};
use super::recorder::Outcome;

/// An endpoint of this name is the only one that there is not.
const NO_SUCH_ENDPOINT: &str = "no-such-endpoint";

pub(super) async fn invoke_endpoint(
    State(shared): State<Arc<Shared>>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.counted(answer(&shared, &endpoint, &headers, body)).await
}

async fn answer(shared: &Shared, endpoint: &str, headers: &HeaderMap, body: Bytes) -> (Outcome, Response<Body>) {
    if endpoint == NO_SUCH_ENDPOINT {
        let message = format!("Endpoint {endpoint} of account 000000000000 not found.");
        let response = service_error("ValidationError", &json!({ "Message": message }));
        return (Outcome::Refused, response);
    }
    match shared.call(headers, body).await {
        Ended::Throttled => {
            let response = service_error("ThrottlingException", &json!({ "message": null }));
            (Outcome::Throttled, response)
        }
        Ended::Answered(answer) => {
            let outcome = answer.outcome();
            let response = if outcome == Outcome::Answered {
                predicted(answer)
            } else {
                model_error(endpoint, &answer)
            };
            (outcome, response)
        }
    }
}
