//! What is left of an invocation's time, and what has to end when.
//!
//! ```text
//! now ── calls ──▶ calls_end ── delivery ──▶ delivery_end ── metrics ─ the answer ──▶ deadline
//!                  └────────── DEADLINE_RESERVE_MS ───────────────────────────────────┘
//!                                            └───────────── 200 ms ───────────────────┘
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What the metrics and the answer itself need, at the end of the time that is kept back.
const ANSWER: Duration = Duration::from_millis(200);
/// And the answer alone.
const ANSWER_ALONE: Duration = Duration::from_millis(100);

/// An invocation, as Lambda tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The function's own ARN.
    pub function_arn: &'a str,
    /// Lambda's name for it; empty where it has none.
    pub request_id: &'a str,
    /// The `X-Amzn-Trace-Id` that it came with.
    pub trace_id: Option<&'a str>,
    /// When Lambda ends it, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// What time it is now.
    pub now: SystemTime,
}

impl<'a> Invocation<'a> {
    /// The function's account, where its ARN tells one: cargo-lambda's does not.
    pub fn account(&self) -> Option<&'a str> {
        self.function_arn.split(':').nth(4)
    }
}

/// What of an invocation's time is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `DEADLINE_RESERVE_MS`: kept back from the calls, for delivery and the answer. 300–60,000 ms.
    pub reserve: Duration,
    /// `INVOCATION_BUDGET_MS`: an invocation's time where its deadline is unknown. Up to 900,000 ms, more than `reserve`.
    pub budget: Duration,
}

/// The ends of an invocation's phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Calls still in flight are cut here.
    pub calls_end: Instant,
    /// Delivery stops here.
    pub delivery_end: Instant,
    /// The metrics are waited for until then, at most.
    pub metrics_end: Instant,
    /// All the time there was at the start.
    pub left: Duration,
    started: Instant,
    started_at: SystemTime,
}

impl Deadline {
    /// The deadline of an invocation that starts now. One in the past is an unknown one, such as cargo-lambda's: were
    /// it known, the function would not run any more.
    pub fn new(invocation: Invocation<'_>, limits: Limits) -> Self {
        let now = invocation.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = Duration::from_millis(invocation.deadline_ms).checked_sub(now);
        let left = known.filter(|left| !left.is_zero()).unwrap_or(limits.budget);
        let start = Instant::now();
        let before_end = |kept: Duration| start + left.saturating_sub(kept);
        Self {
            calls_end: before_end(limits.reserve),
            delivery_end: before_end(ANSWER),
            metrics_end: before_end(ANSWER_ALONE),
            left,
            started: start,
            started_at: invocation.now,
        }
    }

    /// What time it is now.
    pub fn now(&self) -> SystemTime {
        self.started_at + self.spent()
    }

    /// How long the invocation has taken so far.
    pub fn spent(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        reserve: Duration::from_secs(1),
        budget: Duration::from_mins(1),
    };

    /// Milliseconds from now to the ends of calls and delivery, for a deadline so many milliseconds since 1970.
    fn ends(deadline_ms: u64) -> (u128, u128) {
        let now = UNIX_EPOCH + Duration::new(1_800_000_000, 0);
        let invocation = Invocation {
            function_arn: "function-arn",
            request_id: "",
            trace_id: None,
            deadline_ms,
            now,
        };
        assert_eq!(invocation.account(), None);
        let deadline = Deadline::new(invocation, LIMITS);
        let from_now = |end: Instant| (end - Instant::now()).as_millis();
        (from_now(deadline.calls_end), from_now(deadline.delivery_end))
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_kept_back_for_delivery_and_the_answer() {
        assert_eq!(ends(1_800_000_003_000), (2000, 2800));
        assert_eq!(ends(1_800_000_000_900), (0, 700), "too little for any call");
        assert_eq!(ends(1_800_000_000_100), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_deadline_is_the_budget_from_now() {
        for unknown in [0, 600_000, 1_799_999_999_999, 1_800_000_000_000] {
            assert_eq!(ends(unknown), (59_000, 59_800), "{unknown}");
        }
    }
}
