//! Random choices of a seed.

use std::ops::Range;
use std::time::Duration;

pub(super) struct Dice(pub(super) fastrand::Rng);

impl Dice {
    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    pub(super) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())].clone()
    }

    /// Returns a random share up to `most`, or 0 in half of all cases.
    pub(super) fn share(&mut self, most: f64) -> f64 {
        if self.0.bool() { self.0.f64() * most } else { 0.0 }
    }

    /// Returns a period in the first minutes. It is longer than any call may take.
    pub(super) fn window(&mut self) -> Range<Duration> {
        let start = Duration::from_millis(self.0.u64(..60_000));
        start..start + Duration::from_millis(self.0.u64(5000..40_000))
    }

    /// Returns up to two periods.
    pub(super) fn windows(&mut self) -> Vec<Range<Duration>> {
        let count = self.0.usize(..3).saturating_sub(self.0.usize(..2));
        (0..count).map(|_| self.window()).collect()
    }
}
