//! Converts an error response of `SageMaker` into a [`Fault`]. No other module does.

use serde::Deserialize;

use crate::endpoint::aws_code::{Verdict, classify, is_validation};
use crate::endpoint::aws_error::{shorten, shown_code};
use crate::endpoint::container;
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind};

/// An error response of `SageMaker`.
#[derive(Debug)]
pub(in crate::endpoint) struct ErrorResponse {
    status: u16,
    pub(in crate::endpoint) code: String,
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

    /// Returns the service's message, or an empty string.
    pub(in crate::endpoint) fn message(&self) -> &str {
        let message = self.body.message.as_deref();
        message.or(self.body.message_capitalized.as_deref()).unwrap_or_default()
    }

    /// Returns the fault of the container, if the response passes one on. If the record names the model
    /// (`is_model_from_record`), a missing model is the record's fault.
    pub(in crate::endpoint) fn container_fault(&self, is_model_from_record: bool) -> Option<Fault> {
        if self.code != "ModelError" {
            return None;
        }
        let status = self.body.original_status.unwrap_or_default();
        let message = self.body.original_message.as_deref().unwrap_or_default();
        Some(container::fault(status, message, is_model_from_record))
    }

    /// Returns the fault for the record. If the record names the model (`is_model_from_record`), an error about the
    /// model is the record's fault, and the service's message may quote the record.
    pub(in crate::endpoint) fn fault(&self, is_model_from_record: bool) -> Fault {
        if let Some(fault) = self.container_fault(is_model_from_record) {
            return fault;
        }
        let Self { status, code, .. } = self;
        let message = self.message();
        let verdict = classify(code, message, is_model_from_record)
            .unwrap_or_else(|| classify_unknown(code, message, *status, is_model_from_record));
        let (shown, hidden) = if is_model_from_record {
            ("", message)
        } else {
            (message, "")
        };
        let shown = shorten(shown.trim_end_matches('.'));
        let separator = if shown.is_empty() { "" } else { "; " };
        let code = shown_code(code);
        let summary = format!("SageMaker answered {code} with status {status}{separator}{shown}");
        verdict.fault(summary).with_container_message(hidden)
    }
}

/// Classifies an error whose code is missing, as from a load balancer, or unknown, or whose message is unknown. A
/// validation error with an unknown message may be about the record or, if the record names it, about the model. A 400
/// without a code, and a validation error without a message, are Suspect instead of Refused: throttling has been
/// observed in this form.
pub(in crate::endpoint) fn classify_unknown(
    code: &str,
    message: &str,
    status: u16,
    is_model_from_record: bool,
) -> Verdict {
    match status {
        _ if is_validation(code) && !message.is_empty() => Verdict {
            is_about_named_model: is_model_from_record,
            remedy: "check the settings that are sent with each call",
            ..Verdict::of(FaultKind::Refused)
        },
        400 if code.is_empty() || is_validation(code) => Verdict::of(FaultKind::Suspect),
        413 => Verdict::of(FaultKind::Refused),
        429 | 503 => Verdict::of(FaultKind::Overload),
        408 | 500.. => Verdict::of(FaultKind::Unreachable),
        // No error and no prediction.
        ..300 => Verdict::of(FaultKind::Suspect),
        _ => Verdict::misconfigured("check the function's credentials and settings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_with_an_unknown_code_or_message_are_classified_by_status() {
        for (code, message, status, expected) in [
            ("", "", 503, FaultKind::Overload),
            ("", "", 429, FaultKind::Overload),
            ("SomethingNew", "", 502, FaultKind::Unreachable),
            ("", "", 504, FaultKind::Unreachable),
            ("RequestEntityTooLarge", "", 413, FaultKind::Refused),
            ("", "", 400, FaultKind::Suspect),
            ("ValidationError", "", 400, FaultKind::Suspect),
            ("ValidationError", "An unknown message", 400, FaultKind::Refused),
            ("", "", 408, FaultKind::Unreachable),
            ("SomethingNew", "An unknown message", 400, FaultKind::Misconfigured),
            ("", "", 404, FaultKind::Misconfigured),
        ] {
            let verdict = classify_unknown(code, message, status, true);
            assert_eq!(verdict.kind, expected, "{code} {status}");
            let is_unknown_validation = is_validation(code) && !message.is_empty();
            assert_eq!(verdict.is_about_named_model, is_unknown_validation, "{code} {message}");
        }
    }
}
