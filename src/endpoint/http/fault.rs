//! Converts an error response of an endpoint behind a URL into a [`Fault`]. No other module does.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use crate::endpoint::aws_code::{Verdict, classify, is_validation};
use crate::endpoint::container;
use crate::endpoint::sagemaker::fault::{ErrorResponse, classify_unknown};
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// Returns the fault for a response without a prediction that arrived at `now`: by its AWS code or by the model
/// server's own error type if one of them is known, otherwise by its status. If the record names the model
/// (`is_model_from_record`), an error about the model is the record's fault.
pub(super) fn from_response(answer: &HttpAnswer, is_model_from_record: bool, now: SystemTime) -> Fault {
    let status = answer.status;
    let error = ErrorResponse::read(answer);
    // A gateway may pass on SageMaker's response, whose body contains the container's own status.
    if let Some(fault) = error.container_fault(is_model_from_record) {
        return fault;
    }
    let body = std::str::from_utf8(&answer.body).unwrap_or_default();
    let known = classify(&error.code, error.message(), is_model_from_record).or_else(|| {
        is_validation(&error.code).then(|| classify_unknown(&error.code, error.message(), status, is_model_from_record))
    });
    let is_rate_limit = status == 429 && is_rate_limit(answer, &error.code);
    let is_from_container = known.is_none() && !is_rate_limit;
    let (name, verdict) = if let Some(verdict) = known {
        (aws_code(&error.code, true), verdict)
    } else if let Some((error_type, kind)) = container::known_error(body) {
        (format!(" {error_type}"), Verdict::of(kind))
    } else {
        (
            aws_code(&error.code, false),
            classify_status(status, is_model_from_record),
        )
    };
    let summary = format!("the endpoint answered with status {status}{name}");
    let retry_after = answer
        .header("retry-after")
        .and_then(|value| parse_retry_after(value, now));
    Fault {
        is_from_container,
        load: if is_rate_limit {
            LoadSignal::RateLimit
        } else {
            verdict.load
        },
        retry_after: retry_after.filter(|_| verdict.kind == FaultKind::Overload),
        ..verdict.fault(summary).with_container_message(body)
    }
}

/// Classifies a response by its status. If the record names the model, a 404 may mean that the model does not exist.
fn classify_status(status: u16, is_model_from_record: bool) -> Verdict {
    Verdict {
        is_about_named_model: status == 404 && is_model_from_record,
        remedy: remedy(status),
        ..Verdict::of(container::kind(status))
    }
}

/// Returns whether a 429 comes from a limit on calls per second, such as API Gateway's usage plans and quotas. REST
/// APIs send an error code, HTTP APIs only a message. Lambda uses the same code for its concurrency limit, but adds a
/// reason. The 429 of other servers can have any cause.
fn is_rate_limit(answer: &HttpAnswer, code: &str) -> bool {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let has_gateway_code = ["TooManyRequestsException", "LimitExceededException"].contains(&code);
    let has_gateway_message = body.message.as_deref() == Some("Too Many Requests");
    body.reason.is_none() && (has_gateway_code || has_gateway_message)
}

/// The body of a 429.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "Reason")]
    reason: Option<String>,
}

/// Returns the error code after a space, if it looks like an AWS code. Another server's code may contain any text,
/// which a log must not show.
fn aws_code(code: &str, is_known: bool) -> String {
    let is_aws = (is_known || code.ends_with("Exception"))
        && code.len() <= 64
        && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_aws { format!(" {code}") } else { String::new() }
}

/// Returns the setting to check for a status, or an empty string.
fn remedy(status: u16) -> &'static str {
    match status {
        ..300 => "the status of a prediction is 200, 201 or 203",
        300..=399 => "the endpoint redirects: set ENDPOINT_URL to the target of the redirect",
        401 | 403 => "check the path of ENDPOINT_URL, ENDPOINT_AUTH, ENDPOINT_API_KEY, and the function's permissions",
        404 => "check ENDPOINT_URL, and TARGET_MODEL if it is set",
        405 => "check that ENDPOINT_URL accepts POST",
        _ => container::remedy(status),
    }
}

/// Parses `Retry-After`, a number of seconds or a date: <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>. The
/// result is at most one hour, which is longer than any invocation.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    let wait = seconds.or_else(|| {
        let date = DateTime::from_str(value, Format::HttpDate).ok()?;
        let date = SystemTime::try_from(date).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    });
    Some(wait?.min(Duration::from_hours(1)))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (value, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("18446744073709551615", Some(3600)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(
                parse_retry_after(value, now),
                expected.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn only_aws_error_codes_are_shown() {
        assert_eq!(aws_code("ForbiddenException", false), " ForbiddenException");
        assert_eq!(aws_code("IncompleteSignature", true), " IncompleteSignature");
        for other in ["", "card 4929", "Card4929Exception", "forbidden"] {
            assert_eq!(aws_code(other, false), "", "{other}");
        }
        assert_eq!(aws_code("Throttled card 4929", true), "");
    }
}
