//! The progress of one invocation's user records: settled, ready for delivery, delivered.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use super::{OutputMode, PutResult};
use crate::dispatch::{DELIVERY_ENDED, DELIVERY_GOES_ON};
use crate::event::Batch;
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind};

mod delivered_records;
mod ready;

pub use delivered_records::DeliveredRecords;
use ready::DELIVERY_BYTES;

/// The outcomes of one invocation's user records, and which records are delivered.
#[derive(Debug)]
pub struct Progress<'b> {
    batch: Batch<'b>,
    rules: ProgressRules,
    outcomes: Vec<Option<Outcome>>,
    is_delivered: Vec<bool>,
    /// The settled records that wait for delivery, in batch order. In `ordered` mode, they belong to a prefix of the
    /// batch.
    ready: Vec<usize>,
    /// The approximate size of the outcomes of these records, in bytes.
    ready_bytes: usize,
    /// The approximate size of the outcomes of all other records that are settled and not delivered, in bytes.
    held_bytes: usize,
    /// The index of the first user record that is not settled or, in `ordered` mode, is unfinished.
    next: usize,
    /// In `ordered` mode, whether the record at `next` is unfinished and so ends the prefix.
    is_blocked: bool,
    /// The rejected records whose dead letter was refused, so that it is delivered without its payload.
    without_payload: HashSet<usize>,
    /// `true` if a delivery left lines undelivered. No other delivery starts after it.
    has_delivery_failed: bool,
    delivered: DeliveredRecords,
}

/// The rules that decide which records are delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgressRules {
    pub(super) mode: OutputMode,
    /// `true` if a rejected record is unfinished, because there is no `DEAD_LETTER`.
    pub(super) is_rejected_unfinished: bool,
    /// Whether the lines of predictions hold the records.
    pub(super) join_input: bool,
    /// The maximum size of the finished part of an unfinished Kinesis record, in bytes. A larger part is delivered
    /// before the rest is finished, because the memo could not keep it.
    pub(super) held_bytes_max: usize,
    /// The maximum size of the memo, in bytes.
    pub(super) memo_bytes: usize,
}

impl<'b> Progress<'b> {
    pub(super) fn new(batch: Batch<'b>, rules: ProgressRules) -> Self {
        let count = batch.user_records.len();
        Self {
            batch,
            rules,
            outcomes: (0..count).map(|_| None).collect(),
            is_delivered: vec![false; count],
            ready: Vec::new(),
            ready_bytes: 0,
            held_bytes: 0,
            next: 0,
            is_blocked: false,
            without_payload: HashSet::new(),
            has_delivery_failed: false,
            delivered: DeliveredRecords::default(),
        }
    }

    /// Records an outcome, and the records that it makes ready for delivery.
    pub(super) fn settle(&mut self, index: usize, outcome: Outcome) {
        let slot = self.outcomes.get_mut(index).expect("the index is in this batch");
        assert!(slot.is_none(), "a record has exactly one outcome");
        *slot = Some(outcome);
        self.held_bytes += self.size(index);
        if self.rules.mode == OutputMode::Unordered {
            self.is_finished(index);
        }
        while !self.is_blocked && self.outcomes.get(self.next).is_some_and(Option::is_some) {
            if self.rules.mode == OutputMode::Unordered || self.is_finished(self.next) {
                self.next += 1;
            } else {
                self.is_blocked = true;
            }
        }
    }

    /// Returns the index of the record without whose outcome nothing more can be delivered. Returns
    /// [`DELIVERY_GOES_ON`] if there is much to deliver first, and [`DELIVERY_ENDED`] if nothing more will be
    /// delivered.
    pub(super) fn needed_index(&self) -> usize {
        let can_deliver = || self.ready_bytes > DELIVERY_BYTES && self.deliverable() > 0;
        if self.has_delivery_failed || self.is_blocked && self.ready.is_empty() {
            DELIVERY_ENDED
        } else if self.is_blocked || can_deliver() {
            DELIVERY_GOES_ON
        } else {
            self.next
        }
    }

    /// Returns the index of the unfinished record that ends the prefix, if the outcomes after it take more memory than
    /// the memo has. Then no further outcome can be kept for the redelivery.
    pub(super) fn overfull_from(&self) -> Option<usize> {
        (self.is_blocked && self.held_bytes > self.rules.memo_bytes).then_some(self.next)
    }

