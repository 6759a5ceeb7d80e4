//! The reason why a service did not accept a line or a request.

use aws_sdk_sagemakerruntime::error::{ProvideErrorMetadata, SdkError};

use crate::delivery::destination::DeliveryError;
use crate::endpoint::aws_error::{ServiceError, causes, is_missing_credentials, service_error, shorten};

/// Parts of the error codes that concern the destination or the permissions, not the lines.
const SETTING_CODES: [&str; 14] = [
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "DoesNotExist",
    "InvalidAddress",
    "KMS",
    "Kms",
    "NoSuch",
    "NonExistent",
    "NotAuthorized",
    "NotFound",
    "OptIn",
    "Signature",
    "Token",
    "UnrecognizedClient",
];
/// The error codes that concern the contents of a line.
const LINE_CODES: [&str; 5] = [
    "BatchRequestTooLong",
    "EntityTooLarge",
    "InvalidMessageContents",
    "MalformedDetail",
    "MessageTooLong",
];
/// The error code of SQS for a message that is larger than the queue's own `MaximumMessageSize`. As the error of a
/// whole request, it can concern any parameter.
#[cfg(any(feature = "eventbridge", feature = "firehose", feature = "kinesis", feature = "sqs"))]
const INVALID_LINE_CODE: &str = "InvalidParameterValue";

/// The reason why a line or a request was not accepted.
#[derive(Debug, Clone)]
pub(in crate::delivery::destination) struct PutError {
    kind: PutErrorKind,
    /// The reason, without any part of a record, so that a log may show it.
    reason: String,
    /// The service's message, which may quote a record. It goes into dead letters only.
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PutErrorKind {
    /// A retry may succeed.
    Transient,
    /// The destination or the permissions must be fixed.
    Setting,
    /// A retry cannot succeed, and the line or another part of the request may be the cause.
    Refused,
    /// A retry cannot succeed, because of the contents of the line.
    LineRefused,
}

impl PutErrorKind {
    fn of(ServiceError { status, code }: ServiceError<'_>) -> Self {
        let is_internal = code.starts_with("Internal") || code.starts_with("ServiceUnavailable");
        let name = code.rsplit(['.', '#']).next().unwrap_or(code);
        match status {
            _ if is_internal || (ServiceError { status, code }).is_transient() => Self::Transient,
            _ if LINE_CODES.contains(&name) => Self::LineRefused,
            301 | 307 | 401 | 403 | 404 => Self::Setting,
            _ if SETTING_CODES.iter().any(|part| code.contains(part)) => Self::Setting,
            _ => Self::Refused,
        }
    }
}

impl PutError {
    /// An error that a retry may resolve. The reason must not quote a record, because logs show it.
    pub(in crate::delivery::destination) fn transient(reason: &str) -> Self {
        Self {
            kind: PutErrorKind::Transient,
            reason: shorten(reason),
            message: String::new(),
        }
    }

    /// The error of one line of a request.
    #[cfg(any(feature = "eventbridge", feature = "firehose", feature = "kinesis", feature = "sqs"))]
    pub(in crate::delivery::destination) fn of_line(code: &str, message: Option<&str>) -> Self {
        let status = 400;
        let kind = if code == INVALID_LINE_CODE {
            PutErrorKind::LineRefused
        } else {
            PutErrorKind::of(ServiceError { status, code })
        };
        Self {
            kind,
            reason: shorten(code),
            message: shorten(message.unwrap_or_default()),
        }
    }

    /// The error of a whole request.
    pub(in crate::delivery::destination) fn from_sdk_error<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(service_error) = service_error(error) else {
            let kind = if is_missing_credentials(error) {
                PutErrorKind::Setting
            } else {
                PutErrorKind::Transient
            };
            return Self {
                kind,
                reason: causes(error),
                message: String::new(),
            };
        };
        let ServiceError { status, code } = service_error;
        let kind = PutErrorKind::of(service_error);
        let remedy = if kind == PutErrorKind::Setting {
            "; check the destination's name and the function's role"
        } else {
            ""
        };
        Self {
            kind,
            reason: format!("{code} with status {status}{remedy}"),
            message: shorten(error.message().unwrap_or_default()),
        }
    }

    /// Returns whether a retry cannot succeed, and a line may be the cause.
    pub(super) fn is_refusal(&self) -> bool {
        match self.kind {
            PutErrorKind::Refused | PutErrorKind::LineRefused => true,
            PutErrorKind::Transient | PutErrorKind::Setting => false,
        }
    }

    /// Returns whether the contents of the line are known to be the cause.
    pub(super) fn is_about_line(&self) -> bool {
        self.kind == PutErrorKind::LineRefused
    }

    /// Returns whether a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        self.kind == PutErrorKind::Transient
    }

    /// Returns the reason with the service's message, for a dead letter.
    pub(super) fn describe(&self) -> String {
        let separator = if self.message.is_empty() { "" } else { ": " };
        format!("{}{separator}{}", self.reason, self.message)
    }

    /// Returns the error of a delivery to `destination`, for a log.
    pub(super) fn into_delivery_error(self, destination: &'static str) -> DeliveryError {
        let reason = self.reason;
        DeliveryError::NotAccepted { destination, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_an_error_decides_its_kind() {
        for (status, code, expected) in [
            (400, "ProvisionedThroughputExceededException", PutErrorKind::Transient),
            (400, "KMSThrottlingException", PutErrorKind::Transient),
            (400, "InternalFailure", PutErrorKind::Transient),
            (400, "ServiceUnavailableException", PutErrorKind::Transient),
            (503, "SlowDown", PutErrorKind::Transient),
            (400, "KMSAccessDeniedException", PutErrorKind::Setting),
            (400, "ResourceNotFoundException", PutErrorKind::Setting),
            (400, "AWS.SimpleQueueService.NonExistentQueue", PutErrorKind::Setting),
            (403, "SomethingNew", PutErrorKind::Setting),
            (400, "ExpiredTokenException", PutErrorKind::Setting),
            (400, "InvalidMessageContents", PutErrorKind::LineRefused),
            (
                400,
                "AWS.SimpleQueueService.BatchRequestTooLong",
                PutErrorKind::LineRefused,
            ),
            (400, "ValidationException", PutErrorKind::Refused),
            (400, "InvalidParameterValue", PutErrorKind::Refused),
            (400, "UnrecognizedClientException", PutErrorKind::Setting),
            (413, "SomethingNew", PutErrorKind::Refused),
        ] {
            assert_eq!(PutErrorKind::of(ServiceError { status, code }), expected, "{code}");
        }
    }
}
