//! Classifies the error codes of AWS services, for all kinds of endpoint.
//!
//! A code is more precise than an HTTP status: denied access, expired credentials and throttling can all have status
//! 400. Codes that all services use are listed in [Common
//! Errors](https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html), and those of `SageMaker` in
//! [InvokeEndpoint](https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html).

use crate::endpoint::aws_error::is_throttling;
use crate::outcome::{Fault, FaultKind, LoadSignal};

/// The handling of an error, and the suggested fix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: FaultKind,
    pub(super) is_about_named_model: bool,
    pub(super) load: LoadSignal,
    /// The suggested fix, or an empty string.
    pub(super) remedy: &'static str,
}

impl Verdict {
    pub(super) fn of(kind: FaultKind) -> Self {
        Self {
            kind,
            is_about_named_model: false,
            load: LoadSignal::FromKind,
            remedy: "",
        }
    }

    pub(super) fn misconfigured(remedy: &'static str) -> Self {
        Self {
            remedy,
            ..Self::of(FaultKind::Misconfigured)
        }
    }

    /// Creates the fault with this summary.
    pub(super) fn fault(&self, summary: String) -> Fault {
        Fault {
            is_about_named_model: self.is_about_named_model,
            remedy: self.remedy,
            load: self.load,
            ..Fault::new(self.kind, summary)
        }
    }
}

/// Returns whether the code is that of a validation error, whose message decides.
pub(super) fn is_validation(code: &str) -> bool {
    ["ValidationError", "ValidationException"].contains(&code)
}

/// Classifies an error by its code, and a validation error by its message. Returns `None` if the code or the message is
/// unknown. If the record names the model (`is_model_from_record`), an error about the model's name is the record's
/// fault.
pub(super) fn classify(code: &str, message: &str, is_model_from_record: bool) -> Option<Verdict> {
    Some(match code {
        "ModelNotReadyException" if is_model_from_record => Verdict {
            load: LoadSignal::SingleModelOnly,
            ..Verdict::of(FaultKind::Overload)
        },
        "ModelNotReadyException" | "ServiceUnavailable" | "ServiceUnavailableException" => {
            Verdict::of(FaultKind::Overload)
        }
        _ if is_throttling(code) => Verdict::of(FaultKind::Overload),
        "InternalFailure" | "InternalDependencyException" | "RequestTimeout" | "RequestTimeoutException" => {
            Verdict::of(FaultKind::Unreachable)
        }
        _ if is_validation(code) => return classify_validation(&message.to_ascii_lowercase(), is_model_from_record),
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" => Verdict::misconfigured(
            "allow the function's role, or the role of ENDPOINT_ROLE_ARN, to call the endpoint (on SageMaker: \
             sagemaker:InvokeEndpoint)",
        ),
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "OptInRequired"
        | "RequestExpired"
        | "UnrecognizedClientException" => Verdict::misconfigured("check the function's credentials"),
        "ForbiddenException" => Verdict::misconfigured("check ENDPOINT_API_KEY, and who may call the endpoint"),
        "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch" => {
            Verdict::misconfigured("check ENDPOINT_REGION and ENDPOINT_SERVICE, and the function's credentials")
        }
        "MissingAuthenticationToken" | "MissingAuthenticationTokenException" => {
            Verdict::misconfigured("check the path of ENDPOINT_URL, and ENDPOINT_AUTH")
        }
        "InvalidAction" | "UnknownOperationException" => {
            Verdict::misconfigured("check ENDPOINT_URL and ENDPOINT_HEADERS")
        }
        _ => return None,
    })
}