    /// Returns whether a settled record is finished after its delivery. Marks it as ready or as delivered.
    fn is_finished(&mut self, index: usize) -> bool {
        match self.outcomes.get(index) {
            Some(Some(Outcome::Predicted(_))) => self.ready.push(index),
            Some(Some(Outcome::Rejected(_))) if !self.rules.is_rejected_unfinished => self.ready.push(index),
            Some(Some(Outcome::Delivered | Outcome::Skipped)) => self.mark_delivered(index),
            Some(Some(Outcome::Rejected(_) | Outcome::Failed(_)) | None) | None => return false,
        }
        let size = self.size(index);
        self.held_bytes -= size.min(self.held_bytes);
        if !self.is_delivered.get(index).is_some_and(|is_delivered| *is_delivered) {
            self.ready_bytes += size;
        }
        true
    }

    fn mark_delivered(&mut self, index: usize) {
        if let Some(is_delivered) = self.is_delivered.get_mut(index) {
            *is_delivered = true;
        }
    }

    /// Records the result of a delivery. A refused prediction is rejected, and a refused dead letter is delivered again
    /// without its payload. If it is refused once more, it fails.
    pub(super) fn record_result(&mut self, result: PutResult) {
        self.has_delivery_failed |= !result.undelivered.is_empty();
        self.delivered.alerted += result.alerts;
        let mut oldest_ms: Option<u64> = None;
        for index in result.delivered {
            // The delivered payload is no longer needed.
            let outcome = self
                .outcomes
                .get_mut(index)
                .and_then(|slot| slot.replace(Outcome::Delivered));
            self.mark_delivered(index);
            if self.delivered.count(outcome) {
                let record = self.batch.record_of(index);
                let arrival = record.and_then(|record| record.approximate_arrival_ms);
                oldest_ms = oldest_ms.into_iter().chain(arrival).min();
            }
        }
        let oldest = oldest_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        // If this clock is behind the stream's, the arrival can be in the future. The age is then 0.
        let age = oldest.map(|arrival| result.at.duration_since(arrival).unwrap_or_default());
        self.delivered.oldest_age = self.delivered.oldest_age.max(age);
        for (index, reason) in result.refused {
            self.refuse(index, reason);
        }
    }

    fn refuse(&mut self, index: usize, reason: String) {
        let Some(Some(outcome)) = self.outcomes.get_mut(index) else {
            return;
        };
        if matches!(outcome, Outcome::Rejected(_)) {
            if !self.without_payload.insert(index) {
                *outcome = Outcome::Failed(Failure::DeadLetterRefused);
            }
        } else {
            *outcome = Outcome::Rejected(Rejection {
                kind: RejectionKind::PredictionRefused,
                message: reason,
            });
        }
        self.held_bytes += self.size(index);
        if self.is_finished(index) {
            self.ready.sort_unstable();
        } else if self.rules.mode == OutputMode::Ordered {
            self.block(index);
        }
    }

    /// Returns `true` if a delivery left lines undelivered.
    pub fn has_delivery_failed(&self) -> bool {
        self.has_delivery_failed
    }

    /// Returns the counts of the records that this invocation delivered.
    pub fn delivered(&self) -> &DeliveredRecords {
        &self.delivered
    }

    /// Returns the length of the batch's finished prefix in Kinesis records. A Kinesis record is finished when all of
    /// its user records are delivered.
    pub fn finished_prefix(&self) -> usize {
        let unfinished = self.is_delivered.iter().position(|is_delivered| !is_delivered);
        let user_record = unfinished.and_then(|index| self.batch.user_records.get(index));
        user_record.map_or(self.batch.records.len(), |user_record| user_record.record_index)
    }

    /// Returns each settled record's index and outcome, which is [`Outcome::Delivered`] for a delivered record.
    pub fn into_outcomes(self) -> impl Iterator<Item = (usize, Outcome)> {
        let numbered = self.outcomes.into_iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome?)))
    }

    /// Borrows the pairs that [`into_outcomes`](Self::into_outcomes) returns.
    pub fn outcomes(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        let numbered = self.outcomes.iter().enumerate();
        numbered.filter_map(|(index, outcome)| Some((index, outcome.as_ref()?)))
    }
}

#[cfg(test)]
mod tests;
