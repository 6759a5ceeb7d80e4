//! The recent answers of the endpoint in this process: their latencies, and the evidence that the endpoint works.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::inference::InferenceRequest;

/// The number of answers that are kept.
const ANSWER_WINDOW: usize = 64;
/// The maximum age of an answer that is evidence.
const EVIDENCE_MAX_AGE: Duration = Duration::from_mins(1);

/// The maximum number of models for which a probe request is kept.
const PROBE_MODELS_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The latest answers. One instance for each process.
#[derive(Debug)]
pub struct RecentAnswers {
    samples: Mutex<VecDeque<AnswerSample>>,
    /// For each model that records name, the last answered request, reduced to its first record. It can be sent again
    /// as a probe.
    probe_requests: Mutex<LruCache<Model, Arc<InferenceRequest>>>,
}

/// The model that a record names, if any. Answers of one model are not evidence about another.
type Model = Option<Arc<str>>;

#[derive(Debug)]
struct AnswerSample {
    /// The inference identifier of the request, which identifies its first record.
    id: String,
    model: Model,
    at: Instant,
    latency: Duration,
    /// True if the answer has been used as evidence against a record.
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
    /// Records that the endpoint has just answered `request` after this `latency`.
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
        let lone = Arc::new(request.copy_of_first());
        self.probe_requests().put(request.target_model().cloned(), lone);
    }

    /// Returns whether there is evidence against the record of `request`, and consumes the evidence.
    ///
    /// The evidence rule: a fault of unclear cause counts against the record only if the endpoint has answered another
    /// record within the last minute, and after the last fault that counted against a record. Nothing is answered
    /// during an outage, so an outage costs one record at most, on the evidence of the answers just before it.
    ///
    /// A request for several records is only split. It does not consume the evidence, which is left for the record that
    /// is found by splitting.
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

    /// Returns whether a call for another record than that of `request` started after `moment` and was answered. An
    /// answer to a call that was already in flight is not evidence about calls that start now.
    pub fn has_other_answered_since(&self, moment: Instant, request: Option<&InferenceRequest>) -> bool {
        let samples = self.samples();
        let mut since = samples.iter().filter(|sample| sample.at >= moment + sample.latency);
        since.any(|sample| request.is_none_or(|request| sample.is_for_other_record(request)))
    }

    /// Returns the last answered request to the same model, unless it is for the record of `request`. Without
    /// `request`, returns the last answered request to any model.
    pub fn probe_request(&self, request: Option<&InferenceRequest>) -> Option<Arc<InferenceRequest>> {
        let mut last = self.probe_requests();
        let Some(request) = request else {
            return last.iter().next().map(|(_, last)| Arc::clone(last));
        };
        let last = last.get(&request.target_model().cloned()).cloned();
        last.filter(|last| is_for_other_record(last.inference_id(), request))
    }

    /// Returns the median latency of the recent answers, or `None` before the first answer.
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
    async fn only_a_recent_answer_for_another_record_is_evidence() {
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
        assert!(
            !answers.consume_evidence_against(&request("b")),
            "the answer is too old"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn answers_before_an_outage_are_evidence_against_one_record_only() {
        let answers = RecentAnswers::default();
        for record in ["a", "b", "c"] {
            answers.add(&request(record), Duration::ZERO);
        }
        assert!(answers.consume_evidence_against(&request("d")));
        assert!(!answers.consume_evidence_against(&request("e")) && !answers.consume_evidence_against(&request("d")));
        answers.add(&request("f"), Duration::ZERO);
        assert!(
            answers.consume_evidence_against(&request("e")),
            "the endpoint answers again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_answers_to_calls_that_started_after_the_moment_are_evidence() {
        let answers = RecentAnswers::default();
        answers.add(&request("a"), Duration::ZERO);
        advance(Duration::from_millis(1)).await;
        let moment = Instant::now();
        assert!(!answers.has_other_answered_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert!(
            !answers.has_other_answered_since(moment, Some(&request("b"))),
            "the answer is for the record itself"
        );
        assert!(answers.has_other_answered_since(moment, Some(&request("a"))));
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(
            !answers.has_other_answered_since(moment, Some(&request("b"))),
            "the call started before the moment"
        );
        advance(Duration::from_millis(1)).await;
        answers.add(&request("c"), Duration::from_millis(1));
        assert!(answers.has_other_answered_since(moment, Some(&request("b"))));
        answers.add(&request("b"), Duration::ZERO);
        assert_eq!(answers.probe_request(Some(&request("a"))), Some(request("b")));
        assert_eq!(answers.probe_request(Some(&request("b"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_one_model_is_not_evidence_about_another() {
        let of = |id, model: &'static str| Arc::new(InferenceRequest::single(0, id, "").for_model(model));
        let answers = RecentAnswers::default();
        let moment = Instant::now();
        answers.add(&of("a", "A"), Duration::ZERO);
        let of_b = of("b", "B");
        assert!(!answers.has_other_answered_since(moment, Some(&of_b)));
        assert!(!answers.consume_evidence_against(&of_b));
        assert_eq!(answers.probe_request(Some(&of_b)), None);
        answers.add(&of("c", "B"), Duration::ZERO);
        assert!(answers.has_other_answered_since(moment, Some(&of_b)));
        assert_eq!(answers.probe_request(Some(&of_b)), Some(of("c", "B")));
        assert_eq!(answers.probe_request(Some(&of("b", "A"))), Some(of("a", "A")));
        assert!(answers.consume_evidence_against(&of_b));
    }

    #[test]
    fn a_probe_request_does_not_keep_its_batch_in_memory() {
        let batch = Bytes::from(vec![b'1'; 1000]);
        let answers = RecentAnswers::default();
        let request = Arc::new(InferenceRequest::single(0, "a", batch.slice(..10)));
        answers.add(&request, Duration::ZERO);
        drop(request);
        assert!(batch.is_unique());
        assert_eq!(answers.probe_request(None).unwrap().body(), batch.slice(..10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_median_covers_the_latest_answers_only() {
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
