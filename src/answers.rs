//! What the endpoint answered lately, in this process: how long that took, and whether it answers at all.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many answers are kept.
const KEPT: usize = 64;
/// How long an answer speaks for the endpoint.
const EVIDENCE: Duration = Duration::from_mins(1);

/// The latest predictions. One for the process.
#[derive(Debug, Default)]
pub struct Answers {
    latest: Mutex<VecDeque<Answer>>,
}

#[derive(Debug)]
struct Answer {
    /// Hash of the record's inference identifier.
    record: u64,
    at: Instant,
    latency: Duration,
    /// Whether it has been held against a record.
    is_used: bool,
}

impl Answers {
    /// Takes down that the endpoint has just predicted the record behind `inference_id`.
    pub fn add(&self, inference_id: &str, latency: Duration) {
        let answer = Answer {
            record: hash(inference_id),
            at: Instant::now(),
            latency,
            is_used: false,
        };
        let mut latest = self.latest();
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(answer);
    }

    /// The evidence rule: a fault that may be the record's own or the endpoint's is held against the record only if the
    /// endpoint answered another one within the last minute, and after the last fault that was held against a record.
    /// So an outage, which nothing is answered in, costs one record at most, by what was answered just before it.
    pub fn testify_against(&self, inference_id: &str) -> bool {
        let record = hash(inference_id);
        let mut latest = self.latest();
        let mut evidence = latest
            .iter()
            .rev()
            .take_while(|answer| answer.at.elapsed() <= EVIDENCE && !answer.is_used);
        let found = evidence.any(|answer| answer.record != record);
        if found {
            latest.iter_mut().for_each(|answer| answer.is_used = true);
        }
        found
    }

    /// What half of the latest answers took at most. `None` before the first.
    pub fn median_latency(&self) -> Option<Duration> {
        let mut latencies: Vec<_> = self.latest().iter().map(|answer| answer.latency).collect();
        let middle = latencies.len().checked_sub(1)? / 2;
        Some(*latencies.select_nth_unstable(middle).1)
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(inference_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    inference_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_recent_answer_to_another_record_speaks_against_one() {
        let answers = Answers::default();
        assert!(!answers.testify_against("a"), "nothing was answered");
        answers.add("a", Duration::ZERO);
        assert!(!answers.testify_against("a"), "only the record itself was answered");
        assert!(answers.testify_against("b"));
        answers.add("a", Duration::ZERO);
        advance(EVIDENCE).await;
        assert!(answers.testify_against("b"));
        answers.add("a", Duration::ZERO);
        advance(EVIDENCE + Duration::from_millis(1)).await;
        assert!(!answers.testify_against("b"), "that was too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_before_an_outage_speaks_against_one_record_only() {
        let answers = Answers::default();
        for record in ["a", "b", "c"] {
            answers.add(record, Duration::ZERO);
        }
        assert!(answers.testify_against("d"));
        assert!(!answers.testify_against("e") && !answers.testify_against("d"));
        answers.add("f", Duration::ZERO);
        assert!(answers.testify_against("e"), "the endpoint answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_is_that_of_the_latest_answers() {
        let answers = Answers::default();
        assert_eq!(answers.median_latency(), None);
        for milliseconds in [30, 10, 20] {
            answers.add("a", Duration::from_millis(milliseconds));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_millis(20)));
        for _ in 0..KEPT {
            answers.add("a", Duration::from_secs(1));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_secs(1)));
        assert_eq!(answers.latest().len(), KEPT);
    }
}
