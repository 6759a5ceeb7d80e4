//! What becomes of a user record: exactly one [`Outcome`].

use serde::Serialize;

use crate::endpoint::{Fault, FaultKind};
use crate::prediction::Prediction;

/// The end of one user record in one invocation.
#[derive(Debug)]
pub enum Outcome {
    /// The endpoint answered; the prediction goes to OUTPUT.
    Predicted(Prediction),
    /// This record can never succeed; it goes to `DEAD_LETTER` with its bytes and the reason.
    Rejected(Rejection),
    /// It may succeed later; the event source mapping must deliver it again.
    Failed(Fault),
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
                Outcome::Failed(fault)
            }
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

/// The sorts of reason for which a record is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RejectionKind {
    /// The record's entry in the event cannot be read: its JSON has not the right shape, or its data is not base64.
    BrokenRecord,
    /// The request's body would be larger than `MAX_PAYLOAD_BYTES`.
    PayloadTooLarge,
    /// The endpoint refused the record.
    Refused,
}
