use super::*;

#[test]
fn service_errors_are_classified_by_code_and_status() {
    for (code, status, expected) in [
        ("ThrottlingException", 400, FaultKind::Overload),
        ("Throttling", 429, FaultKind::Overload),
        ("TooManyRequestsException", 429, FaultKind::Overload),
        ("RequestThrottledException", 400, FaultKind::Overload),
        ("ModelNotReadyException", 429, FaultKind::Overload),
        ("ServiceUnavailable", 503, FaultKind::Overload),
        ("", 503, FaultKind::Overload),
        ("", 429, FaultKind::Overload),
        ("InternalFailure", 500, FaultKind::Unreachable),
        ("InternalDependencyException", 530, FaultKind::Unreachable),
        ("SomethingNew", 502, FaultKind::Unreachable),
        ("", 504, FaultKind::Unreachable),
        ("RequestEntityTooLarge", 413, FaultKind::Refused),
        ("", 400, FaultKind::Suspect),
        ("RequestTimeoutException", 400, FaultKind::Unreachable),
        ("", 408, FaultKind::Unreachable),
        ("KMSThrottlingException", 400, FaultKind::Overload),
        ("ProvisionedThroughputExceededException", 400, FaultKind::Overload),
        ("AccessDeniedException", 403, FaultKind::Misconfigured),
        ("ExpiredTokenException", 403, FaultKind::Misconfigured),
        ("InvalidSignatureException", 403, FaultKind::Misconfigured),
        ("SomethingNew", 400, FaultKind::Misconfigured),
        ("", 404, FaultKind::Misconfigured),
    ] {
        assert_eq!(classify(code, "", status).kind, expected, "{code} {status}");
    }
}

#[test]
fn validation_errors_are_classified_by_message() {
    for (message, expected) in [
        (
            "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress",
            FaultKind::Overload,
        ),
        ("Endpoint fraud of account 123 not found.", FaultKind::Misconfigured),
        ("Variant blue does not exist", FaultKind::Misconfigured),
        (
            "Inference Component Name header is required for endpoints to which you plan to deploy inference components.",
            FaultKind::Misconfigured,
        ),
        (
            "1 validation error detected: Value at 'customAttributes' failed to satisfy constraint: …",
            FaultKind::Misconfigured,
        ),
        (
            "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length …",
            FaultKind::Refused,
        ),
        ("", FaultKind::Suspect),
    ] {
        for code in ["ValidationError", "ValidationException"] {
            let verdict = classify(code, message, 400);
            assert_eq!((verdict.kind, verdict.needs_evidence), (expected, false), "{message}");
        }
    }
    assert!(classify("ValidationError", "An unknown message", 400).needs_evidence);
}
