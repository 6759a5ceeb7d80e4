//! Responses in the format of `SageMaker` Runtime.

use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};

use super::container::ContainerAnswer;

/// The only production variant.
const VARIANT: &str = "AllTraffic";

pub(super) fn service_error_response(error_type: &str, body: &Value) -> Response<Body> {
    Response::builder()
        .status(400)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", error_type)
        .body(Body::from(body.to_string()))
        .expect("the headers are ASCII")
}

pub(super) fn prediction_response(answer: ContainerAnswer) -> Response<Body> {
    let content_type = answer
        .content_type
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    let built = Response::builder()
        .header("Content-Type", content_type)
        .header("x-Amzn-Invoked-Production-Variant", VARIANT)
        .body(Body::from(answer.body));
    built.expect("the content type was a header before")
}

pub(super) fn model_error_response(endpoint: &str, answer: &ContainerAnswer) -> Response<Body> {
    let status = answer.status;
    let message = String::from_utf8_lossy(&answer.body);
    let side = if (400..500).contains(&status) {
        "client"
    } else {
        "server"
    };
    let body = json!({
        "Message": format!("Received {side} error ({status}) from primary with message \"{message}\""),
        "OriginalStatusCode": status,
        "OriginalMessage": message,
        "LogStreamArn": format!("arn:aws:logs:us-east-1:000000000000:log-group:/aws/sagemaker/Endpoints/{endpoint}"),
    });
    Response::builder()
        .status(424)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", "ModelError")
        .body(Body::from(body.to_string()))
        .expect("the headers are constants")
}
