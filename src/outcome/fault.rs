//! The reason why a call returned no prediction.
//!
//! Each fault kind stands for one way to handle the fault. A service can add error types at any time, so each endpoint
//! maps them once to a [`FaultKind`]. All other code matches the kinds exhaustively.

use std::fmt;
use std::time::Duration;

/// The maximum length of the container's own message in a fault, in characters. The message goes into the dead letter.
const CONTAINER_MESSAGE_MAX: usize = 1000;

/// The kind of a fault. It decides how the fault is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The endpoint refused the record, which can never succeed.
    Refused,
    /// Either the record or the container may be the cause.
    Suspect,
    /// The endpoint is overloaded.
    Overload,
    /// The endpoint could not be reached, or the service failed.
    Unreachable,
    /// The settings, the permissions or the endpoint must be fixed.
    Misconfigured,
}

impl FaultKind {
    /// Returns whether a retry may succeed.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Suspect | Self::Overload | Self::Unreachable => true,
            Self::Refused | Self::Misconfigured => false,
        }
    }
}

/// The effect of a fault on the limit of calls in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSignal {
    /// The effect that the fault kind has.
    FromKind,
    /// No effect. The fault concerns a single model, and calls for other models are not affected.
    SingleModelOnly,
    /// No effect. Credentials or the API key were not available, which shows nothing about the endpoint. A transient
    /// fault of this sort costs no attempt.
    Unprepared,
    /// There are too many calls per second, however few are in flight.
    RateLimit,
    /// The effect of an unreachable endpoint, although the record may be the cause.
    Unreachable,
}

/// The reason why a call returned no prediction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind, which decides how the fault is handled.
    pub kind: FaultKind,
    /// Whether the refusal may be caused by the settings instead of the record. With evidence against the record, it
    /// stays Refused. Without evidence, it becomes Misconfigured.
    pub needs_evidence: bool,
    /// The effect on the limit of calls in flight.
    pub load: LoadSignal,
    /// The delay before the next call that the endpoint asks for.
    pub retry_after: Option<Duration>,
    /// A description of the fault by the service or by this function. It never quotes the record, so a log may show it.
    pub summary: String,
    /// The container's own message. It may quote the record, so it goes into dead letters and never into a log.
    pub container_message: Option<String>,
}

impl Fault {
    /// Creates a fault of which only the kind and the summary are known.
    pub fn new(kind: FaultKind, summary: impl Into<String>) -> Self {
        Self {
            kind,
            needs_evidence: false,
            load: LoadSignal::FromKind,
            retry_after: None,
            summary: summary.into(),
            container_message: None,
        }
    }

    /// Creates the fault for a status other than 2xx from the model's container, with the container's `message`.
    pub fn from_container(status: u16, message: Option<&str>) -> Self {
        let message = message.filter(|message| !message.is_empty());
        let summary = match status {
            0 => "the container died or did not answer".to_owned(),
            _ => format!(
                "the container answered with status {status}{}",
                container_remedy(status)
            ),
        };
        Self {
            container_message: message.map(|message| message.chars().take(CONTAINER_MESSAGE_MAX).collect()),
            ..Self::new(container_fault(status), summary)
        }
    }

    /// Returns the summary with the container's message, for a dead letter. It must never go into a log.
    pub fn describe(&self) -> String {
        match &self.container_message {
            Some(message) => format!("{}: {message}", self.summary),
            None => self.summary.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.summary)
    }
}

/// Returns the fault kind for a status of the model's container. `SageMaker` reports status 0 for a container that died
/// or did not answer in time.
pub(crate) fn container_fault(status: u16) -> FaultKind {
    match status {
        400 | 413 | 422 => FaultKind::Refused,
        429 | 503 => FaultKind::Overload,
        401 | 403 | 404 | 405 | 406 | 415 => FaultKind::Misconfigured,
        _ => FaultKind::Suspect,
    }
}

/// Returns the hint for a status that points to the settings, or an empty string.
fn container_remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; it requires an authorisation that SageMaker does not pass on",
        404 => "; check that it serves POST /invocations, and TARGET_MODEL if it is set",
        405 => "; check that it serves POST /invocations",
        406 => "; check ACCEPT",
        415 => "; check CONTENT_TYPE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_status_has_its_fault_kind() {
        for (statuses, kind) in [
            (&[400, 413, 422][..], FaultKind::Refused),
            (&[0, 408, 500, 502, 504, 507], FaultKind::Suspect),
            (&[429, 503], FaultKind::Overload),
            (&[401, 403, 404, 405, 406, 415], FaultKind::Misconfigured),
        ] {
            for status in statuses {
                assert_eq!(Fault::from_container(*status, None).kind, kind, "{status}");
            }
        }
    }

    #[test]
    fn a_log_never_shows_the_containers_message() {
        let fault = Fault::from_container(400, Some("cannot read card 4929"));
        assert_eq!(fault.to_string(), "Refused: the container answered with status 400");
        assert_eq!(
            fault.describe(),
            "the container answered with status 400: cannot read card 4929"
        );
    }
}
