//! Divides the time of an invocation among its phases.
//!
//! ```text
//! now ── calls ──▶ calls_end ── delivery ──▶ delivery_end ── metrics ─ the response ▶ deadline
//!                  └────────── DEADLINE_RESERVE_MS ───────────────────────────────────┘
//!                                            └───────────── 200 ms ───────────────────┘
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The maximum timeout of a function: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
const LAMBDA_TIMEOUT_MAX: Duration = Duration::from_mins(15);
/// The time reserved before the deadline for the metrics and the response.
const METRICS_AND_RESPONSE_RESERVE: Duration = Duration::from_millis(200);
/// The part of it that is reserved for the response alone.
const RESPONSE_RESERVE: Duration = Duration::from_millis(100);

/// An invocation, as described by Lambda.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// The function's own ARN.
    pub function_arn: &'a str,
    /// Lambda's identifier of the invocation. Empty if there is none.
    pub request_id: &'a str,
    /// The invocation's `X-Amzn-Trace-Id`.
    pub trace_id: Option<&'a str>,
    /// The time at which Lambda ends the invocation, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// The current time.
    pub now: SystemTime,
}

impl<'a> Invocation<'a> {
    /// Returns the account in the function's ARN, or `None` if the ARN has none, as with cargo-lambda.
    pub fn account(&self) -> Option<&'a str> {
        self.function_arn.split(':').nth(4)
    }
}

/// The settings that divide an invocation's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBudget {
    /// `DEADLINE_RESERVE_MS`: the time reserved for delivery and the response, in which no call runs. 300–60,000 ms.
    pub reserve: Duration,
    /// `INVOCATION_BUDGET_MS`: the assumed time of an invocation with an unknown deadline. More than `reserve`, up to
    /// 900,000 ms.
    pub fallback_total: Duration,
}

/// The times at which the phases of an invocation end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Calls still in flight are cancelled at this time.
    pub calls_end: Instant,
    /// Delivery stops at this time.
    pub delivery_end: Instant,
    /// The wait for the metrics to be written ends at this time.
    pub metrics_end: Instant,
    /// The time from the start of the invocation to its deadline, or [`TimeBudget::fallback_total`].
    pub total: Duration,
    started: Instant,
    started_at: SystemTime,
}

impl Schedule {
    /// Returns the schedule of an invocation that starts now. A deadline in the past (cargo-lambda sends one) is
    /// treated as unknown: with a real deadline in the past, the function would no longer run. So is a deadline that is
    /// further away than Lambda's maximum timeout, because then one of the clocks is wrong.
    pub fn new(invocation: Invocation<'_>, budget: TimeBudget) -> Self {
        let now = invocation.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = Duration::from_millis(invocation.deadline_ms).checked_sub(now);
        let is_possible = |total: &Duration| !total.is_zero() && *total <= LAMBDA_TIMEOUT_MAX;
        let total = known.filter(is_possible).unwrap_or(budget.fallback_total);
        let start = Instant::now();
        let before_end = |reserve: Duration| start + total.saturating_sub(reserve);
        Self {
            calls_end: before_end(budget.reserve),
            delivery_end: before_end(METRICS_AND_RESPONSE_RESERVE),
            metrics_end: before_end(RESPONSE_RESERVE),
            total,
            started: start,
            started_at: invocation.now,
        }
    }

    /// Returns the time from now until the calls end.
    pub fn left_for_calls(&self) -> Duration {
        self.calls_end.saturating_duration_since(Instant::now())
    }

    /// Returns the current time.
    pub fn now(&self) -> SystemTime {
        self.started_at + self.elapsed()
    }

    /// Returns the duration of the invocation so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: TimeBudget = TimeBudget {
        reserve: Duration::from_secs(1),
        fallback_total: Duration::from_mins(1),
    };

    /// Returns the milliseconds from now to the ends of calls and delivery, for a deadline in milliseconds since 1970.
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
        let schedule = Schedule::new(invocation, BUDGET);
        let from_now = |end: Instant| (end - Instant::now()).as_millis();
        (from_now(schedule.calls_end), from_now(schedule.delivery_end))
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_reserved_for_delivery_and_the_response() {
        assert_eq!(ends(1_800_000_003_000), (2000, 2800));
        assert_eq!(ends(1_800_000_000_900), (0, 700), "too little time for any call");
        assert_eq!(ends(1_800_000_000_100), (0, 0));
        assert_eq!(ends(1_800_000_900_000), (899_000, 899_800), "Lambda's maximum timeout");
    }

    #[tokio::test(start_paused = true)]
    async fn with_an_unknown_deadline_the_budget_counts_from_now() {
        for unknown in [
            0,
            600_000,
            1_799_999_999_999,
            1_800_000_000_000,
            1_800_000_900_001,
            1_800_003_600_000,
            u64::MAX,
        ] {
            assert_eq!(ends(unknown), (59_000, 59_800), "{unknown}");
        }
    }
}
