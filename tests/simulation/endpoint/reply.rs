//! The end of a failed call, as the function receives it.

use std::io::ErrorKind;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;
use serde_json::json;

use crate::world::Failure;

/// The end of a failed call.
pub(super) enum Reply {
    Response(Box<HttpResponse>),
    Error(ErrorKind),
    None,
    Panic,
}

impl Reply {
    /// Returns the end of a call for `record`. Containers quote the record in their messages.
    pub(super) fn new(failure: Failure, is_sagemaker: bool, record: &str) -> Self {
        let service = |status, code, message| response(status, code, &json!({ "message": message }).to_string());
        let response = match failure {
            Failure::Status(status) if is_sagemaker => {
                let body = json!({ "OriginalStatusCode": status, "OriginalMessage": format!("cannot read {record}") });
                response(424, "ModelError", &body.to_string())
            }
            Failure::Status(status) => response(status, "", &format!("cannot read {record}")),
            Failure::Throttled if is_sagemaker => service(400, "ThrottlingException", "Rate exceeded"),
            Failure::Throttled => service(429, "TooManyRequestsException", "Too Many Requests"),
            Failure::NotReady => service(429, "ModelNotReadyException", "The model is not ready"),
            Failure::ServiceFault => service(500, "InternalFailure", ""),
            Failure::Denied => service(403, "AccessDeniedException", ""),
            Failure::NoSuchModel if is_sagemaker => service(
                400,
                "ValidationError",
                "Failed to download model data(bucket: models, key: missing).",
            ),
            Failure::NoSuchModel => response(404, "", "no such model"),
            Failure::NoConnection => return Self::Error(ErrorKind::ConnectionRefused),
            Failure::Reset => return Self::Error(ErrorKind::ConnectionReset),
            Failure::Hang => return Self::None,
            Failure::Panic => return Self::Panic,
        };
        Self::Response(Box::new(response))
    }
}

/// Returns an answer in which the prediction for each record is its name.
pub(super) fn answer(records: &[&str]) -> HttpResponse {
    let predictions: Vec<_> = records.iter().map(|record| format!("\"{record}\"")).collect();
    response(200, "", &predictions.join("\n"))
}

fn response(status: u16, code: &'static str, body: &str) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
    if !code.is_empty() {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}
