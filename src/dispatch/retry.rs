//! Whether a call that failed is tried again within its invocation, and when.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::outcome::FaultKind;

/// What the budget holds at least, so that a record that fails now and then needs no others.
const MIN_BUDGET: usize = 10;

/// The rule for further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `MAX_ATTEMPTS`: attempts a record in one invocation, 1–10.
    pub max_attempts: u32,
    /// The waits between them.
    pub backoff: Backoff,
}

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// `RETRY_BASE_MS`: the longest wait before the second attempt, 1–60,000 ms. It doubles with each further one …
    pub base: Duration,
    /// `RETRY_CAP_MS`: … up to this, at most 60,000 ms.
    pub cap: Duration,
}

/// How many further attempts the process may make: each answer adds one, each attempt beyond a record's first takes one. So
/// they are half of the calls in the long run at most; a third of the first attempts may fail once in any order, though
/// their further ones, and what these earn, come only after a wait. While most calls fail, it stays empty, and each delivery of a record is one call: else its attempts and the mapping's
/// would multiply an outage.
#[derive(Debug)]
pub struct RetryBudget {
    retries: Mutex<usize>,
    max: usize,
}

impl RetryBudget {
    /// A full one: an attempt for each call that may be in flight, and ten at least.
    pub fn new(capacity: usize) -> Self {
        let max = MIN_BUDGET.max(capacity);
        Self {
            retries: Mutex::new(max),
            max,
        }
    }

    /// The endpoint has answered.
    pub fn deposit(&self) {
        let mut attempts = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        *attempts = (*attempts + 1).min(self.max);
    }

    /// Takes one attempt out; false if there is none.
    pub fn try_withdraw(&self) -> bool {
        let mut attempts = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let left = attempts.checked_sub(1);
        *attempts = left.unwrap_or_default();
        left.is_some()
    }
}

impl RetryPolicy {
    /// How long to wait until the next attempt, when `attempts` of them have been spent and the last one ended with a
    /// fault of this `kind`; `None` if there is no next one.
    pub fn wait(&self, attempts: u32, kind: FaultKind) -> Option<Duration> {
        (kind.is_transient() && attempts < self.max_attempts).then(|| self.backoff.wait(attempts))
    }
}

impl Backoff {
    /// A wait after so many `attempts`, drawn from all of its range ("full jitter"), which spreads the calls of many
    /// clients best: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    pub fn wait(&self, attempts: u32) -> Duration {
        self.max_wait(attempts).mul_f64(fastrand::f64())
    }

    fn max_wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1);
        self.base.saturating_mul(2_u32.saturating_pow(doublings)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 10,
        backoff: Backoff {
            base: Duration::from_millis(50),
            cap: Duration::from_millis(300),
        },
    };

    #[test]
    fn waits_spread_over_a_range_that_doubles_up_to_the_cap() {
        for (attempts, longest_ms) in [(1, 50), (2, 100), (3, 200), (4, 300), (9, 300)] {
            let max_wait = Duration::from_millis(longest_ms);
            let waits: Vec<_> = (0..1000)
                .map(|_| POLICY.wait(attempts, FaultKind::Overload).unwrap())
                .collect();
            assert!(waits.iter().all(|wait| *wait < max_wait), "{attempts}");
            let below = |part: u32| waits.iter().filter(|wait| **wait < max_wait / 10 * part).count();
            // One in ten falls into each tenth; 1,000 draws miss these bounds once in a billion runs.
            assert!((40..180).contains(&below(1)), "{attempts}: {}", below(1));
            assert!((820..960).contains(&below(9)), "{attempts}: {}", below(9));
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_only_so_often() {
        for (kind, expected) in [
            (FaultKind::Suspect, true),
            (FaultKind::Overload, true),
            (FaultKind::Unreachable, true),
            (FaultKind::Refused, false),
            (FaultKind::Misconfigured, false),
        ] {
            assert_eq!(POLICY.wait(9, kind).is_some(), expected, "{kind:?}");
            assert_eq!(POLICY.wait(10, kind), None, "{kind:?}");
        }
    }

    /// How many attempts there are.
    fn drain(budget: &RetryBudget) -> usize {
        (0..10_000).find(|_| !budget.try_withdraw()).unwrap()
    }

    #[test]
    fn the_budget_is_full_at_first_an_attempt_for_each_call_in_flight_and_ten_at_least() {
        for (capacity, expected) in [(1, 10), (10, 10), (11, 11), (128, 128)] {
            assert_eq!(drain(&RetryBudget::new(capacity)), expected, "{capacity}");
        }
    }

    #[test]
    fn each_answer_is_one_further_attempt() {
        let budget = RetryBudget::new(20);
        drain(&budget);
        assert!(!budget.try_withdraw());
        budget.deposit();
        assert!(budget.try_withdraw() && !budget.try_withdraw());
        (0..7).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget), 7);
    }

    #[test]
    fn no_more_is_saved_up_than_there_was_at_first() {
        for capacity in [1, 20] {
            let budget = RetryBudget::new(capacity);
            (0..1000).for_each(|_| budget.deposit());
            assert_eq!(drain(&budget), capacity.max(10));
            (0..1000).for_each(|_| budget.deposit());
            assert_eq!(drain(&budget), capacity.max(10));
        }
    }
}
