//! What the endpoint answered lately, in this process: how long that took, and whether it answers at all.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::inference::InferenceRequest;

/// How many answers are kept.
const ANSWER_WINDOW: usize = 64;
/// How long an answer speaks for the endpoint.
const EVIDENCE_MAX_AGE: Duration = Duration::from_mins(1);

/// For how many models the last request is kept.
const PROBE_MODELS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The latest predictions. One for the process.
#[derive(Debug)]
pub struct RecentAnswers {
    samples: Mutex<VecDeque<AnswerSample>>,
    /// For each model that records name, the request that was answered last, or the first record's part of it: enough to ask
    /// once more.
    probe_requests: Mutex<LruCache<Model, Arc<InferenceRequest>>>,
}

/// One model says nothing of another. `None` where records name none.
type Model = Option<Arc<str>>;

#[derive(Debug)]
struct AnswerSample {
    /// The inference identifier of the request, which is that of its first record.
    id: String,
    model: Model,
    at: Instant,
    latency: Duration,
    /// Whether it has been held against a record.
    is_consumed: bool,
}

impl Default for RecentAnswers {
    fn default() -> Self {
        Self {
            samples: Mutex::default(),
            probe_requests: Mutex::new(LruCache::new(PROBE_MODELS_MAX)),
        }
    }
}

impl AnswerSample {
    fn is_for_other_record(&self, request: &InferenceRequest) -> bool {
        self.model.as_ref() == request.target_model() && is_for_other_record(&self.id, request)
    }
}

impl RecentAnswers {
    /// Takes down that the endpoint has just answered `request`.
    pub fn add(&self, request: &Arc<InferenceRequest>, latency: Duration) {
        let sample = AnswerSample {
            id: request.inference_id().to_owned(),
            model: request.target_model().cloned(),
            at: Instant::now(),
            latency,
            is_consumed: false,
        };
        let mut samples = self.samples();
        if samples.len() == ANSWER_WINDOW {
            samples.pop_front();
        }
        samples.push_back(sample);
        let lone = Arc::new(request.first_only_owned());
        self.probe_requests().put(request.target_model().cloned(), lone);
    }

    /// The evidence rule: a fault that may be the record's own or the endpoint's is held against the record only if the
    /// endpoint answered another one within the last minute, and after the last fault that was held against a record.
    /// So an outage, which nothing is answered in, costs one record at most, by what was answered just before it.
    ///
    /// A request for several records is only split by it, and so leaves the evidence for the record that it finds.
    pub fn consume_evidence_against(&self, request: &InferenceRequest) -> bool {
        let mut samples = self.samples();
        let mut evidence = samples
            .iter()
            .rev()
            .take_while(|sample| sample.at.elapsed() <= EVIDENCE_MAX_AGE && !sample.is_consumed);
        let found = evidence.any(|sample| sample.is_for_other_record(request));
        if found && request.has_one_record() {
            samples.iter_mut().for_each(|sample| sample.is_consumed = true);
        }
        found
    }

    /// Whether the endpoint was called with another record than that of `request` since this `moment`, and has answered.
    /// An answer to a call that was under way says nothing of how calls fare that begin now.
    pub fn other_answered_since(&self, moment: Instant, request: Option<&InferenceRequest>) -> bool {
        let samples = self.samples();
        let mut since = samples.iter().filter(|sample| sample.at >= moment + sample.latency);
        since.any(|sample| request.is_none_or(|request| sample.is_for_other_record(request)))
    }

    /// The request to the same model that was answered last, if it is for another record than that of `request`.
    pub fn probe_request(&self, request: Option<&InferenceRequest>) -> Option<Arc<InferenceRequest>> {
        let mut last = self.probe_requests();
        let Some(request) = request else {
            return last.iter().next().map(|(_, last)| Arc::clone(last));
        };
        let last = last.get(&request.target_model().cloned()).cloned();
        last.filter(|last| is_for_other_record(last.inference_id(), request))
    }

    /// What half of the latest answers took at most. `None` before the first.
    pub fn median_latency(&self) -> Option<Duration> {
        let mut latencies: Vec<_> = self.samples().iter().map(|sample| sample.latency).collect();
        let middle = latencies.len().checked_sub(1)? / 2;
        Some(*latencies.select_nth_unstable(middle).1)
    }

