//! Counts of the records that an invocation delivered.

use std::collections::HashMap;
use std::time::Duration;

use crate::outcome::{Outcome, RejectionKind};

/// Counts of the records that this invocation delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveredRecords {
    /// The number of user records with a delivered prediction.
    pub predicted: usize,
    /// The number of delivered alerts.
    pub alerted: usize,
    /// The number of user records with a delivered dead letter, by kind of rejection.
    pub rejected: HashMap<RejectionKind, usize>,
    /// The age of the oldest predicted record when its prediction was delivered, measured from its arrival in the
    /// stream. `None` without a delivered prediction whose record has an arrival time.
    pub oldest_age: Option<Duration>,
}

impl DeliveredRecords {
    /// Counts a delivered record by its outcome before delivery. Returns whether that was a prediction.
    pub(super) fn count(&mut self, outcome: Option<Outcome>) -> bool {
        match outcome {
            Some(Outcome::Predicted(_)) => {
                self.predicted += 1;
                return true;
            }
            Some(Outcome::Rejected(rejection)) => *self.rejected.entry(rejection.kind).or_default() += 1,
            Some(Outcome::Failed(_) | Outcome::Delivered | Outcome::Skipped) | None => {}
        }
        false
    }
}
