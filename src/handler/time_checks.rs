//! Checks that depend on time: whether the time settings fit the function's timeout, and which records are old enough
//! to be given up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, warn};

use crate::config::Config;
use crate::event::{Batch, KinesisRecord};
use crate::lambda::time_budget::{Invocation, Schedule, TimeBudget};

/// The time for the probes before and after a last attempt. Most answers take less than a second.
const PROBES_TIME: Duration = Duration::from_secs(1);

/// The settings that concern time.
#[derive(Debug)]
pub(super) struct TimeChecks {
    call_timeout: Duration,
    give_up_after: Option<Duration>,
    time_budget: TimeBudget,
}

impl TimeChecks {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            call_timeout: config.call_timeout,
            give_up_after: config.give_up_after,
            time_budget: config.time_budget,
        }
    }

    /// Returns the schedule of an invocation that starts now.
    pub(super) fn schedule(&self, invocation: Invocation<'_>) -> Schedule {
        Schedule::new(invocation, self.time_budget)
    }

    /// Returns, for each user record, whether it may be given up: whether it is old enough and `has_failed_before`. The
    /// result is empty if no record is ever given up.
    pub(super) fn may_give_up(
        &self,
        batch: &Batch<'_>,
        now: SystemTime,
        has_failed_before: impl Fn(usize) -> bool,
    ) -> Vec<bool> {
        let Some(give_up_after) = self.give_up_after else {
            return Vec::new();
        };
        let is_old_enough = |record: &KinesisRecord<'_>| {
            let arrival = record.approximate_arrival_ms.map(Duration::from_millis);
            let age = arrival.and_then(|arrival| now.duration_since(UNIX_EPOCH + arrival).ok());
            age.is_some_and(|age| age >= give_up_after)
        };
        let user_records = batch.user_records.iter().enumerate();
        let may_give_up = user_records.map(|(index, user_record)| {
            let record = batch.records.get(user_record.record_index);
            give_up_after.is_zero() || has_failed_before(index) && record.is_some_and(is_old_enough)
        });
        may_give_up.collect()
    }

    /// Logs a warning if the time settings do not fit into the time of an invocation. Runs at the first event, because
    /// the function's timeout is unknown before.
    pub(super) fn check(&self, invocation_time: Duration) {
        let reserve = self.time_budget.reserve;
        let left_ms = invocation_time.as_millis();
        if invocation_time <= reserve {
            error!(
                left_ms,
                "DEADLINE_RESERVE_MS takes all of an invocation's time, so no call can start: raise the function's \
                 timeout or lower DEADLINE_RESERVE_MS"
            );
        } else if invocation_time < self.call_timeout + reserve {
            warn!(
                left_ms,
                "CALL_TIMEOUT_MS + DEADLINE_RESERVE_MS is more than an invocation's time, so a slow call is cancelled \
                 before its timeout: raise the function's timeout or lower CALL_TIMEOUT_MS"
            );
        } else if self.give_up_after.is_some() && invocation_time < self.call_timeout * 2 + reserve + PROBES_TIME {
            warn!(
                left_ms,
                "2 x CALL_TIMEOUT_MS + DEADLINE_RESERVE_MS + 1000 is more than an invocation's time, so a record that hangs has \
                 no time for its last attempt and is never given up: raise the function's timeout or lower \
                 CALL_TIMEOUT_MS"
            );
        }
    }
}
