//! The choice of the records of the next delivery, and their lines.

use bytes::Bytes;

use super::Progress;
use crate::delivery::OutputMode;
use crate::delivery::line::{LineBuilder, PendingLine};
use crate::delivery::memo::entry_size;
use crate::lambda::response::checkpointable_prefix;
use crate::outcome::Outcome;

/// The size of the outcomes from which a delivery starts, in bytes. Their lines take about three times as much memory
/// while they are delivered.
pub(super) const DELIVERY_BYTES: usize = 4 * 1024 * 1024;

impl Progress<'_> {
    /// Returns the approximate memory of a settled record's outcome with the part of the record that its line has.
    pub(super) fn size(&self, index: usize) -> usize {
        let (Some(Some(outcome)), Some(user_record)) = (self.outcomes.get(index), self.batch.user_records.get(index))
        else {
            return 0;
        };
        let input_bytes = match outcome {
            Outcome::Rejected(_) => user_record.payload_bytes(),
            Outcome::Predicted(_) if self.rules.join_input => user_record.data.as_ref().map_or(0, Bytes::len),
            Outcome::Predicted(_) | Outcome::Failed(_) | Outcome::Delivered | Outcome::Skipped => 0,
        };
        entry_size(outcome) + input_bytes
    }

    /// Removes and returns the records of the next delivery in batch order: from `lines_min` to `lines_max` records, or
    /// fewer that take [`DELIVERY_BYTES`] or more.
    pub(in crate::delivery) fn take_ready(&mut self, lines_min: usize, lines_max: usize) -> Option<Vec<usize>> {
        let is_large = self.ready_bytes >= DELIVERY_BYTES;
        if self.has_delivery_failed || self.ready.is_empty() || self.ready.len() < lines_min && !is_large {
            return None;
        }
        if self.rules.mode == OutputMode::Unordered {
            self.ready.sort_unstable();
        }
        let deliverable = self.deliverable();
        if deliverable == 0 || deliverable < lines_min && !is_large {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        while count < deliverable.min(lines_max) && bytes < DELIVERY_BYTES {
            bytes += self.ready.get(count).map_or(0, |index| self.size(*index));
            count += 1;
        }
        self.ready_bytes -= bytes;
        Some(self.ready.drain(..count).collect())
    }

    /// Returns the number of ready records that would not be redelivered if the rest of the batch failed. If there are
    /// none, because a large Kinesis record is unfinished, the finished part of it counts.
    pub(super) fn deliverable(&self) -> usize {
        if self.rules.mode == OutputMode::Unordered {
            return self.ready.len();
        }
        let next = self.batch.user_records.get(self.next);
        let finished = next.map_or(self.batch.records.len(), |user_record| user_record.record_index);
        let from = checkpointable_prefix(self.batch.records, finished).unwrap_or_default();
        let is_before = |index: &usize| {
            let user_record = self.batch.user_records.get(*index);
            user_record.is_some_and(|user_record| user_record.record_index < from)
        };
        match self.ready.partition_point(is_before) {
            0 if self.ready_bytes > self.rules.held_bytes_max => self.ready.len(),
            deliverable => deliverable,
        }
    }

    /// Builds the lines of these records, up to the first record that is unfinished. Returns the lines and the index of
    /// that record.
    pub(in crate::delivery) fn build_lines(
        &mut self,
        indexes: &[usize],
        builder: &LineBuilder<'_>,
    ) -> (Vec<PendingLine>, Option<usize>) {
        let mut lines = Vec::with_capacity(indexes.len());
        let mut unfinished = None;
        for index in indexes {
            let has_payload = !self.without_payload.contains(index);
            let outcome = self.outcomes.get_mut(*index).and_then(Option::as_mut);
            let line = outcome.and_then(|outcome| builder.build(*index, outcome, has_payload));
            if line.is_none() {
                unfinished = unfinished.or(Some(*index));
                if self.rules.mode == OutputMode::Ordered {
                    self.block(*index);
                    break;
                }
            }
            lines.extend(line);
        }
        (lines, unfinished)
    }

    /// Ends the prefix at `index` in `ordered` mode.
    pub(super) fn block(&mut self, index: usize) {
        self.is_blocked = true;
        self.next = self.next.min(index);
        let (before, after): (Vec<_>, Vec<_>) = self.ready.iter().partition(|ready| **ready < index);
        let after_bytes: usize = after.into_iter().map(|index| self.size(index)).sum();
        self.ready = before;
        self.ready_bytes -= after_bytes;
        self.held_bytes += after_bytes;
    }
}
