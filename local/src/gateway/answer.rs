//! Responses in the format of API Gateway.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::front::PAYLOAD_BYTES_MAX;
use crate::sagemaker::ContainerAnswer;

/// The reason why a call does not reach the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The call is not signed, or the resource or method does not exist.
    MissingToken,
    /// The `Authorization` header is not a complete signature.
    IncompleteSignature(&'static str),
    /// The signature was made with unknown credentials.
    UnknownCredentials,
    /// The signature was made with the credentials of a session that has expired.
    ExpiredCredentials,
    /// The signature is wrong, with the reason.
    InvalidSignature(Cow<'static, str>),
    /// The API key of the usage plan is missing or not the current one.
    InvalidKey,
    /// The call exceeds the usage plan.
    Throttled,
}

impl Refusal {
    /// Returns the status, error type and message of API Gateway's response.
    fn describe(&self) -> (StatusCode, &'static str, &str) {
        let forbidden = StatusCode::FORBIDDEN;
        match self {
            Self::MissingToken => (
                forbidden,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ),
            Self::IncompleteSignature(why) => (forbidden, "IncompleteSignatureException", why),
            Self::UnknownCredentials => (
                forbidden,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            Self::ExpiredCredentials => (
                forbidden,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            Self::InvalidSignature(why) => (forbidden, "InvalidSignatureException", why),
            Self::InvalidKey => (forbidden, "ForbiddenException", "Forbidden"),
            Self::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                "Too Many Requests",
            ),
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let (status, error_type, message) = self.describe();
        gateway_response(status, error_type, message)
    }
}

/// Passes the container's response on unchanged. Status 0, no response, becomes a bad gateway (502).
pub(super) fn proxied(answer: ContainerAnswer) -> Response<Body> {
    let ContainerAnswer {
        status,
        content_type,
        body,
    } = answer;
    let Some(status) = StatusCode::from_u16(status).ok() else {
        return gateway_response(
            StatusCode::BAD_GATEWAY,
            "InternalServerErrorException",
            "Internal server error",
        );
    };
    let response = Response::builder().status(status);
    let response = match content_type {
        Some(content_type) => response.header("Content-Type", content_type),
        None => response,
    };
    response
        .body(Body::from(body))
        .expect("the content type was a header before")
}

/// The response to a body that is too large. API Gateway sends it as plain text, before it looks at the API, as seen in
/// <https://github.com/koki-develop/lgtm-generator/issues/10>.
pub(super) fn payload_too_large() -> Response<Body> {
    Response::builder()
        .status(StatusCode::PAYLOAD_TOO_LARGE)
        .header("Content-Type", "text; charset=utf-8")
        .body(Body::from(format!(
            "HTTP content length exceeded {PAYLOAD_BYTES_MAX} bytes."
        )))
        .expect("the header is a constant")
}

/// The response to a call for which the container took too long.
pub(super) fn integration_timed_out() -> Response<Body> {
    gateway_response(
        StatusCode::GATEWAY_TIMEOUT,
        "InternalServerErrorException",
        "Endpoint request timed out",
    )
}

/// A response of the gateway itself, not of the container.
fn gateway_response(status: StatusCode, error_type: &'static str, message: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", error_type)
        .body(Body::from(json!({ "message": message }).to_string()))
        .expect("the headers are constants")
}
