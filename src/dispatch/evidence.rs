//! What the endpoint answered lately, in this process: how long that took, and whether it answers at all.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::inference::InferenceRequest;

/// How many answers are kept.
const KEPT: usize = 64;
/// How long an answer speaks for the endpoint.
const EVIDENCE: Duration = Duration::from_mins(1);

/// For how many models the last request is kept.
const MODELS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The latest predictions. One for the process.
#[derive(Debug)]
pub struct Answers {
    latest: Mutex<VecDeque<Answer>>,
    /// For each model that records name, the request that was answered last, or the first record's part of it: enough to ask
    /// once more.
    last_requests: Mutex<LruCache<Model, Arc<InferenceRequest>>>,
}

/// One model says nothing of another. `None` where records name none.
type Model = Option<Arc<str>>;

#[derive(Debug)]
struct Answer {
    /// The inference identifier of the request, which is that of its first record.
    id: String,
    model: Model,
    at: Instant,
    latency: Duration,
    /// Whether it has been held against a record.
    is_used: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            latest: Mutex::default(),
            last_requests: Mutex::new(LruCache::new(MODELS)),
        }
    }
}

impl Answer {
    fn is_another(&self, request: &InferenceRequest) -> bool {
        self.model.as_ref() == request.target_model() && is_another(&self.id, request)
    }
}

impl Answers {
    /// Takes down that the endpoint has just answered `request`.
    pub fn add(&self, request: &Arc<InferenceRequest>, latency: Duration) {
        let answer = Answer {
            id: request.inference_id().to_owned(),
            model: request.target_model().cloned(),
            at: Instant::now(),
            latency,
            is_used: false,
        };
        let mut latest = self.latest();
        if latest.len() == KEPT {
            latest.pop_front();
        }
        latest.push_back(answer);
        let lone = Arc::new(request.only_first());
        self.last_requests().put(request.target_model().cloned(), lone);
    }

    /// The evidence rule: a fault that may be the record's own or the endpoint's is held against the record only if the
    /// endpoint answered another one within the last minute, and after the last fault that was held against a record.
    /// So an outage, which nothing is answered in, costs one record at most, by what was answered just before it.
    ///
    /// A request for several records is only split by it, and so leaves the evidence for the record that it finds.
    pub fn testify_against(&self, request: &InferenceRequest) -> bool {
        let mut latest = self.latest();
        let mut evidence = latest
            .iter()
            .rev()
            .take_while(|answer| answer.at.elapsed() <= EVIDENCE && !answer.is_used);
        let found = evidence.any(|answer| answer.is_another(request));
        if found && request.is_lone() {
            latest.iter_mut().for_each(|answer| answer.is_used = true);
        }
        found
    }

    /// Whether the endpoint was called with another record than that of `request` since this `moment`, and has answered.
    /// An answer to a call that was under way says nothing of how calls fare that begin now.
    pub fn answered_another_since(&self, moment: Instant, request: Option<&InferenceRequest>) -> bool {
        let latest = self.latest();
        let mut since = latest.iter().filter(|answer| answer.at >= moment + answer.latency);
        since.any(|answer| request.is_none_or(|request| answer.is_another(request)))
    }

    /// The request to the same model that was answered last, if it is for another record than that of `request`.
    pub fn another_request(&self, request: Option<&InferenceRequest>) -> Option<Arc<InferenceRequest>> {
        let mut last = self.last_requests();
        let Some(request) = request else {
            return last.iter().next().map(|(_, last)| Arc::clone(last));
        };
        let last = last.get(&request.target_model().cloned()).cloned();
        last.filter(|last| is_another(last.inference_id(), request))
    }

    /// What half of the latest answers took at most. `None` before the first.
    pub fn median_latency(&self) -> Option<Duration> {
        let mut latencies: Vec<_> = self.latest().iter().map(|answer| answer.latency).collect();
        let middle = latencies.len().checked_sub(1)? / 2;
        Some(*latencies.select_nth_unstable(middle).1)
    }

