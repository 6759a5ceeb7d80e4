//! The counts of a run.

use serde::Serialize;

use super::printing::report;

/// The counts of a run. All of them count records, except `unreadable` and
/// `predictions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records that could be read.
    pub read: usize,
    /// Lines, objects, messages and entries that are not readable as dead letters.
    pub unreadable: usize,
    /// Lines, messages and objects that are predictions.
    pub predictions: usize,
    /// Records that were discarded or rejected without their payload and that are no longer in the stream.
    pub gone: usize,
    /// Dead letters whose reason is not selected.
    pub left_out: usize,
    /// Dead letters of a record that was selected before.
    pub repeated: usize,
    /// Dead letters whose record succeeded in an earlier run.
    pub done_before: usize,
    /// Records in doubt, because an earlier run was killed while sending them, that are sent again.
    pub in_doubt_again: usize,
    /// Records in doubt that are skipped.
    pub in_doubt_left_out: usize,
    /// Records that were sent to the target at least once.
    pub sent: usize,
    /// Records that the target has finished.
    pub finished: usize,
    /// Records that were given up after all retries.
    pub unfinished: usize,
    /// Records that were not sent, or not to the end, because the run ended.
    pub not_tried: usize,
}

impl Counts {
    /// Counts an unreadable item and prints its location, without its content.
    pub(super) fn report_unreadable(&mut self, location: &str, why: &str) {
        self.unreadable += 1;
        report(format_args!("not readable: {location}: {why}"));
    }

    /// Returns `true` if everything was readable and no record is left.
    pub(super) fn is_complete(&self) -> bool {
        let left = [
            self.unreadable,
            self.gone,
            self.in_doubt_left_out,
            self.unfinished,
            self.not_tried,
        ];
        left.iter().all(|count| *count == 0)
    }
}
