//! A line to deliver, and the result of a delivery.

/// The kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A prediction, for OUTPUT.
    Prediction,
    /// A rejected record with the reason, for `DEAD_LETTER`.
    DeadLetter,
    /// A prediction that matches `ALERT_PATTERN`, for ALERT.
    Alert,
}

impl LineKind {
    /// Returns the name, which is part of keys and IDs. So lines of different kinds never replace each other if OUTPUT
    /// and `DEAD_LETTER` or ALERT are the same place.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prediction => "prediction",
            Self::DeadLetter => "dead-letter",
            Self::Alert => "alert",
        }
    }
}

/// The line to deliver for one user record, with the properties that some destinations need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLine {
    /// Whether the line is a prediction, a dead letter or an alert. All lines of a delivery have the same kind.
    pub kind: LineKind,
    /// The line itself, without the line break at its end: one JSON object, or the model's output alone.
    pub text: String,
    /// The partition key of the record.
    pub partition_key: String,
    /// The line's unique ID, which is the same for every delivery of the record: its ID in the shard, a space, the kind
    /// and the origin. Empty if the destination does not use IDs.
    pub id: String,
    /// The record's arrival time in the stream, in milliseconds since 1970. 0 if unknown.
    pub arrival_ms: u64,
}

/// The result of a delivery.
#[derive(Debug, Default)]
pub struct DeliveryResult {
    /// The indexes of the lines that are not known to be delivered, in ascending order.
    pub undelivered: Vec<usize>,
    /// The indexes of the lines that the destination will never accept, with the reason, which may quote a record.
    pub refused: Vec<(usize, String)>,
    /// The error that left them undelivered.
    pub error: Option<DeliveryError>,
}

/// The reason why lines are not known to be delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The destination did not accept the lines.
    #[error("{destination} did not accept the records: {reason}")]
    NotAccepted {
        /// The destination's prefix in the settings.
        destination: &'static str,
        /// The reason, without any part of a record, so that a log may show it.
        reason: String,
    },
    /// The delivery end passed first.
    #[error("the records were not accepted before the deadline")]
    OutOfTime,
}

impl DeliveryResult {
    pub(super) fn none_delivered(count: usize, error: DeliveryError) -> Self {
        Self {
            undelivered: (0..count).collect(),
            refused: Vec::new(),
            error: Some(error),
        }
    }
}
