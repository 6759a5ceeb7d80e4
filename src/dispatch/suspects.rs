//! Old records, and requests for several, that may be at fault themselves, and wait for the end of all others.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::outcome::{Fault, FaultKind};

/// The suspects of one batch.
#[derive(Debug)]
pub(super) struct Suspects {
    is_old: Vec<bool>,
    waiting: BTreeMap<usize, Suspect>,
}

/// An old record that may be at fault itself, or a request for several that holds one, old or not.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    /// When its last attempt ended; of what was split off another request, when that was. An answer to a call that began
    /// later speaks against it.
    pub(super) failed_at: Instant,
    /// How.
    pub(super) fault: Fault,
    /// How many it has left.
    pub(super) attempts: u32,
}

impl Suspects {
    /// None yet, of a batch in which these records are old; those that are not listed are not.
    pub(super) fn new(is_old: Vec<bool>) -> Self {
        let waiting = BTreeMap::new();
        Self { is_old, waiting }
    }

    /// Whether the record is old, and this fault may be its own.
    pub(super) fn may_include(&self, index: usize, fault: &Fault) -> bool {
        let may_be_its_own = fault.kind == FaultKind::Suspect || fault.is_doubtful;
        may_be_its_own && self.is_old(index)
    }

    fn is_old(&self, index: usize) -> bool {
        self.is_old.get(index).is_some_and(|is_old| *is_old)
    }

    /// Adds one whose last attempt has just ended, and which is judged by what was answered `since` some moment, or else
    /// from now on.
    pub(super) fn add(&mut self, index: usize, fault: Fault, attempts: u32, since: Option<Instant>) {
        let suspect = Suspect {
            failed_at: since.unwrap_or_else(Instant::now),
            fault,
            attempts,
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
