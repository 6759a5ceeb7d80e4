//! Chooses the process for each invocation, and draws its disruptions.

use std::time::Duration;

use super::{Counts, Disruptions};

/// The assumed duration of an invocation until the first has replied.
const INITIAL_DURATION: Duration = Duration::from_millis(100);

/// The idle processes, and the random numbers.
#[derive(Debug)]
pub(super) struct Pool<P> {
    /// The idle processes. The last one was used last.
    idle: Vec<P>,
    disruptions: Disruptions,
    random: fastrand::Rng,
    /// The average duration of an invocation. Recent invocations have a greater weight.
    average_duration: Duration,
    pub(super) counts: Counts,
}

/// The process for an invocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<P> {
    /// An idle process. If there is none, a fresh process has to be started.
    pub(super) warm: Option<P>,
    /// A process to stop, because a fresh one replaces it.
    pub(super) retired: Option<P>,
}

impl<P> Pool<P> {
    pub(super) fn new(disruptions: Disruptions) -> Self {
        Self {
            idle: Vec::new(),
            random: fastrand::Rng::with_seed(disruptions.seed),
            disruptions,
            average_duration: INITIAL_DURATION,
            counts: Counts::default(),
        }
    }

    pub(super) fn take(&mut self) -> Taken<P> {
        let is_fresh = self.random.f64() < self.disruptions.fresh;
        let idle = self.idle.pop();
        let (warm, retired) = if is_fresh { (None, idle) } else { (idle, None) };
        Taken { warm, retired }
    }

    pub(super) fn give_back(&mut self, process: P) {
        self.idle.push(process);
    }

    /// Draws whether the process of the next invocation is killed. If so, counts it as killed and returns the time
    /// until then.
    pub(super) fn draw_kill(&mut self) -> Option<Duration> {
        let (drawn, share) = (self.random.f64(), self.random.f64());
        let is_allowed = self.disruptions.kills_max.is_none_or(|max| self.counts.killed < max);
        (is_allowed && drawn < self.disruptions.kill).then(|| {
            self.counts.killed += 1;
            self.average_duration.mul_f64(share)
        })
    }

    /// Takes back the last kill, because the process replied before it.
    pub(super) fn cancel_kill(&mut self) {
        self.counts.killed -= 1;
    }

    /// Adds the duration of an invocation to the average.
    pub(super) fn add_duration(&mut self, duration: Duration) {
        self.average_duration = (self.average_duration * 3 + duration) / 4;
    }

    pub(super) fn into_idle(self) -> Vec<P> {
        self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_used_last_is_taken_first() {
        let mut pool = Pool::new(Disruptions::default());
        let taken = |warm| Taken { warm, retired: None };
        assert_eq!(pool.take(), taken(None));
        for process in [1, 2, 3] {
            pool.give_back(process);
        }
        assert_eq!([pool.take(), pool.take()], [taken(Some(3)), taken(Some(2))]);
        pool.give_back(3);
        assert_eq!(
            [pool.take(), pool.take(), pool.take()],
            [taken(Some(3)), taken(Some(1)), taken(None)]
        );
    }

    #[test]
    fn a_share_of_the_invocations_retires_its_warm_process() {
        let mut pool = Pool::new(Disruptions {
            fresh: 0.2,
            seed: 1,
            ..Disruptions::default()
        });
        let mut retired = 0;
        for process in 0..1000 {
            pool.give_back(process);
            let taken = pool.take();
            assert_eq!(taken.warm.or(taken.retired), Some(process));
            retired += u32::from(taken.retired.is_some());
        }
        assert!((150..250).contains(&retired), "{retired}");
    }

    #[test]
    fn a_share_of_the_invocations_is_killed_within_the_average_duration_and_up_to_the_maximum() {
        let mut pool = Pool::<u32>::new(Disruptions {
            kill: 0.1,
            kills_max: Some(60),
            seed: 1,
            ..Disruptions::default()
        });
        for _ in 0..50 {
            pool.add_duration(Duration::from_secs(2));
        }
        let drawn: Vec<_> = (0..1000).filter_map(|_| pool.draw_kill()).collect();
        assert_eq!(drawn.len(), 60);
        let (first, last) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*first < Duration::from_millis(300), "{first:?}");
        assert!((1700..=2000).contains(&last.as_millis()), "{last:?}");
        assert_eq!(pool.draw_kill(), None);
        pool.cancel_kill();
        let next = (0..100).find_map(|_| pool.draw_kill());
        assert!(next.is_some(), "a cancelled kill does not count");
    }
}
