//! Answers as API Gateway puts them.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::front::PAYLOAD_MAX;
use crate::sagemaker::ContainerAnswer;

/// Why a call does not reach the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is signed; also, there is no such resource or method.
    MissingToken,
    /// What stands in `Authorization` is no signature.
    Incomplete(&'static str),
    /// The signature is of credentials that nobody knows.
    Unknown,
    /// It is of a session that is over.
    Expired,
    /// It is not right, and why.
    Signature(Cow<'static, str>),
    /// The key of a usage plan is missing, or is none any more.
    Key,
    /// There are too many calls.
    Throttled,
}

impl Refusal {
    fn in_words(&self) -> (StatusCode, &'static str, &str) {
        let forbidden = StatusCode::FORBIDDEN;
        match self {
            Self::MissingToken => (
                forbidden,
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ),
            Self::Incomplete(why) => (forbidden, "IncompleteSignatureException", why),
            Self::Unknown => (
                forbidden,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            Self::Expired => (
                forbidden,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            Self::Signature(why) => (forbidden, "InvalidSignatureException", why),
            Self::Key => (forbidden, "ForbiddenException", "Forbidden"),
            Self::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                "Too Many Requests",
            ),
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let (status, error_type, message) = self.in_words();
        own(status, error_type, message)
    }
}

/// The container's answer, whatever it is, unless there is none.
pub(super) fn passed_through(answer: ContainerAnswer) -> Response<Body> {
    let ContainerAnswer {
        status,
        content_type,
        body,
    } = answer;
    let Some(status) = StatusCode::from_u16(status).ok() else {
        return own(
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

/// The body is too long, which API Gateway's front door says in plain text, before it looks at the API: as seen in
/// <https://github.com/koki-develop/lgtm-generator/issues/10>.
pub(super) fn too_long() -> Response<Body> {
    Response::builder()
        .status(StatusCode::PAYLOAD_TOO_LARGE)
        .header("Content-Type", "text; charset=utf-8")
        .body(Body::from(format!("HTTP content length exceeded {PAYLOAD_MAX} bytes.")))
        .expect("the header is a constant")
}

/// The container took too long.
pub(super) fn timed_out() -> Response<Body> {
    own(
        StatusCode::GATEWAY_TIMEOUT,
        "InternalServerErrorException",
        "Endpoint request timed out",
    )
}

/// The gateway's own words.
fn own(status: StatusCode, error_type: &'static str, message: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("Content-Type", "application/json")
        .header("x-amzn-ErrorType", error_type)
        .body(Body::from(json!({ "message": message }).to_string()))
        .expect("the headers are constants")
}
