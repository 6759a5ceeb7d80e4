//! Converts an error response of the model's container into a [`Fault`]: by its own error type if that is known,
//! otherwise by its status.

use serde::Deserialize;

use crate::outcome::{Fault, FaultKind};

/// The error body of `TorchServe`, multi-model-server and the Hugging Face toolkit.
#[derive(Deserialize)]
struct ErrorBody<'b> {
    #[serde(rename = "type")]
    error_type: &'b str,
}

/// Returns the fault for an error response that the container sent through `SageMaker`. `body` is the container's
/// message. Status 0 means that the container died or did not answer in time. If the record names the model
/// (`is_model_from_record`), a 404 may mean that the model does not exist.
pub(super) fn fault(status: u16, body: &str, is_model_from_record: bool) -> Fault {
    let (error_type, kind, remedy) = match known_error(body) {
        Some((error_type, kind)) => (format!(" {error_type}"), kind, ""),
        None => (String::new(), kind(status), remedy(status)),
    };
    let summary = match status {
        0 => "the container died or did not answer".to_owned(),
        _ => format!("the container answered with status {status}{error_type}"),
    };
    Fault {
        is_about_named_model: status == 404 && is_model_from_record,
        is_from_container: true,
        remedy,
        ..Fault::new(kind, summary).with_container_message(body)
    }
}

/// Returns the fault kind for a status of the container, if its body has no [known](known_error) error type.
pub(super) fn kind(status: u16) -> FaultKind {
    match status {
        300..=399 | 401 | 403 | 405 => FaultKind::Misconfigured,
        408 => FaultKind::Suspect,
        429 | 503 => FaultKind::Overload,
        400..=499 => FaultKind::Refused,
        _ => FaultKind::Suspect,
    }
}

/// Returns the type of the container's error and its fault kind, if the type says more than the status. When a handler
/// raises an exception, `TorchServe` answers with status 503, as for a full queue, and the Hugging Face toolkit with
/// status 400.
pub(super) fn known_error(body: &str) -> Option<(&'static str, FaultKind)> {
    let body: ErrorBody<'_> = serde_json::from_str(body).ok()?;
    match body.error_type {
        "InternalServerException" => Some(("InternalServerException", FaultKind::Suspect)),
        "ServiceUnavailableException" => Some(("ServiceUnavailableException", FaultKind::Overload)),
        _ => None,
    }
}

/// Returns the setting to check for a status, if the container answers every record with it, or an empty string.
pub(super) fn remedy(status: u16) -> &'static str {
    match status {
        300..=399 => "it redirects, which SageMaker does not follow",
        401 | 403 => "it requires an authorisation that SageMaker does not pass on",
        404 => "check that it serves POST /invocations, and TARGET_MODEL if it is set",
        405 => "check that it serves POST /invocations",
        406 => "check ACCEPT",
        413 => "check MAX_PAYLOAD_BYTES and MAX_RECORDS_PER_REQUEST",
        415 => "check CONTENT_TYPE",
        408 | 429 => "",
        400..=499 => "check CONTENT_TYPE, ACCEPT, BATCH_STRATEGY and the model's log",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_status_has_its_fault_kind() {
        for (statuses, kind) in [
            (
                &[400, 404, 406, 409, 410, 413, 415, 418, 422, 424][..],
                FaultKind::Refused,
            ),
            (&[0, 408, 500, 502, 504, 507], FaultKind::Suspect),
            (&[429, 503], FaultKind::Overload),
            (&[401, 403, 405], FaultKind::Misconfigured),
        ] {
            for status in statuses {
                let fault = fault(*status, "", false);
                assert_eq!((fault.kind, fault.is_from_container), (kind, true), "{status}");
            }
        }
    }

    #[test]
    fn a_known_error_type_goes_before_the_status() {
        for (body, expected) in [
            (
                r#"{"code":503,"type":"InternalServerException","message":"Prediction failed"}"#,
                Some(FaultKind::Suspect),
            ),
            (
                "\n{\n  \"code\": 400,\n  \"type\": \"InternalServerException\",\n  \"message\": \"line \\\"1\\\"\"\n}\n",
                Some(FaultKind::Suspect),
            ),
            (
                r#"{"code":503,"type":"ServiceUnavailableException","message":"no worker"}"#,
                Some(FaultKind::Overload),
            ),
            (
                r#"{"code":400,"type":"BadRequestException","message":"InternalServerException"}"#,
                None,
            ),
            (r#"{"detail":[{"type":"InternalServerException"}]}"#, None),
            (r#"{"type":503}"#, None),
            ("cannot read \"type\":\"InternalServerException\"", None),
        ] {
            for (status, of_status) in [
                (400, FaultKind::Refused),
                (405, FaultKind::Misconfigured),
                (500, FaultKind::Suspect),
                (503, FaultKind::Overload),
            ] {
                let expected = expected.unwrap_or(of_status);
                assert_eq!(fault(status, body, false).kind, expected, "{status} {body}");
            }
        }
        let body = r#"{"code":415,"type":"InternalServerException","message":"card 4929"}"#;
        assert_eq!(
            fault(415, body, false).to_string(),
            "Suspect: the container answered with status 415 InternalServerException"
        );
    }

    #[test]
    fn a_log_never_shows_the_containers_message() {
        let fault = fault(400, "cannot read card 4929", false);
        assert_eq!(
            fault.to_string(),
            "Refused: the container answered with status 400; check CONTENT_TYPE, ACCEPT, BATCH_STRATEGY and the model's log"
        );
        assert_eq!(
            fault.describe(),
            "the container answered with status 400: cannot read card 4929"
        );
    }
}