    fn probe_requests(&self) -> MutexGuard<'_, LruCache<Model, Arc<InferenceRequest>>> {
        self.probe_requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<AnswerSample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_for_other_record(id: &str, request: &InferenceRequest) -> bool {
    request.inference_id() != id
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::advance;

    use super::*;

    fn request(id: &str) -> Arc<InferenceRequest> {
        Arc::new(InferenceRequest::single(0, id, ""))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_recent_answer_to_another_record_speaks_against_one() {
        let answers = RecentAnswers::default();
        assert!(!answers.consume_evidence_against(&request("a")), "nothing was answered");
        answers.add(&request("a"), Duration::ZERO);
        assert!(
            !answers.consume_evidence_against(&request("a")),
            "only the record itself was answered"
        );
        assert!(answers.consume_evidence_against(&request("b")));
        answers.add(&request("a"), Duration::ZERO);
        advance(EVIDENCE_MAX_AGE).await;
        assert!(answers.consume_evidence_against(&request("b")));
        answers.add(&request("a"), Duration::ZERO);
        advance(EVIDENCE_MAX_AGE + Duration::from_millis(1)).await;
        assert!(!answers.consume_evidence_against(&request("b")), "that was too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_before_an_outage_speaks_against_one_record_only() {
        let answers = RecentAnswers::default();
        for record in ["a", "b", "c"] {
            answers.add(&request(record), Duration::ZERO);
        }
        assert!(answers.consume_evidence_against(&request("d")));
        assert!(!answers.consume_evidence_against(&request("e")) && !answers.consume_evidence_against(&request("d")));
        answers.add(&request("f"), Duration::ZERO);
        assert!(answers.consume_evidence_against(&request("e")), "the endpoint answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_before_a_moment_says_nothing_of_what_came_after() {
        let answers = RecentAnswers::default();
        answers.add(&request("a"), Duration::ZERO);
        advance(Duration::from_millis(1)).await;
        let moment = Instant::now();
        assert!(!answers.other_answered_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert!(
            !answers.other_answered_since(moment, Some(&request("b"))),
            "that is the record itself"
        );
        assert!(answers.other_answered_since(moment, Some(&request("a"))));
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(
            !answers.other_answered_since(moment, Some(&request("b"))),
            "that call began before"
        );
        advance(Duration::from_millis(1)).await;
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(answers.other_answered_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert_eq!(answers.probe_request(Some(&request("a"))), Some(request("b")));
        assert_eq!(answers.probe_request(Some(&request("b"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_model_says_nothing_of_another() {
        let of = |id, model: &'static str| Arc::new(InferenceRequest::single(0, id, "").for_model(model));
        let answers = RecentAnswers::default();
        let moment = Instant::now();
        answers.add(&of("a", "A"), Duration::ZERO);
        let of_b = of("b", "B");
        assert!(!answers.other_answered_since(moment, Some(&of_b)));
        assert!(!answers.consume_evidence_against(&of_b));
        assert_eq!(answers.probe_request(Some(&of_b)), None);
        answers.add(&of("c", "B"), Duration::ZERO);
        assert!(answers.other_answered_since(moment, Some(&of_b)));
        assert_eq!(answers.probe_request(Some(&of_b)), Some(of("c", "B")));
        assert_eq!(answers.probe_request(Some(&of("b", "A"))), Some(of("a", "A")));
        assert!(answers.consume_evidence_against(&of_b));
    }

    #[test]
    fn what_is_kept_of_a_request_keeps_nothing_of_its_batch() {
        let batch = Bytes::from(vec![b'1'; 1000]);
        let answers = RecentAnswers::default();
        let request = Arc::new(InferenceRequest::single(0, "a", batch.slice(..10)));
        answers.add(&request, Duration::ZERO);
        drop(request);
        assert!(batch.is_unique());
        assert_eq!(answers.probe_request(None).unwrap().body(), batch.slice(..10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_is_that_of_the_latest_answers() {
        let answers = RecentAnswers::default();
        assert_eq!(answers.median_latency(), None);
        for milliseconds in [30, 10, 20] {
            answers.add(&request("a"), Duration::from_millis(milliseconds));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_millis(20)));
        for _ in 0..ANSWER_WINDOW {
            answers.add(&request("a"), Duration::from_secs(1));
        }
        assert_eq!(answers.median_latency(), Some(Duration::from_secs(1)));
        assert_eq!(answers.samples().len(), ANSWER_WINDOW);
    }
}
