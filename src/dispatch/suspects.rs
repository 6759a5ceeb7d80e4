//! Suspects: failed requests that may be poison, which means that one of their records makes every call fail. Suspects
//! wait until all other requests have finished.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::outcome::{Fault, FaultKind};

/// The suspects of one batch.
#[derive(Debug)]
pub(super) struct Suspects {
    give_up_eligible: Vec<bool>,
    waiting: BTreeMap<usize, Suspect>,
}

/// An old record that may be poison, or a request for several records that may contain a poison record, old or not.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    /// The end of its last attempt, or the time at which it was split off another request. An answer to a call that
    /// started later is evidence against it.
    pub(super) evidence_since: Instant,
    /// The fault of its last attempt.
    pub(super) fault: Fault,
    /// The number of attempts that it has left.
    pub(super) attempts_left: u32,
}

impl Suspects {
    /// Creates an empty list. `give_up_eligible` states for each record whether it is old; a missing entry means false.
    pub(super) fn new(give_up_eligible: Vec<bool>) -> Self {
        let waiting = BTreeMap::new();
        Self {
            give_up_eligible,
            waiting,
        }
    }

    /// Returns whether the record is old enough to be given up and may be the cause of this fault.
    pub(super) fn is_give_up_candidate(&self, index: usize, fault: &Fault) -> bool {
        let is_possibly_record_fault = fault.kind == FaultKind::Suspect || fault.needs_evidence;
        is_possibly_record_fault && self.is_give_up_eligible(index)
    }

    fn is_give_up_eligible(&self, index: usize) -> bool {
        self.give_up_eligible.get(index).is_some_and(|is_eligible| *is_eligible)
    }

    /// Adds a suspect whose last attempt has just ended. The answer to a call that started after `since` is evidence
    /// against the suspect. Without `since`, the call must start after this moment.
    pub(super) fn add(&mut self, index: usize, fault: Fault, attempts_left: u32, since: Option<Instant>) {
        let suspect = Suspect {
            evidence_since: since.unwrap_or_else(Instant::now),
            fault,
            attempts_left,
        };
        self.waiting.insert(index, suspect);
    }

    /// Returns the suspect with the lowest index.
    pub(super) fn first(&self) -> Option<(usize, Suspect)> {
        let (index, suspect) = self.waiting.first_key_value()?;
        Some((*index, suspect.clone()))
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.waiting.remove(&index);
    }

    /// Removes and returns all suspects, the lowest index first.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (usize, Suspect)> + use<> {
        std::mem::take(&mut self.waiting).into_iter()
    }
}
