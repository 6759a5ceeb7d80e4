//! Sends a batch until each of its letters is finished or given up: retries the unfinished letters, halves a batch that
//! fails as a whole, and skips the letter that makes no progress.

use anyhow::Result;
use instream_local::esm::retry_backoff;
use tokio::time::sleep;

use super::Run;
use super::journal::Journal;
use super::letter::Letter;
use super::stop::Stop;
use super::summary::{Summary, report};
use super::target::OpenTarget;

/// Sends batches, and adds what succeeds to the journal.
pub(super) struct Sender<'r> {
    pub(super) target: OpenTarget,
    pub(super) run: &'r Run,
    pub(super) stop: &'r Stop,
    /// The number of letters given up since the last one that was finished.
    pub(super) consecutive_failures: usize,
}

impl Sender<'_> {
    /// Returns `true` if the run must end because too many consecutive letters were given up.
    pub(super) fn has_given_up(&self) -> bool {
        self.run.stop_after > 0 && self.consecutive_failures >= self.run.stop_after
    }

    /// Sends a batch until each of its letters is finished or given up, or until the run ends.
    pub(super) async fn send(
        &mut self,
        batch: Vec<Letter>,
        journal: &mut Journal,
        summary: &mut Summary,
    ) -> Result<()> {
        let max_retries = self.run.max_retries;
        summary.counts.sent += batch.len();
        // The parts of the batch that are left, the first of them last, with their retries without progress.
        let mut parts = vec![(batch, 0)];
        while let Some((mut letters, mut retries)) = parts.pop() {
            if self.stop.is_requested() || self.has_given_up() {
                break;
            }
            let attempt = self.target.send(&letters).await?;
            summary.batches += 1;
            summary.last_failure = attempt.failure.or(summary.last_failure.take());
            let mut is_finished = attempt.finished.into_iter();
            let finished: Vec<_> = letters
                .extract_if(.., |_| is_finished.next().unwrap_or_default())
                .collect();
            journal.add(finished.iter().map(|letter| letter.key))?;
            summary.counts.finished += finished.len();
            if finished.is_empty() {
                retries += 1;
            } else {
                (retries, self.consecutive_failures) = (0, 0);
            }
            if letters.is_empty() {
                continue;
            }
            if retries <= max_retries {
                sleep(retry_backoff(retries.max(1))).await;
                parts.push((letters, retries));
            } else if letters.len() > 1 {
                // The letter at fault is unknown, or is the first. Each half is sent once.
                let second = letters.split_off(letters.len() / 2);
                parts.extend([(second, max_retries), (letters, max_retries)]);
            } else if let Some(letter) = letters.first() {
                let why = summary.last_failure.as_deref().unwrap_or_default();
                report(format_args!("unfinished: {} ({}): {why}", letter.name, letter.location));
                summary.counts.unfinished += 1;
                self.consecutive_failures += 1;
            }
        }
        Ok(())
    }
}
