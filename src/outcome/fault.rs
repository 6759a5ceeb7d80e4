//! Why a call brought no prediction.
//!
//! A fault kind is named by what the caller does next. The error types of a service grow without notice, so each endpoint
//! maps them once into a [`FaultKind`], and all other code matches exhaustively.

use std::fmt;
use std::time::Duration;

/// How much of a container's own message a fault keeps, in characters: it ends up in a dead letter.
const CONTAINER_MESSAGE_MAX: usize = 1000;

/// The sorts of fault, named by what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The record can never succeed.
    Refused,
    /// It may be the record's own fault, or the container's.
    Suspect,
    /// The endpoint has too much to do.
    Overload,
    /// The endpoint could not be reached, or broke.
    Unreachable,
    /// Somebody must mend the configuration or the endpoint.
    Misconfigured,
}

impl FaultKind {
    /// Whether another call may fare better at once.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Suspect | Self::Overload | Self::Unreachable => true,
            Self::Refused | Self::Misconfigured => false,
        }
    }
}

/// What a fault says of how much the endpoint takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// What its kind does.
    AsItsKind,
    /// Nothing of calls for other models.
    OneModels,
    /// There are too many calls a second, however few are in flight.
    Rate,
    /// As little as one that is unreachable, though it may be the record's own fault.
    Away,
}

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What to do next.
    pub kind: FaultKind,
    /// A refusal in words that fit the settings as well as the record: it is one only if the evidence speaks against the
    /// record, else the matter of somebody who mends the settings.
    pub is_doubtful: bool,
    /// What it says of how much the endpoint takes.
    pub load: Load,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What happened, in the service's words or ours. It never quotes the record, so a log may show it.
    pub summary: String,
    /// What the container said. It may quote the record: for a dead letter, never for a log.
    pub container_message: Option<String>,
}

impl Fault {
    /// A fault of which only the summary is known.
    pub fn new(kind: FaultKind, summary: impl Into<String>) -> Self {
        Self {
            kind,
            is_doubtful: false,
            load: Load::AsItsKind,
            retry_after: None,
            summary: summary.into(),
            container_message: None,
        }
    }

    /// A status other than 2xx that came from the model's container, with what the container said.
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

    /// The whole story, the container's words included: for a dead letter, never for a log.
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

/// What a status of the model's container says about the record that was sent. `SageMaker` reports 0 for a container
/// that died or did not answer in time.
pub(crate) fn container_fault(status: u16) -> FaultKind {
    match status {
        400 | 413 | 422 => FaultKind::Refused,
        429 | 503 => FaultKind::Overload,
        401 | 403 | 404 | 405 | 406 | 415 => FaultKind::Misconfigured,
        _ => FaultKind::Suspect,
    }
}

/// What to mend where the container finds fault with the settings.
fn container_remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; it asks for an authorisation that SageMaker does not pass on",
        404 => "; check that it serves POST /invocations, and TARGET_MODEL where that is set",
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
    fn container_statuses_are_told_apart_by_what_to_do_next() {
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
    fn a_log_shows_no_word_of_the_container() {
        let fault = Fault::from_container(400, Some("cannot read card 4929"));
        assert_eq!(fault.to_string(), "Refused: the container answered with status 400");
        assert_eq!(
            fault.describe(),
            "the container answered with status 400: cannot read card 4929"
        );
    }
}
