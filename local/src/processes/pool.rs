//! Which process gets an invocation, and what befalls it.

use std::time::Duration;

use super::{Counts, Mishaps};

/// How long a batch takes as long as none was answered.
const FIRST_GUESS: Duration = Duration::from_millis(100);

/// Idle processes, and the dice.
#[derive(Debug)]
pub(super) struct Pool<P> {
    /// The one that was used last at the end.
    idle: Vec<P>,
    mishaps: Mishaps,
    random: fastrand::Rng,
    /// What invocations take, on average; the later ones weigh more.
    usual: Duration,
    pub(super) counts: Counts,
}

/// The process for an invocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken<P> {
    /// An idle one; a fresh one is to be started where there is none.
    pub(super) warm: Option<P>,
    /// One that makes room for a fresh one.
    pub(super) retired: Option<P>,
}

impl<P> Pool<P> {
    pub(super) fn new(mishaps: Mishaps) -> Self {
        Self {
            idle: Vec::new(),
            random: fastrand::Rng::with_seed(mishaps.seed),
            mishaps,
            usual: FIRST_GUESS,
            counts: Counts::default(),
        }
    }

    pub(super) fn take(&mut self) -> Taken<P> {
        let is_fresh = self.random.f64() < self.mishaps.fresh;
        let idle = self.idle.pop();
        let (warm, retired) = if is_fresh { (None, idle) } else { (idle, None) };
        Taken { warm, retired }
    }

    pub(super) fn give_back(&mut self, process: P) {
        self.idle.push(process);
    }

    /// When the process of the next invocation is to be killed, if at all; it is counted as killed.
    pub(super) fn draw_kill(&mut self) -> Option<Duration> {
        let (drawn, share) = (self.random.f64(), self.random.f64());
        let is_allowed = self.mishaps.kills_max.is_none_or(|max| self.counts.killed < max);
        (is_allowed && drawn < self.mishaps.kill).then(|| {
            self.counts.killed += 1;
            self.usual.mul_f64(share)
        })
    }

    /// A process that was to be killed has answered before.
    pub(super) fn spare(&mut self) {
        self.counts.killed -= 1;
    }

    /// An invocation was answered after this time.
    pub(super) fn answered(&mut self, after: Duration) {
        self.usual = (self.usual * 3 + after) / 4;
    }

    pub(super) fn into_idle(self) -> Vec<P> {
        self.idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_was_used_last_is_taken_first() {
        let mut pool = Pool::new(Mishaps::default());
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
        let mut pool = Pool::new(Mishaps {
            fresh: 0.2,
            seed: 1,
            ..Mishaps::default()
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
    fn a_share_of_the_invocations_is_killed_within_the_usual_time_and_not_more_than_so_many() {
        let mut pool = Pool::<u32>::new(Mishaps {
            kill: 0.1,
            kills_max: Some(60),
            seed: 1,
            ..Mishaps::default()
        });
        for _ in 0..50 {
            pool.answered(Duration::from_secs(2));
        }
        let drawn: Vec<_> = (0..1000).filter_map(|_| pool.draw_kill()).collect();
        assert_eq!(drawn.len(), 60);
        let (first, last) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*first < Duration::from_millis(300), "{first:?}");
        assert!((1700..=2000).contains(&last.as_millis()), "{last:?}");
        assert_eq!(pool.draw_kill(), None);
        pool.spare();
        let next = (0..100).find_map(|_| pool.draw_kill());
        assert!(next.is_some(), "one that was spared does not count");
    }
}
