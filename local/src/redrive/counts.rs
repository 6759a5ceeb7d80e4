//! What was read and what became of it, counted.

use serde::Serialize;

/// The counts of a run. Records are counted, but for what cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records in letters that could be read.
    pub read: usize,
    /// Lines, objects, messages and entries that are no letter.
    pub unreadable: usize,
    /// Records that the mapping gave up without their payload, and that are not in the stream any more.
    pub gone: usize,
    /// Letters of another reason than those that are asked for.
    pub left_out: usize,
    /// Letters about a record that another one was read of before.
    pub repeated: usize,
    /// Letters whose record has gone through in an earlier run.
    pub done_before: usize,
    /// Records that an earlier run was killed with, and that are put again.
    pub in_doubt_again: usize,
    /// The same, left out.
    pub in_doubt_left_out: usize,
    /// Records that were handed to the target at least once.
    pub sent: usize,
    /// Records that the target has finished with.
    pub finished: usize,
    /// Records that it has not, however often they came.
    pub unfinished: usize,
    /// Records that were not tried to the end, since the run was.
    pub not_tried: usize,
}

impl Counts {
    /// Names what is no letter. Nothing of it is shown.
    pub(super) fn not_readable(&mut self, place: &str, why: &str) {
        self.unreadable += 1;
        eprintln!("not readable: {place}: {why}");
    }

    /// Whether everything that was read could be, and nothing is left.
    pub(super) fn are_complete(&self) -> bool {
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