    fn last_requests(&self) -> MutexGuard<'_, LruCache<Model, Arc<InferenceRequest>>> {
        self.last_requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_another(id: &str, request: &InferenceRequest) -> bool {
    request.inference_id() != id
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::advance;

    use super::*;

    fn request(id: &str) -> Arc<InferenceRequest> {
        Arc::new(InferenceRequest::alone(0, id, ""))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_recent_answer_to_another_record_speaks_against_one() {
        let answers = Answers::default();
        assert!(!answers.testify_against(&request("a")), "nothing was answered");
        answers.add(&request("a"), Duration::ZERO);
        assert!(
            !answers.testify_against(&request("a")),
            "only the record itself was answered"
        );
        assert!(answers.testify_against(&request("b")));
        answers.add(&request("a"), Duration::ZERO);
        advance(EVIDENCE).await;
        assert!(answers.testify_against(&request("b")));
        answers.add(&request("a"), Duration::ZERO);
        advance(EVIDENCE + Duration::from_millis(1)).await;
        assert!(!answers.testify_against(&request("b")), "that was too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_before_an_outage_speaks_against_one_record_only() {
        let answers = Answers::default();
        for record in ["a", "b", "c"] {
            answers.add(&request(record), Duration::ZERO);
        }
        assert!(answers.testify_against(&request("d")));
        assert!(!answers.testify_against(&request("e")) && !answers.testify_against(&request("d")));
        answers.add(&request("f"), Duration::ZERO);
        assert!(answers.testify_against(&request("e")), "the endpoint answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_before_a_moment_says_nothing_of_what_came_after() {
        let answers = Answers::default();
        answers.add(&request("a"), Duration::ZERO);
        advance(Duration::from_millis(1)).await;
        let moment = Instant::now();
        assert!(!answers.answered_another_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert!(
            !answers.answered_another_since(moment, Some(&request("b"))),
            "that is the record itself"
        );
        assert!(answers.answered_another_since(moment, Some(&request("a"))));
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(
            !answers.answered_another_since(moment, Some(&request("b"))),
            "that call began before"
        );
        advance(Duration::from_millis(1)).await;
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(answers.answered_another_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert_eq!(answers.another_request(Some(&request("a"))), Some(request("b")));
        assert_eq!(answers.another_request(Some(&request("b"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_model_says_nothing_of_another() {
        let of = |id, model: &'static str| Arc::new(InferenceRequest::alone(0, id, "").for_model(model));
        let answers = Answers::default();
        let moment = Instant::now();
        answers.add(&of("a", "A"), Duration::ZERO);
        let of_b = of("b", "B");
        assert!(!answers.answered_another_since(moment, Some(&of_b)));
        assert!(!answers.testify_against(&of_b));
        assert_eq!(answers.another_request(Some(&of_b)), None);
        answers.add(&of("c", "B"), Duration::ZERO);
        assert!(answers.answered_another_since(moment, Some(&of_b)));
        assert_eq!(answers.another_request(Some(&of_b)), Some(of("c", "B")));
        assert_eq!(answers.another_request(Some(&of("b", "A"))), Some(of("a", "A")));
        assert!(answers.testify_against(&of_b));
    }

    #[test]
    fn what_is_kept_of_a_request_keeps_nothing_of_its_batch() {
        let batch = Bytes::from(vec![b'1'; 1000]);
        let answers = Answers::default();
        let request = Arc::new(InferenceRequest::alone(0, "a", batch.slice(..10)));
        answers.add(&request, Duration::ZERO);
        drop(request);
        assert!(batch.is_unique());
        assert_eq!(answers.another_request(None).unwrap().body(), batch.slice(..10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_is_that_of_the_latest_answers() {
        let answers = Answers::default();
        assert_eq!(answers.median_latency(), None);
        for milliseconds in [30, 10, 20] {
            answers.add(&request("a"), Duration::from_millis(milliseconds));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_millis(20)));
        for _ in 0..KEPT {
            answers.add(&request("a"), Duration::from_secs(1));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_secs(1)));
        assert_eq!(answers.latest().len(), KEPT);
    }
}
