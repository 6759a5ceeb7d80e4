//! The pace of work on the processor: it has an end, and it lets other tasks run in between.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::Instant;

/// The maximum time between two yields to other tasks, except for the time for one record or for [`BYTES_PER_CHECK`].
const YIELD_AFTER: Duration = Duration::from_millis(5);
/// The work between two looks at the clock, in bytes. It takes a few milliseconds at most.
const BYTES_PER_CHECK: usize = 64 * 1024;
/// The work for a record in addition to its bytes, as a number of bytes.
const BYTES_PER_RECORD: usize = 1024;

/// The time of a stage that works on one record after the other, without waiting.
///
/// A stage may use half of the time that is left for calls when it starts, and handles the first record in any case, or
/// the first 64 KiB. The other records fail and are redelivered. So each delivery has time to call the
/// model for the records that it has prepared, and a batch that takes longer to prepare than an invocation lasts gets
/// through in several deliveries.
#[derive(Debug)]
pub struct Pace {
    end: Instant,
    yielded: Instant,
    /// The work since the last look at the clock.
    unchecked_bytes: usize,
}

impl Pace {
    /// Starts a stage in an invocation that has this time left for calls.
    pub fn start(left_for_calls: Duration) -> Self {
        let now = Instant::now();
        Self {
            end: now + left_for_calls / 2,
            yielded: now,
            unchecked_bytes: 0,
        }
    }

    /// Counts the work for a record of this number of `bytes`. To be called after each record. Returns whether a
    /// [look at the clock](Self::is_over) is due, which is once every 64 KiB.
    pub fn is_check_due(&mut self, bytes: usize) -> bool {
        self.unchecked_bytes += bytes + BYTES_PER_RECORD;
        self.unchecked_bytes >= BYTES_PER_CHECK
    }

    /// Looks at the clock. Yields to other tasks if 5 ms have passed since the last yield. Then returns whether the
    /// time of the stage is over.
    pub async fn is_over(&mut self) -> bool {
        self.unchecked_bytes = 0;
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

    async fn is_over(pace: &mut Pace, bytes: usize) -> bool {
        pace.is_check_due(bytes) && pace.is_over().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_has_half_of_the_time_for_calls() {
        let mut pace = Pace::start(Duration::from_secs(20));
        advance_at_work(Duration::from_millis(9999));
        assert!(!is_over(&mut pace, BYTES_PER_CHECK).await);
        advance_at_work(Duration::from_millis(1));
        assert!(is_over(&mut pace, BYTES_PER_CHECK).await);
        assert!(is_over(&mut Pace::start(Duration::ZERO), BYTES_PER_CHECK).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_read_once_every_64_kib() {
        let mut pace = Pace::start(Duration::ZERO);
        for _ in 0..3 {
            let mut small_records = 1;
            while !is_over(&mut pace, 0).await {
                small_records += 1;
            }
            assert_eq!(small_records, 64);
            assert!(!is_over(&mut pace, 62 * 1024).await);
            assert!(is_over(&mut pace, 0).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_tasks_run_every_5_ms() {
        let others_ran = Cell::new(0);
        let stage = async {
            let mut pace = Pace::start(Duration::from_secs(20));
            for _ in 0..20 {
                advance_at_work(Duration::from_millis(1));
                is_over(&mut pace, BYTES_PER_CHECK).await;
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
