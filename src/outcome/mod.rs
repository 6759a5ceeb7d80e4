//! The vocabulary that all stages share: each user record ends with exactly one [`Outcome`].
//!
//! Holds data, the count of its memory, and the containment of panics. Never calls, delivers or logs anything, and uses
//! no other part of this crate.

use std::fmt;

use serde::Serialize;

mod answer_memory;
mod catch_panic;
mod fault;
mod prediction;

pub use answer_memory::{AnswerMemory, AnswerReservation, NoRoom};
pub use catch_panic::{catch_panic, catch_panic_async};
pub use fault::{Fault, FaultKind, LoadSignal};
pub use prediction::{AnswerDetails, ModelOutput, Prediction};

/// The result of one invocation for one user record.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The endpoint answered. The prediction goes to OUTPUT.
    Predicted(Prediction),
    /// The record can never succeed. It goes to `DEAD_LETTER` with its bytes and the reason.
    Rejected(Rejection),
    /// The record may succeed later. The event source mapping must redeliver it.
    Failed(Failure),
    /// The record is empty or does not match `RECORD_PATTERN`. It is neither sent to the model nor delivered.
    Skipped,
    /// The record was predicted or rejected, in this or in an earlier delivery of the batch, and its destination has
    /// accepted the result.
    Delivered,
}

/// The reason why a record failed and must be redelivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The last attempt ended with a fault.
    Fault {
        /// The fault.
        fault: Fault,
        /// The number of records in the request that failed. It is 1 if there was no request.
        request_records: usize,
    },
    /// The deadline passed: no further attempt was started, or the attempt in flight was cancelled.
    OutOfTime,
    /// The record is rejected, but `DEAD_LETTER` does not accept its dead letter, not even without the payload.
    DeadLetterRefused,
    /// The records before this one, decompressed, already take all the memory that one invocation may use.
    BatchTooLarge,
    /// A record before this one failed. The mapping redelivers this one in any case, so no further attempt was made.
    AfterFailure,
}

impl Failure {
    /// Returns whether the record itself may be the cause.
    pub fn is_possibly_record_fault(&self) -> bool {
        match self {
            Self::Fault { fault, .. } => match fault.kind {
                FaultKind::Refused | FaultKind::Suspect => true,
                FaultKind::Overload => fault.is_from_container,
                FaultKind::Unreachable | FaultKind::Misconfigured => false,
            },
            Self::DeadLetterRefused => true,
            Self::OutOfTime | Self::BatchTooLarge | Self::AfterFailure => false,
        }
    }

    /// Returns the maximum number of records in the next delivery's requests for this record, or `None` for no other
    /// limit than usual. A request that timed out is sent in halves, so that one delivery after the other approaches
    /// the record that is the cause.
    pub fn max_records_next(&self) -> Option<usize> {
        if let Self::Fault { fault, request_records } = self
            && fault.load == LoadSignal::TimedOut
        {
            return Some((request_records / 2).max(1));
        }
        None
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault { fault, .. } => fault.fmt(f),
            Self::OutOfTime => f.write_str("the deadline passed before it was finished"),
            Self::DeadLetterRefused => f.write_str("DEAD_LETTER does not accept its dead letter"),
            Self::BatchTooLarge => f.write_str("the batch decompresses to more than one invocation may hold"),
            Self::AfterFailure => f.write_str("a record before it failed"),
        }
    }
}

/// The reason why a record can never succeed. The message may quote the record, so it goes into dead letters and never
/// into a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The kind of reason, for metrics and filters.
    pub kind: RejectionKind,
    /// The details, for the person who fixes the cause.
    pub message: String,
}

impl From<Rejection> for Outcome {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// The kinds of reason for a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum RejectionKind {
    /// The record cannot be read: its entry in the event is malformed, its data is not base64, or its compression or
    /// aggregation is broken.
    BrokenRecord,
    /// The record decompresses to more than `DECOMPRESS_LIMIT_BYTES`, or de-aggregates to too many user records.
    UnpackedTooLarge,
    /// The record does not have the shape that a setting expects: it is not JSON, not a CSV row, or has no value at a
    /// `JSONPath`.
    WrongShape,
    /// The request's body would be larger than `MAX_PAYLOAD_BYTES`.
    PayloadTooLarge,
    /// The endpoint refused the record, but answers other records.
    Refused,
    /// The record keeps failing, is older than `GIVE_UP_AFTER_S`, and the endpoint answers other records.
    GivenUp,
    /// The endpoint answered, but the prediction is larger than OUTPUT or ALERT accepts.
    PredictionTooLarge,
    /// The endpoint answered, but OUTPUT or ALERT can never accept the prediction.
    PredictionRefused,
}
