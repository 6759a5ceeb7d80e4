//! Sends a batch until each of its records is finished or given up: retries the unfinished records, splits a batch that
//! fails as a whole, and skips the record that makes no progress.

use std::collections::VecDeque;

use anyhow::Result;
use instream_local::esm::retry_backoff;
use tokio::time::sleep;

use super::counts::Counts;
use super::dead_letter::DeadLetter;
use super::delivered::Delivered;
use super::journal::Journal;
use super::printing::report;
use super::queue::extend_visibility;
use super::stop::Stop;
use super::target::{Attempt, OpenTarget};

/// The limits of retries.
#[derive(Debug, Clone, Copy)]
pub struct RetryLimits {
    /// The number of retries without any progress before the first record is given up.
    pub max_retries: usize,
    /// The number of consecutive records that are given up before the run ends; 0 for no limit.
    pub stop_after: usize,
    /// The visibility timeout of queue messages for each attempt, in seconds.
    pub visibility_timeout_s: i32,
}

/// Sends batches and records their outcome.
#[derive(Debug)]
pub(super) struct Sender<'r> {
    pub(super) target: &'r OpenTarget,
    pub(super) retry_limits: RetryLimits,
    pub(super) stop: &'r Stop,
    pub(super) journal: Journal,
    pub(super) delivered: Delivered,
    pub(super) batches: usize,
    pub(super) last_failure: Option<String>,
    /// The number of records given up since the last one that was finished.
    pub(super) consecutive_failures: usize,
}

/// Dead letters that are sent together, and the number of retries without progress.
struct SubBatch {
    letters: Vec<DeadLetter>,
    retries: usize,
}

impl Sender<'_> {
    /// Returns `true` if the run must end because too many consecutive records were given up.
    pub(super) fn has_given_up(&self) -> bool {
        self.retry_limits.stop_after > 0 && self.consecutive_failures >= self.retry_limits.stop_after
    }

    /// Sends a batch until each of its records is finished or given up, or until the run ends.
    pub(super) async fn send(&mut self, letters: Vec<DeadLetter>, counts: &mut Counts) -> Result<()> {
        counts.sent += letters.len();
        let mut parts = VecDeque::from([SubBatch { letters, retries: 0 }]);
        while let Some(part) = parts.pop_front() {
            if self.stop.is_requested() || self.has_given_up() {
                break;
            }
            // The messages of waiting parts are included, because they would become visible meanwhile.
            let waiting = parts.iter().flat_map(|part| &part.letters);
            let letters = part.letters.iter().chain(waiting);
            let extending = extend_visibility(letters, self.retry_limits.visibility_timeout_s);
            let Some(extended) = self.stop.unless_requested(extending).await else {
                break;
            };
            extended?;
            for part in self.attempt(part, counts).await?.into_iter().rev() {
                parts.push_front(part);
            }
        }
        Ok(())
    }

    /// Sends the dead letters once, and waits before the next attempt. Returns the parts to send again.
    async fn attempt(&mut self, part: SubBatch, counts: &mut Counts) -> Result<Vec<SubBatch>> {
        let Attempt {
            finished,
            failure,
            is_batch_failure,
        } = self.invoke(&part.letters).await?;
        let (mut finished_letters, mut unfinished) = (Vec::new(), Vec::new());
        for (letter, is_finished) in part.letters.into_iter().zip(finished) {
            if is_finished {
                finished_letters.push(letter);
            } else {
                unfinished.push(letter);
            }
        }
        self.record_outcome(&finished_letters, &unfinished).await?;
        counts.finished += finished_letters.len();
        self.last_failure = failure.or(self.last_failure.take());
        if !finished_letters.is_empty() {
            self.consecutive_failures = 0;
        }
        let retries = if finished_letters.is_empty() {
            part.retries + 1
        } else {
            0
        };
        if unfinished.is_empty() {
            return Ok(Vec::new());
        }
        if retries > self.retry_limits.max_retries {
            return Ok(self.give_up(unfinished, is_batch_failure, counts));
        }
        // An interrupt ends the wait.
        _ = self.stop.unless_requested(sleep(retry_backoff(retries.max(1)))).await;
        Ok(vec![SubBatch {
            letters: unfinished,
            retries,
        }])
    }

    async fn invoke(&mut self, letters: &[DeadLetter]) -> Result<Attempt> {
        self.delivered.register(letters);
        self.journal.record_intent(letters)?;
        self.batches += 1;
        Ok(self.target.send(letters).await)
    }

    /// Records the outcome in the journal, after the delivered lines are on disk.
    async fn record_outcome(&mut self, finished: &[DeadLetter], unfinished: &[DeadLetter]) -> Result<()> {
        let finished: Vec<_> = finished.iter().collect();
        self.delivered.read(&finished).await?;
        let (rejected, succeeded): (Vec<_>, Vec<_>) = finished
            .into_iter()
            .partition(|letter| self.delivered.is_rejected(letter));
        let open: Vec<_> = rejected.into_iter().chain(unfinished).collect();
        self.journal.record_outcome(&succeeded, &open)?;
        self.journal.reopen(self.delivered.take_newly_rejected())?;
        for held_message in succeeded
            .iter()
            .filter_map(|letter| letter.origin.held_message.as_ref())
        {
            held_message.count_succeeded();
        }
        Ok(())
    }

    /// Gives up the first record and continues with the others. If it is unknown which record makes the batch fail,
    /// returns both halves instead, to be sent once each.
    fn give_up(&mut self, mut letters: Vec<DeadLetter>, is_batch_failure: bool, counts: &mut Counts) -> Vec<SubBatch> {
        let why = self.last_failure.as_deref().unwrap_or_default();
        if is_batch_failure && letters.len() > 1 {
            let second = letters.split_off(letters.len() / 2);
            let retries = self.retry_limits.max_retries;
            return vec![letters, second]
                .into_iter()
                .map(|letters| SubBatch { letters, retries })
                .collect();
        }
        let first = letters.remove(0);
        report(format_args!(
            "unfinished: {} ({}): {why}",
            first.key, first.origin.location
        ));
        counts.unfinished += 1;
        self.consecutive_failures += 1;
        if letters.is_empty() {
            return Vec::new();
        }
        vec![SubBatch { letters, retries: 0 }]
    }
}