/// Classifies a validation error of `SageMaker` by its message, in lower case. The message can be about the endpoint,
/// the settings or the record.
fn classify_validation(message: &str, is_model_from_record: bool) -> Option<Verdict> {
    let has_any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    // These messages quote the model's name, which may contain the words of the other messages.
    let is_download = has_any(&["failed to download model data"]);
    let verdict = if is_download || has_any(&["at 'targetmodel'"]) {
        if is_model_from_record {
            Verdict {
                is_about_named_model: true,
                remedy: "check TARGET_MODEL, and the endpoint's access to its models",
                ..Verdict::of(FaultKind::Refused)
            }
        } else {
            Verdict::misconfigured("check TARGET_MODEL")
        }
    } else if has_any(&["no capacity"]) {
        Verdict::of(FaultKind::Overload)
    } else if has_any(&["endpoint", "variant", "container", "component"])
        && has_any(&[
            "not found",
            "does not exist",
            "could not find",
            "not in service",
            "inservice",
        ])
    {
        Verdict::misconfigured(
            "check ENDPOINT_NAME, or what ENDPOINT_URL calls, the variant, container and component in the settings, \
             and the region",
        )
    } else if has_any(&["at 'body'", "oversize body"]) {
        Verdict::of(FaultKind::Refused)
    } else if has_any(&["failed to satisfy constraint", "header"]) {
        Verdict::misconfigured("check the function's settings")
    } else {
        return None;
    };
    Some(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultKind::{Misconfigured, Overload, Refused, Unreachable};

    #[test]
    fn each_known_code_has_its_fault_kind() {
        for (kind, codes) in [
            (
                Overload,
                &[
                    "ModelNotReadyException",
                    "ServiceUnavailable",
                    "ServiceUnavailableException",
                    "Throttling",
                    "ThrottlingException",
                    "KMSThrottlingException",
                    "RequestThrottledException",
                    "TooManyRequestsException",
                    "ProvisionedThroughputExceededException",
                ][..],
            ),
            (
                Unreachable,
                &[
                    "InternalFailure",
                    "InternalDependencyException",
                    "RequestTimeout",
                    "RequestTimeoutException",
                ],
            ),
            (
                Misconfigured,
                &[
                    "AccessDenied",
                    "AccessDeniedException",
                    "ExpiredToken",
                    "ExpiredTokenException",
                    "ForbiddenException",
                    "IncompleteSignature",
                    "IncompleteSignatureException",
                    "InvalidAction",
                    "InvalidClientTokenId",
                    "InvalidSignatureException",
                    "MissingAuthenticationToken",
                    "MissingAuthenticationTokenException",
                    "NotAuthorized",
                    "OptInRequired",
                    "RequestExpired",
                    "SignatureDoesNotMatch",
                    "UnknownOperationException",
                    "UnrecognizedClientException",
                ],
            ),
        ] {
            for code in codes {
                let verdict = classify(code, "", false).unwrap();
                assert_eq!(verdict.kind, kind, "{code}");
                assert_eq!(verdict.remedy.is_empty(), kind != Misconfigured, "{code}");
            }
        }
        for unknown in [
            "",
            "SomethingNew",
            "InternalServerErrorException",
            "BadRequestException",
        ] {
            assert_eq!(classify(unknown, "no capacity", false), None, "{unknown}");
        }
    }

    #[test]
    fn validation_errors_are_classified_by_message() {
        for (message, expected) in [
            (
                "Inference Component has no capacity to process this request. ApplicationAutoScaling may be in-progress",
                Some(Overload),
            ),
            ("Endpoint fraud of account 123 not found.", Some(Misconfigured)),
            ("Variant blue does not exist", Some(Misconfigured)),
            (
                "Inference Component Name header is required for endpoints to which you plan to deploy inference \
                 components.",
                Some(Misconfigured),
            ),
            (
                "1 validation error detected: Value at 'customAttributes' failed to satisfy constraint: …",
                Some(Misconfigured),
            ),
            (
                "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length …",
                Some(Refused),
            ),
            ("Request 6f1c has oversize body.", Some(Refused)),
            ("Account 4929 not found", None),
            ("An unknown message", None),
            ("", None),
        ] {
            for code in ["ValidationError", "ValidationException"] {
                let kind = classify(code, message, true).map(|verdict| verdict.kind);
                assert_eq!(kind, expected, "{message}");
            }
        }
    }

    #[test]
    fn an_error_about_the_models_name_is_the_fault_of_the_record_that_names_the_model() {
        for message in [
            "Failed to download model data(bucket: models, key: a.tar.gz). Please ensure that there is an object.",
            "Failed to download model data(bucket: models, key: endpoint not found).",
            "Failed to download model data(bucket: models, key: no capacity).",
            "1 validation error detected: Value 'x y' at 'targetModel' failed to satisfy constraint: …",
        ] {
            for (is_model_from_record, expected) in [(true, Refused), (false, Misconfigured)] {
                let verdict = classify("ValidationError", message, is_model_from_record).unwrap();
                assert_eq!(
                    (verdict.kind, verdict.is_about_named_model),
                    (expected, is_model_from_record),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn a_model_that_is_not_ready_affects_other_models_only_if_all_records_use_it() {
        for (is_model_from_record, load) in [(true, LoadSignal::SingleModelOnly), (false, LoadSignal::FromKind)] {
            let verdict = classify("ModelNotReadyException", "", is_model_from_record).unwrap();
            assert_eq!((verdict.kind, verdict.load), (Overload, load));
        }
    }
}
