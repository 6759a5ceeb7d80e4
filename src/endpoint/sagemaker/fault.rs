//! The one place where an error that the service answered with becomes a [`Fault`].
//!
//! The service's errors are listed with
//! [InvokeEndpoint](https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html), those that
//! all of AWS shares in [Common Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html).

use serde::Deserialize;

use crate::endpoint::aws_error::{is_throttling, shorten};
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// An error that the service answered with.
#[derive(Debug)]
pub(in crate::endpoint) struct ErrorResponse {
    status: u16,
    code: String,
    body: ErrorBody,
}

/// The body of an error.
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
    /// Reads an answer: anything, or nothing, where it comes from a load balancer.
    pub(in crate::endpoint) fn read(answer: &HttpAnswer) -> Self {
        Self {
            status: answer.status,
            code: answer.error_code(),
            body: serde_json::from_slice(&answer.body).unwrap_or_default(),
        }
    }

    /// What the error means for what to do next.
    /// Where `has_record_model` by the record, a model that there is not is the record's fault.
    pub(in crate::endpoint) fn fault(&self, has_record_model: bool) -> Fault {
        let Self { status, code, body } = self;
        if code == "ModelError" {
            let message = body.original_message.as_deref();
            let fault = Fault::from_container(body.original_status.unwrap_or_default(), message);
            return match body.original_status {
                Some(404) if has_record_model => Fault {
                    kind: FaultKind::Refused,
                    ..fault
                },
                _ => fault,
            };
        }
        let message = body.message.as_deref().or(body.message_capitalized.as_deref());
        let message = message.unwrap_or_default();
        let verdict = classify(code, message, *status);
        let named = if code.is_empty() { "an error" } else { code };
        let said = shorten(message.trim_end_matches('.'));
        let words = [said.as_str(), verdict.remedy].into_iter();
        let words = words.filter(|words| !words.is_empty());
        let words = words.fold(String::new(), |all, words| format!("{all}; {words}"));
        let summary = format!("SageMaker answered {named} with status {status}{words}");
        Fault {
            needs_evidence: verdict.needs_evidence,
            load: if has_record_model && code == "ModelNotReadyException" {
                LoadSignal::SingleModelOnly
            } else {
                LoadSignal::FromKind
            },
            ..Fault::new(verdict.kind, summary)
        }
    }
}

/// What an error of the service's means, and what to mend.
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

/// By error code first, since throttling and denied access are in no service model and may come without a message;
/// by status where a code is not known or, as from a load balancer, there is none. An error without a word is never held
/// against a record: throttling has come that way.
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
            Verdict::misconfigured("allow sagemaker:InvokeEndpoint on the endpoint to the function's role")
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

/// A validation error may be about the endpoint, the settings or the record; only its message tells. One that fits none
/// of the known messages stays in doubt: a record must not be given up on a guess.
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
        Verdict::misconfigured("check ENDPOINT_NAME, what is named beside it, and the region")
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
