//! Classifies the errors of the AWS SDK, and describes them in words that a log may show.

use std::error::Error;
use std::iter::successors;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The maximum length of a quoted message, in characters.
const MESSAGE_MAX: usize = 300;
/// The maximum length of a quoted error code, in bytes.
const CODE_MAX: usize = 64;

/// Iterates over the error and its causes, the outermost first.
pub(crate) fn chain<'e>(error: Option<&'e (dyn Error + 'static)>) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    successors(error, |error| (*error).source())
}

/// Returns the error's causes on one line, the outermost first.
pub(crate) fn causes(error: &dyn Error) -> String {
    let causes: Vec<_> = chain(error.source()).map(ToString::to_string).collect();
    shorten(&causes.join(": "))
}

/// Returns the first [`MESSAGE_MAX`] characters of a message, on one line: a space for each control character.
pub(crate) fn shorten(message: &str) -> String {
    let breaks_line = |it: char| it.is_control() || ['\u{2028}', '\u{2029}'].contains(&it);
    message.replace(breaks_line, " ").chars().take(MESSAGE_MAX).collect()
}

/// Returns an error code as a log may show it: its first [`CODE_MAX`] bytes, or "an error" if it is empty or has other
/// characters than the codes of AWS.
pub(crate) fn shown_code(code: &str) -> &str {
    let is_of_aws = code.starts_with(|first: char| first.is_ascii_alphabetic())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_of_aws {
        code.get(..CODE_MAX).unwrap_or(code)
    } else {
        "an error"
    }
}

/// Returns whether no credentials are configured, or STS refuses the role. A temporary failure of a provider does not
/// count.
pub(crate) fn is_missing_credentials(error: &(dyn Error + 'static)) -> bool {
    chain(Some(error)).any(|error| {
        let is_missing = |cause: &CredentialsError| {
            matches!(
                cause,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            )
        };
        error.downcast_ref().is_some_and(is_missing)
    }) || sts_error(error).is_some_and(|error| !error.is_transient())
}

/// Returns the error that STS returned when the role was assumed, if there is one.
pub(crate) fn sts_error<'e>(error: &'e (dyn Error + 'static)) -> Option<ServiceError<'e>> {
    let mut chain = chain(Some(error));
    let sts_error = chain.find_map(|error| error.downcast_ref::<SdkError<AssumeRoleError, HttpResponse>>());
    sts_error.and_then(service_error)
}

/// An error that an AWS service returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceError<'e> {
    pub(crate) status: u16,
    pub(crate) code: &'e str,
}

/// Returns the error that the service returned, or `None` if the request failed in another way.
pub(crate) fn service_error<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<ServiceError<'_>> {
    let raw = error.raw_response().filter(|_| error.as_service_error().is_some())?;
    Some(ServiceError {
        status: raw.status().as_u16(),
        code: shown_code(error.code().unwrap_or_default()),
    })
}

impl ServiceError<'_> {
    /// Returns whether the same request may succeed later.
    pub(crate) fn is_transient(self) -> bool {
        let Self { status, code } = self;
        status >= 500 || [408, 409, 429].contains(&status) || is_throttling(code) || code == "RequestTimeout"
    }
}

/// Returns whether an error code means throttling: the codes that AWS's SDKs list as throttling, and each code that
/// contains "Throttl".
pub(crate) fn is_throttling(code: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "TooManyRequestsException",
        "TransactionInProgressException",
    ];
    code.contains("Throttl") || KNOWN.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_message_is_short_and_on_one_line() {
        assert_eq!(shorten("a\r\nb\tc\u{1b}[2J\u{2028}d\u{85}"), "a  b c [2J d ");
        assert_eq!(shorten(&"é".repeat(400)), "é".repeat(300));
    }

    #[test]
    fn a_shown_code_is_short_and_looks_like_a_code() {
        for code in [
            "ThrottlingException",
            "AWS.SimpleQueueService.NonExistentQueue",
            "EC2AccessDeniedException",
        ] {
            assert_eq!(shown_code(code), code);
        }
        for code in ["", "4929", "card 4929", "Code\n{}", "Cödé", "<html>"] {
            assert_eq!(shown_code(code), "an error", "{code}");
        }
        assert_eq!(shown_code(&"A".repeat(100_000)), "A".repeat(64));
    }
}
