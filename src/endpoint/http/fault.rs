//! Converts an error response of an endpoint behind a URL into a [`Fault`]. No other module does.

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use crate::endpoint::aws_error::is_throttling;
use crate::endpoint::sagemaker::fault::ErrorResponse;
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind, LoadSignal, container_fault};

/// Returns the fault for a response other than 2xx that arrived at `now`. If the record names the model
/// (`is_model_from_record`), a 404 may mean that the model does not exist.
pub(super) fn from_response(answer: &HttpAnswer, is_model_from_record: bool, now: SystemTime) -> Fault {
    let (status, code) = (answer.status, answer.error_code());
    // A gateway may pass on SageMaker's response, whose body contains the container's own status.
    if code == "ModelError" {
        return ErrorResponse::read(answer).fault(is_model_from_record);
    }
    let may_be_record_model = status == 404 && is_model_from_record;
    let kind = if may_be_record_model {
        FaultKind::Refused
    } else {
        kind(status, &code)
    };
    let retry_after = answer
        .header("retry-after")
        .and_then(|value| parse_retry_after(value, now));
    let (aws_code, remedy) = (aws_code(&code), remedy(status, &code));
    Fault {
        kind,
        needs_evidence: may_be_record_model,
        load: if status == 429 && is_rate_limit(answer, &code) {
            LoadSignal::RateLimit
        } else {
            LoadSignal::FromKind
        },
        retry_after: retry_after.filter(|_| kind == FaultKind::Overload),
        summary: format!("the endpoint answered with status {status}{aws_code}{remedy}"),
        ..Fault::from_container(status, std::str::from_utf8(&answer.body).ok())
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

/// Returns the fault kind by the error code or otherwise the status. AWS services also send status 400 with error codes
/// that are unrelated to the record. They are listed in [Common
/// Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html).
fn kind(status: u16, code: &str) -> FaultKind {
    match code {
        _ if is_throttling(code) => FaultKind::Overload,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "UnrecognizedClientException" => {
            FaultKind::Misconfigured
        }
        _ if (300..400).contains(&status) => FaultKind::Misconfigured,
        _ => container_fault(status),
    }
}

/// Returns the error code after a space, if it looks like an AWS code. Another server's code may contain any text,
/// which a log must not show.
fn aws_code(code: &str) -> String {
    let is_aws = code.ends_with("Exception") && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_aws { format!(" {code}") } else { String::new() }
}

/// Returns the suggested fix for an error code of API Gateway or Lambda, or otherwise for the status.
fn remedy(status: u16, code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => {
            "; allow the function's role, or the role of ENDPOINT_ROLE_ARN, to call the endpoint"
        }
        "ExpiredTokenException" | "UnrecognizedClientException" => "; check the function's credentials",
        "ForbiddenException" => "; check ENDPOINT_API_KEY, and who may call the endpoint",
        "InvalidSignatureException" => "; check ENDPOINT_REGION and ENDPOINT_SERVICE",
        "MissingAuthenticationTokenException" => "; check the path of ENDPOINT_URL, and ENDPOINT_AUTH",
        _ => status_remedy(status),
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "; the endpoint redirects: set ENDPOINT_URL to the target of the redirect",
        401 | 403 => {
            "; check the path of ENDPOINT_URL, ENDPOINT_AUTH, ENDPOINT_API_KEY, and the function's permissions"
        }
        404 => "; check ENDPOINT_URL",
        405 => "; check that ENDPOINT_URL accepts POST",
        406 => "; check ACCEPT",
        415 => "; check CONTENT_TYPE",
        _ => "",
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
        assert_eq!(aws_code("ForbiddenException"), " ForbiddenException");
        for other in ["", "card 4929", "Card4929Exception", "forbidden"] {
            assert_eq!(aws_code(other), "", "{other}");
        }
    }
}
