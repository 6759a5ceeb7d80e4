//! Converts an error response of `SageMaker` into a [`Fault`]. No other module does.
//!
//! The service's errors are listed in
//! [InvokeEndpoint](https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html). The
//! errors of all AWS services are listed in [Common
//! Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html).

use serde::Deserialize;

use crate::endpoint::aws_error::{is_throttling, shorten};
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// An error response of `SageMaker`.
#[derive(Debug)]
pub(in crate::endpoint) struct ErrorResponse {
    status: u16,
    code: String,
    body: ErrorBody,
}

/// The body of an error response.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "Message")]
    message_capitalized: Option<String>,
    #[serde(rename = "OriginalStatusCode")]
    original_status: Option<u16>,
    #[serde(rename = "OriginalMessage")]
    original_message: Option<String>,
}

impl ErrorResponse {
    /// Reads an error response. A load balancer may send any body, or none.
    pub(in crate::endpoint) fn read(answer: &HttpAnswer) -> Self {
        Self {
            status: answer.status,
            code: answer.error_code(),
            body: serde_json::from_slice(&answer.body).unwrap_or_default(),
        }
    }

    /// Returns the fault for the record. If the record names the model (`is_model_from_record`), a missing model is the
    /// record's fault.
    pub(in crate::endpoint) fn fault(&self, is_model_from_record: bool) -> Fault {
        let Self { status, code, body } = self;
        if code == "ModelError" {
            let message = body.original_message.as_deref();
            let fault = Fault::from_container(body.original_status.unwrap_or_default(), message);
            return match body.original_status {
                Some(404) if is_model_from_record => Fault {
                    kind: FaultKind::Refused,
                    ..fault
                },
                _ => fault,
            };
        }
        let message = body.message.as_deref().or(body.message_capitalized.as_deref());
        let message = message.unwrap_or_default();
        let verdict = classify(code, message, *status);
        let code = if code.is_empty() { "an error" } else { code };
        let message = shorten(message.trim_end_matches('.'));
        let details = [message.as_str(), verdict.remedy].into_iter();
        let details = details.filter(|detail| !detail.is_empty());
        let details = details.fold(String::new(), |all, detail| format!("{all}; {detail}"));
        let summary = format!("SageMaker answered {code} with status {status}{details}");
        Fault {
            needs_evidence: verdict.needs_evidence,
            load: if is_model_from_record && code == "ModelNotReadyException" {
                LoadSignal::SingleModelOnly
            } else {
                LoadSignal::FromKind
            },
            ..Fault::new(verdict.kind, summary)
        }
    }
}

/// The fault kind of a service error, and the suggested fix.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    kind: FaultKind,
    needs_evidence: bool,
    remedy: &'static str,
}

impl Verdict {
    fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            needs_evidence: false,
            remedy: "",
        }
    }

    fn misconfigured(remedy: &'static str) -> Self {
        Self {
            remedy,
            ..Self::of(FaultKind::Misconfigured)
        }
    }
}

/// Classifies an error by its code, or by its status if the code is unknown or missing, as from a load balancer. The
/// code comes first because throttling and denied access are not part of the service model and may have no message. A
/// 400 without a code, and a validation error without a message, are Suspect instead of Refused: throttling has been
/// observed in this form.
fn classify(code: &str, message: &str, status: u16) -> Verdict {
    match code {
        "ModelNotReadyException" | "ServiceUnavailable" | "ServiceUnavailableException" => {
            Verdict::of(FaultKind::Overload)
        }
        _ if is_throttling(code) => Verdict::of(FaultKind::Overload),
        "InternalFailure"
        | "InternalServerError"
        | "InternalDependencyException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Verdict::of(FaultKind::Unreachable),
        "ValidationError" | "ValidationException" => classify_validation(&message.to_ascii_lowercase()),
        "AccessDenied" | "AccessDeniedException" => {
            Verdict::misconfigured("grant the function's role sagemaker:InvokeEndpoint on the endpoint")
        }
        _ => match status {
            400 if code.is_empty() => Verdict::of(FaultKind::Suspect),
            413 => Verdict::of(FaultKind::Refused),
            429 | 503 => Verdict::of(FaultKind::Overload),
            408 | 500.. => Verdict::of(FaultKind::Unreachable),
            _ => Verdict::misconfigured("check the function's credentials and settings"),
        },
    }
}

/// Classifies a validation error by its message. It can be about the endpoint, the settings or the record. An error
/// with an unknown message needs evidence, because a record must not be rejected on a guess.
fn classify_validation(message: &str) -> Verdict {
    let has_any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if message.is_empty() {
        Verdict::of(FaultKind::Suspect)
    } else if has_any(&["no capacity"]) {
        Verdict::of(FaultKind::Overload)
    } else if has_any(&[
        "not found",
        "does not exist",
        "could not find",
        "not in service",
        "inservice",
    ]) {
        Verdict::misconfigured(
            "check ENDPOINT_NAME, the variant, container and component in the settings, and the region",
        )
    } else if has_any(&["at 'body'"]) {
        Verdict::of(FaultKind::Refused)
    } else if has_any(&["failed to satisfy constraint", "header"]) {
        Verdict::misconfigured("check the function's settings")
    } else {
        Verdict {
            needs_evidence: true,
            ..Verdict::of(FaultKind::Refused)
        }
    }
}

#[cfg(test)]
mod tests;
