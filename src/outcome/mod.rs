//! What becomes of a user record: exactly one [`Outcome`].

use std::fmt;

use serde::Serialize;

mod catch_panic;
mod fault;
mod prediction;

pub use catch_panic::{catch_panic, catch_panic_async};
pub(crate) use fault::container_fault;
pub use fault::{Fault, FaultKind, Load};
pub use prediction::{ModelOutput, Prediction};

/// The end of one user record in one invocation.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The endpoint answered; the prediction goes to OUTPUT.
    Predicted(Prediction),
    /// This record can never succeed; it goes to `DEAD_LETTER` with its bytes and the reason.
    Rejected(Rejection),
    /// It may succeed later; the event source mapping must deliver it again.
    Failed(Failure),
    /// It was predicted or rejected when the batch came before, and has arrived at its destination.
    Delivered,
}

impl From<Fault> for Outcome {
    /// Only a refusal is held against the record; every other fault leaves it to be delivered again.
    fn from(fault: Fault) -> Self {
        match fault.kind {
            FaultKind::Refused => Outcome::Rejected(Rejection {
                kind: RejectionKind::Refused,
                message: fault.describe(),
            }),
            FaultKind::Suspect | FaultKind::Overload | FaultKind::Unreachable | FaultKind::Misconfigured => {
                Outcome::Failed(Failure::Fault(fault))
            }
        }
    }
}

/// Why a record may succeed only later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Its last attempt ended with this fault.
    Fault(Fault),
    /// The deadline came first: no attempt was made any more, or the one under way was cut.
    OutOfTime,
    /// It is rejected, and larger than `DEAD_LETTER` takes.
    DeadLetterTooLarge,
    /// The records before it are all that one invocation may hold, unpacked.
    TooMuchAtOnce,
    /// A record before it has failed. The mapping delivers this one again in any case, so no attempt was made any more.
    Behind,
}

impl Failure {
    /// Whether the record itself may be at fault, so that the others need not wait for it.
    pub fn may_be_its_own(&self) -> bool {
        match self {
            Self::Fault(fault) => fault.kind == FaultKind::Suspect,
            Self::DeadLetterTooLarge => true,
            Self::OutOfTime | Self::TooMuchAtOnce | Self::Behind => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::OutOfTime => f.write_str("the deadline came first"),
            Self::DeadLetterTooLarge => f.write_str("its dead letter is larger than DEAD_LETTER takes"),
            Self::TooMuchAtOnce => f.write_str("the batch unpacks to more than one invocation may hold"),
            Self::Behind => f.write_str("a record before it failed"),
        }
    }
}

/// Why a record can never succeed. The message may quote the record, so it belongs in a dead letter, never in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The sort of reason, for a reader who counts.
    pub kind: RejectionKind,
    /// The reason, for a reader who mends.
    pub message: String,
}

impl From<Rejection> for Outcome {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// The sorts of reason for which a record is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum RejectionKind {
    /// The record cannot be read: its entry in the event has not the right shape, its data is not base64, or its compression
    /// or aggregation is broken.
    BrokenRecord,
    /// The record unpacks to more than `DECOMPRESS_LIMIT_BYTES`, or to more user records than there may be in one.
    UnpackedTooLarge,
    /// The record is not of the shape that a setting takes for granted: no JSON, no row, or nothing where a path looks.
    WrongShape,
    /// The request's body would be larger than `MAX_PAYLOAD_BYTES`.
    PayloadTooLarge,
    /// The endpoint refused the record.
    Refused,
    /// It is older than `GIVE_UP_AFTER_S`, and the endpoint answers others but not this one.
    GivenUp,
    /// The endpoint answered, but the prediction is larger than OUTPUT takes.
    PredictionTooLarge,
}
