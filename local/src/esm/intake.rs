//! Gathers the records of a lane into batches.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::time::{Instant, timeout_at};

use crate::stream::StreamRecord;

/// The maximum size of an event, in bytes: 6 MB, with the data in base64.
pub const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The records that wait for a lane.
#[derive(Debug)]
pub(super) struct Intake {
    records: mpsc::UnboundedReceiver<StreamRecord>,
    /// The record that did not fit into the last batch. It begins the next one.
    held: Option<StreamRecord>,
}

impl Intake {
    pub(super) fn new(records: mpsc::UnboundedReceiver<StreamRecord>) -> Self {
        Self { records, held: None }
    }

    /// Returns the next batch: up to `size` records that arrive within `window` of the first. Returns `None` when the
    /// stream has ended.
    pub(super) async fn batch(&mut self, size: usize, window: Duration) -> Option<VecDeque<StreamRecord>> {
        let first = match self.held.take() {
            Some(held) => held,
            None => self.records.recv().await?,
        };
        let closes = Instant::now() + window;
        let mut bytes = first.size_in_event();
        let mut batch = VecDeque::from([first]);
        while batch.len() < size {
            let Some(record) = self.next_before(closes).await else {
                break;
            };
            bytes += record.size_in_event();
            // A record that is too large by itself becomes a batch of its own.
            if bytes > EVENT_BYTES_MAX {
                self.held = Some(record);
                break;
            }
            batch.push_back(record);
        }
        Some(batch)
    }

    async fn next_before(&mut self, closes: Instant) -> Option<StreamRecord> {
        match self.records.try_recv() {
            Ok(record) => Some(record),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) if Instant::now() >= closes => None,
            // The end of the stream also closes a waiting batch.
            Err(TryRecvError::Empty) => timeout_at(closes, self.records.recv()).await.ok().flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_closes_at_6_mb_and_an_oversized_record_is_a_batch_of_its_own() {
        let (sender, records) = mpsc::unbounded_channel();
        for (number, size) in (1..).zip([1_500_000, 2_500_000, 2_500_000, 6_000_000, 10]) {
            let record = StreamRecord::from_line(number, &vec![b'x'; size], 0);
            sender.send(record).unwrap();
        }
        drop(sender);
        let mut intake = Intake::new(records);
        let mut sizes = Vec::new();
        while let Some(batch) = intake.batch(4, Duration::ZERO).await {
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [2, 1, 1, 1]);
    }
}
