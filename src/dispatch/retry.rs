//! Retries within one invocation: which faults are retried, after what wait, and how many retries the process may make.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::outcome::FaultKind;

/// The minimum size of the budget, so that the retry of an occasional failure does not depend on answers for other
/// records.
const MIN_BUDGET: usize = 10;

/// The policy for retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// `MAX_ATTEMPTS`: the maximum number of attempts for each record in one invocation, 1–10.
    pub max_attempts: u32,
    /// The wait between two attempts.
    pub backoff: Backoff,
}

/// The range of the random wait between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// `RETRY_BASE_MS`: the maximum wait before the second attempt, 1–60,000 ms. It doubles with each further attempt.
    pub base: Duration,
    /// `RETRY_CAP_MS`: the limit of the maximum wait, `base` to 60,000 ms.
    pub cap: Duration,
}

/// A token bucket for the retries of the process. Each answer deposits one retry, and each retry withdraws one.
///
/// In the long run, at most half of all calls are retries. If up to a third of the first attempts fail once, all of
/// them are retried, in whatever order they fail. A retry deposits only when it is answered, which is after its wait.
///
/// While most calls fail, the bucket stays empty and each delivery of a record makes one call. Otherwise the retries
/// here and the redeliveries by the mapping would multiply the load of an outage.
#[derive(Debug)]
pub struct RetryBudget {
    retries: AtomicUsize,
    max: usize,
}

impl RetryBudget {
    /// Creates a full budget: one retry for each call that may be in flight, and at least ten.
    pub fn new(capacity: usize) -> Self {
        let max = MIN_BUDGET.max(capacity);
        Self {
            retries: AtomicUsize::new(max),
            max,
        }
    }

    /// Adds one retry, after an answer of the endpoint.
    pub fn deposit(&self) {
        let add = |retries: usize| Some((retries + 1).min(self.max));
        _ = self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Withdraws one retry. Returns false if the budget is empty.
    pub fn try_withdraw(&self) -> bool {
        let withdraw = |retries: usize| retries.checked_sub(1);
        let withdrawn = self
            .retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, withdraw);
        withdrawn.is_ok()
    }
}

impl RetryPolicy {
    /// Returns the wait before the next attempt, after `attempts` attempts of which the last one ended with a fault of
    /// this `kind`. Returns `None` if there is no next attempt.
    pub fn wait(&self, attempts: u32, kind: FaultKind) -> Option<Duration> {
        (kind.is_transient() && attempts < self.max_attempts).then(|| self.backoff.wait(attempts))
    }
}

impl Backoff {
    /// Returns a random wait after this number of `attempts`, from zero to the maximum ("full jitter"). This spreads
    /// the calls of many clients best: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    pub fn wait(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1);
        let max_wait = self.base.saturating_mul(2_u32.saturating_pow(doublings)).min(self.cap);
        max_wait.mul_f64(fastrand::f64())
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
        for (attempts, max_wait_ms) in [(1, 50), (2, 100), (3, 200), (4, 300), (9, 300)] {
            let max_wait = Duration::from_millis(max_wait_ms);
            let waits: Vec<_> = (0..1000)
                .map(|_| POLICY.wait(attempts, FaultKind::Overload).unwrap())
                .collect();
            assert!(waits.iter().all(|wait| *wait < max_wait), "{attempts}");
            let below = |part: u32| waits.iter().filter(|wait| **wait < max_wait / 10 * part).count();
            // Each tenth of the range gets one wait in ten. 1,000 draws miss these bounds once in a billion runs.
            assert!((40..180).contains(&below(1)), "{attempts}: {}", below(1));
            assert!((820..960).contains(&below(9)), "{attempts}: {}", below(9));
        }
    }

    #[test]
    fn only_transient_faults_are_retried_up_to_max_attempts() {
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

    /// Withdraws all retries and returns their number.
    fn drain(budget: &RetryBudget) -> usize {
        (0..10_000).find(|_| !budget.try_withdraw()).unwrap()
    }

    #[test]
    fn the_budget_starts_with_one_retry_for_each_permit_and_at_least_ten() {
        for (capacity, expected) in [(1, 10), (10, 10), (11, 11), (128, 128)] {
            assert_eq!(drain(&RetryBudget::new(capacity)), expected, "{capacity}");
        }
    }

    #[test]
    fn each_answer_deposits_one_retry() {
        let budget = RetryBudget::new(20);
        drain(&budget);
        assert!(!budget.try_withdraw());
        budget.deposit();
        assert!(budget.try_withdraw() && !budget.try_withdraw());
        (0..7).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget), 7);
    }

    #[test]
    fn deposits_never_exceed_the_initial_budget() {
        for capacity in [1, 20] {
            let budget = RetryBudget::new(capacity);
            (0..1000).for_each(|_| budget.deposit());
            assert_eq!(drain(&budget), capacity.max(10));
            (0..1000).for_each(|_| budget.deposit());
            assert_eq!(drain(&budget), capacity.max(10));
        }
    }
}
