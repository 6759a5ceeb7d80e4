//! The reason why a call returned no prediction.
//!
//! Each fault kind stands for one way to handle the fault. A service can add error types at any time, so each endpoint
//! maps them once to a [`FaultKind`]. All other code matches the kinds exhaustively.

use std::fmt;
use std::time::Duration;

/// The maximum length of [`Fault::container_message`], in characters.
const CONTAINER_MESSAGE_MAX: usize = 1000;

/// The kind of a fault. It decides how the fault is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The endpoint refused the record. A retry would be refused as well, but a broken model may refuse every record.
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
    /// No effect. Credentials, the API key or the address of the host were not available, which shows nothing about the
    /// endpoint. A transient fault of this sort costs no attempt.
    Unprepared,
    /// No effect. The answer was given up, because there was no room for it. The call costs no attempt.
    NoRoom,
    /// There are too many calls per second, however few are in flight.
    RateLimit,
    /// The effect of a timeout: one record or the load may be the cause.
    TimedOut,
}

/// The reason why a call returned no prediction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind, which decides how the fault is handled.
    pub kind: FaultKind,
    /// Whether the model that the record names may be the cause. The answers of other models are then evidence against
    /// the record.
    pub is_about_named_model: bool,
    /// Whether the container answered, and not a service before it. The load of a container may be caused by a single
    /// record.
    pub is_from_container: bool,
    /// The effect on the limit of calls in flight.
    pub load: LoadSignal,
    /// The delay before the next call that the endpoint asks for.
    pub retry_after: Option<Duration>,
    /// The setting to check if every call fails in this way, or an empty string.
    pub remedy: &'static str,
    /// A description of the fault by the service or by this function. It never quotes the record, so a log may show it.
    pub summary: String,
    /// The message of the container or of the service, if it may quote the record. It goes into dead letters and never
    /// into a log.
    pub container_message: Option<String>,
}

impl Fault {
    /// Creates a fault of which only the kind and the summary are known.
    pub fn new(kind: FaultKind, summary: impl Into<String>) -> Self {
        Self {
            kind,
            is_about_named_model: false,
            is_from_container: false,
            load: LoadSignal::FromKind,
            retry_after: None,
            remedy: "",
            summary: summary.into(),
            container_message: None,
        }
    }

    /// Sets [`container_message`](Self::container_message) to the beginning of `message`, unless it is empty.
    #[must_use]
    pub fn with_container_message(self, message: &str) -> Self {
        let container_message = (!message.is_empty()).then(|| message.chars().take(CONTAINER_MESSAGE_MAX).collect());
        Self {
            container_message,
            ..self
        }
    }

    /// Returns the summary with the remedy, if there is one, for a log.
    pub fn summary_with_remedy(&self) -> String {
        let separator = if self.remedy.is_empty() { "" } else { "; " };
        format!("{}{separator}{}", self.summary, self.remedy)
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
        write!(f, "{:?}: {}", self.kind, self.summary_with_remedy())
    }
}
