//! The one place where the status of an endpoint behind a URL becomes a [`Fault`].

use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use crate::endpoint::aws_error::is_throttling;
use crate::endpoint::sagemaker::fault::ErrorResponse;
use crate::endpoint::transport::HttpAnswer;
use crate::outcome::{Fault, FaultKind, LoadSignal, container_fault};

/// What an answer other than 2xx, that came `now`, means for what to do next. Where the record names its model
/// (`has_record_model`), a 404 may be about that.
pub(super) fn from_response(answer: &HttpAnswer, has_record_model: bool, now: SystemTime) -> Fault {
    let (status, code) = (answer.status, answer.error_code());
    // What a gateway lets through of SageMaker has the container's own status inside.
    if code == "ModelError" {
        return ErrorResponse::read(answer).fault(has_record_model);
    }
    let may_be_record_model = status == 404 && has_record_model;
    let kind = if may_be_record_model {
        FaultKind::Refused
    } else {
        kind(status, &code)
    };
    let retry_after = answer.header("retry-after").and_then(|value| parse_retry_after(value, now));
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

/// Whether a 429 is about calls a second, as API Gateway's plans and quotas are: REST APIs name it, HTTP APIs have only a
/// message. Lambda calls its limit of concurrency the same, with a reason; with others, 429 may be about anything.
fn is_rate_limit(answer: &HttpAnswer, code: &str) -> bool {
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let has_gateway_code = ["TooManyRequestsException", "LimitExceededException"].contains(&code);
    let has_gateway_message = body.message.as_deref() == Some("Too Many Requests");
    body.reason.is_none() && (has_gateway_code || has_gateway_message)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "Reason")]
    reason: Option<String>,
}

/// By the status, unless AWS names what has nothing to do with the record: its services answer that with 400 as well, as
/// told in [Common Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html).
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

/// The error's name, if it is one of AWS's: that of another server may be anything, and a log must not show that.
fn aws_code(code: &str) -> String {
    let is_aws = code.ends_with("Exception") && code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_aws { format!(" {code}") } else { String::new() }
}

/// What to mend, by the names that API Gateway and Lambda give to what they refuse, or else the status.
fn remedy(status: u16, code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => "; allow the function's role, or that of ENDPOINT_ROLE_ARN, to call it",
        "ExpiredTokenException" | "UnrecognizedClientException" => "; check the function's credentials",
        "ForbiddenException" => "; check ENDPOINT_API_KEY, and what may call it",
        "InvalidSignatureException" => "; check ENDPOINT_REGION and ENDPOINT_SERVICE",
        "MissingAuthenticationTokenException" => "; check the path of ENDPOINT_URL, and ENDPOINT_AUTH",
        _ => status_remedy(status),
    }
}

fn status_remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "; it is elsewhere: set ENDPOINT_URL to where that leads",
        401 | 403 => {
            "; check the path of ENDPOINT_URL, ENDPOINT_AUTH, ENDPOINT_API_KEY, and what the function's role may call"
        }
        404 => "; check ENDPOINT_URL",
        405 => "; check that ENDPOINT_URL takes POST",
        406 => "; check ACCEPT",
        415 => "; check CONTENT_TYPE",
        _ => "",
    }
}

/// `Retry-After`, a number of seconds or a date: <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>. More than an
/// hour is an hour, which no invocation has.
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
            assert_eq!(parse_retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn only_names_of_aws_are_shown() {
        assert_eq!(aws_code("ForbiddenException"), " ForbiddenException");
        for other in ["", "card 4929", "Card4929Exception", "forbidden"] {
            assert_eq!(aws_code(other), "", "{other}");
        }
    }
}
