//! The pace of work on the processor: it has an end, and it lets other tasks run in between.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

/// The maximum time between two yields to other tasks, except for the time for one record.
const YIELD_AFTER: Duration = Duration::from_millis(5);

/// The time of a stage that works on one record after the other, without waiting.
///
/// A stage may use half of the time that is left for calls when it starts, and handles one record in any case. The
/// other records fail and are redelivered. So each delivery has time to call the model for the records that it has
/// prepared, and a batch that takes longer to prepare than an invocation lasts gets through in several deliveries.
#[derive(Debug)]
pub struct Pace {
    end: Instant,
    yielded: Instant,
}

impl Pace {
    /// Starts a stage in an invocation that has this time left for calls.
    pub fn start(left_for_calls: Duration) -> Self {
        let now = Instant::now();
        Self {
            end: now + left_for_calls / 2,
            yielded: now,
        }
    }

    /// Yields to other tasks if 5 ms have passed since the last yield. Then returns whether the time of the stage is
    /// over. To be called after each record.
    pub async fn is_over(&mut self) -> bool {
        let mut now = Instant::now();
        if now - self.yielded >= YIELD_AFTER {
            yield_now().await;
            now = Instant::now();
            self.yielded = now;
        }
        now >= self.end
    }
}

/// Runs a stage on a paused clock, on which time passes only by [`advance_at_work`].
#[cfg(test)]
pub(crate) fn on_a_paused_clock<T>(stage: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("the runtime can be built").block_on(stage)
}

/// Advances the paused clock without yielding, as work on the processor does.
#[cfg(test)]
pub(super) fn advance_at_work(time: Duration) {
    use futures_util::FutureExt as _;
    let yielded = tokio::time::advance(time).now_or_never();
    assert_eq!(yielded, None, "the clock is advanced before the yield");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stage_has_half_of_the_time_for_calls() {
        let mut pace = Pace::start(Duration::from_secs(20));
        advance_at_work(Duration::from_millis(9999));
        assert!(!pace.is_over().await);
        advance_at_work(Duration::from_millis(1));
        assert!(pace.is_over().await);
        assert!(Pace::start(Duration::ZERO).is_over().await);
    }

    #[tokio::test(start_paused = true)]
    async fn other_tasks_run_every_5_ms() {
        let others_ran = Cell::new(0);
        let stage = async {
            let mut pace = Pace::start(Duration::from_secs(20));
            for _ in 0..20 {
                advance_at_work(Duration::from_millis(1));
                pace.is_over().await;
            }
        };
        let other = async {
            loop {
                others_ran.set(others_ran.get() + 1);
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = stage => {}
            () = other => {}
        }
        assert_eq!(others_ran.get(), 4);
    }
}
