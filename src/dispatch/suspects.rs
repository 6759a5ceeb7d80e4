//! Old records, and requests for several, that may be at fault themselves, and wait for the end of all others.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::outcome::{Fault, FaultKind};

/// The suspects of one batch.
#[derive(Debug)]
pub(super) struct Suspects {
    give_up_eligible: Vec<bool>,
    waiting: BTreeMap<usize, Suspect>,
}

/// An old record that may be at fault itself, or a request for several that holds one, old or not.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    /// When its last attempt ended; of what was split off another request, when that was. An answer to a call that began
    /// later speaks against it.
    pub(super) evidence_since: Instant,
    /// How.
    pub(super) fault: Fault,
    /// How many it has left.
    pub(super) attempts_left: u32,
}

impl Suspects {
    /// None yet, of a batch in which these records are old; those that are not listed are not.
    pub(super) fn new(give_up_eligible: Vec<bool>) -> Self {
        let waiting = BTreeMap::new();
        Self { give_up_eligible, waiting }
    }

    /// Whether the record is old, and this fault may be its own.
    pub(super) fn is_give_up_candidate(&self, index: usize, fault: &Fault) -> bool {
        let is_possibly_record_fault = fault.kind == FaultKind::Suspect || fault.needs_evidence;
        is_possibly_record_fault && self.is_give_up_eligible(index)
    }

    fn is_give_up_eligible(&self, index: usize) -> bool {
        self.give_up_eligible.get(index).is_some_and(|is_eligible| *is_eligible)
    }

    /// Adds one whose last attempt has just ended, and which is judged by what was answered `since` some moment, or else
    /// from now on.
    pub(super) fn add(&mut self, index: usize, fault: Fault, attempts_left: u32, since: Option<Instant>) {
        let suspect = Suspect {
            evidence_since: since.unwrap_or_else(Instant::now),
            fault,
            attempts_left,
        };
        self.waiting.insert(index, suspect);
    }

    /// The one with the lowest position.
    pub(super) fn first(&self) -> Option<(usize, Suspect)> {
        let (index, suspect) = self.waiting.first_key_value()?;
        Some((*index, suspect.clone()))
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.waiting.remove(&index);
    }

    /// Those that are left, from the lowest position on.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = (usize, Suspect)> + use<> {
        std::mem::take(&mut self.waiting).into_iter()
    }
}
