//! The evidence that the endpoint works, and the requests to probe it with. One instance for each process.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::inference::InferenceRequest;
use crate::outcome::FaultKind;

/// The maximum number of models that are known. The least recently called model is forgotten first.
const MODELS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// The maximum size of all requests that are kept as probes, in bytes.
const PROBES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// After this many Refused or Suspect calls in a row, the dispatcher sends a probe before it goes on. A stream in which
/// half of the records are bad has such a row once in a million calls.
const DOUBT_AFTER_FAULTS: usize = 20;
/// The number of answers for which a model counts as unsteady after a recovery.
const UNSTEADY_ANSWERS: u64 = 100;
/// The number of last attempts at a record while its model is unsteady.
const UNSTEADY_LAST_ATTEMPTS: u32 = 8;
/// The number of answers after which enough is known about a model.
const KNOWN_ANSWERS: u64 = 20;

/// The model that a record names, if any.
pub(super) type Model = Option<Arc<str>>;

/// A position in the sequence of the process's calls and failures. Unlike times, two positions are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// The models whose answers are evidence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Witness {
    /// Only this model.
    Model(Model),
    /// Every model of the endpoint.
    AnyModel,
}

/// The answers of the endpoint.
#[derive(Debug)]
pub(super) struct Evidence {
    latest_moment: AtomicU64,
    /// The number of Refused and Suspect calls since the latest answer.
    faults_in_row: AtomicUsize,
    models: Mutex<LruCache<Model, ModelAnswers>>,
    /// The request of the setting `PROBE`.
    configured_probe: Option<Arc<InferenceRequest>>,
}

/// The answers of one model.
#[derive(Debug, Default)]
struct ModelAnswers {
    /// The latest start of an answered call.
    latest_start: Option<Moment>,
    /// The number of answers.
    answered: u64,
    /// For each kind of fault, the number of answers when a record was last answered after such a fault.
    recovered_at: HashMap<FaultKind, u64>,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    request: Arc<InferenceRequest>,
    /// Whether the latest call with it failed. Then the next answered request replaces it, whatever its size.
    has_failed: bool,
}

impl Evidence {
    pub(super) fn new(configured_probe: Option<InferenceRequest>) -> Self {
        Self {
            latest_moment: AtomicU64::new(0),
            faults_in_row: AtomicUsize::new(0),
            models: Mutex::new(LruCache::new(MODELS_MAX)),
            configured_probe: configured_probe.map(Arc::new),
        }
    }

    /// Returns a new moment, after all others.
    pub(super) fn now(&self) -> Moment {
        Moment(self.latest_moment.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns whether so many calls in a row were Refused or Suspect that a probe must show whether the endpoint
    /// works.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.faults_in_row.load(Ordering::Relaxed) >= DOUBT_AFTER_FAULTS
    }

    /// Ends the doubt if there is no probe that could end it. The calls of the next batch then show whether the
    /// endpoint works.
    pub(super) fn end_doubt_without_probe(&self) {
        if self.probe(&Witness::AnyModel, |_| false).is_none() {
            self.faults_in_row.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a Refused or Suspect call.
    pub(super) fn record_fault(&self, kind: FaultKind) {
        if matches!(kind, FaultKind::Refused | FaultKind::Suspect) {
            self.faults_in_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of last attempts that must fail with this `kind` of fault before a record is rejected. If
    /// this model has lately answered a record after such a fault, some of its instances may be broken. If all attempts
    /// go to a random instance and half of them are broken, eight last attempts at a good record fail once in 500
    /// times.
    pub(super) fn last_attempts(&self, model: Option<&Arc<str>>, kind: FaultKind) -> u32 {
        let models = self.models();
        let model = models.peek(&model.cloned());
        let answered = model.map_or(0, |model| model.answered);
        let recovered_at = model.and_then(|model| model.recovered_at.get(&kind));
        match recovered_at {
            Some(recovered_at) if answered - recovered_at < UNSTEADY_ANSWERS => UNSTEADY_LAST_ATTEMPTS,
            _ if answered < KNOWN_ANSWERS => 3,
            _ => 1,
        }
    }

    /// Records that a record was answered after a fault of this `kind`, or that an answered record failed in this way.
    pub(super) fn record_recovery(&self, model: Option<&Arc<str>>, kind: FaultKind) {
        let mut models = self.models();
        let model = models.get_or_insert_mut(model.cloned(), ModelAnswers::default);
        model.recovered_at.insert(kind, model.answered);
    }

    /// Returns whether a call that started after `moment` was answered.
    pub(super) fn has_answered_since(&self, moment: Moment, witness: &Witness) -> bool {
        let models = self.models();
        let latest = match witness {
            Witness::Model(model) => models.peek(model).and_then(|model| model.latest_start),
            Witness::AnyModel => models.iter().filter_map(|(_, model)| model.latest_start).max(),
        };
        latest.is_some_and(|latest| latest > moment)
    }

    /// Records that the call for `request` that started at `start` was answered. Keeps the first two records of the
    /// request as a probe if they are the smallest so far.
    pub(super) fn record_answer(&self, request: &InferenceRequest, start: Moment) {
        self.faults_in_row.store(0, Ordering::Relaxed);
        let mut models = self.models();
        let model = models.get_or_insert_mut(request.target_model().cloned(), ModelAnswers::default);
        model.latest_start = model.latest_start.max(Some(start));
        model.answered += 1;
        let bytes = request.probe_bytes();
        let kept = model.probe.as_ref();
        if bytes <= PROBES_BYTES_MAX && kept.is_none_or(|kept| kept.has_failed || bytes < kept.request.probe_bytes()) {
            let request = Arc::new(request.to_probe());
            let has_failed = false;
            model.probe = Some(Probe { request, has_failed });
            limit_probes(&mut models);
        }
    }

    /// Records that a call with the probe of this model failed.
    pub(super) fn record_probe_fault(&self, model: Option<&Arc<str>>, kind: FaultKind) {
        self.record_recovery(model, kind);
        let mut models = self.models();
        if let Some(probe) = models.get_mut(&model.cloned()).and_then(|model| model.probe.as_mut()) {
            probe.has_failed = true;
        }
    }

    /// Returns a request whose answer is evidence, unless it `is_excluded`: the smallest answered one, or the setting
    /// `PROBE`, or else one with which the latest call failed.
    pub(super) fn probe(
        &self,
        witness: &Witness,
        is_excluded: impl Fn(&InferenceRequest) -> bool,
    ) -> Option<Arc<InferenceRequest>> {
        let is_witness = |model: Option<&Arc<str>>| match witness {
            Witness::Model(wanted) => wanted.as_ref() == model,
            Witness::AnyModel => true,
        };
        let models = self.models();
        let kept = || {
            let models = models.iter().filter(|(name, _)| is_witness(name.as_ref()));
            models.filter_map(|(_, model)| model.probe.as_ref())
        };
        let answered = kept().filter(|probe| !probe.has_failed).map(|probe| &probe.request);
        let configured = self
            .configured_probe
            .iter()
            .filter(|probe| is_witness(probe.target_model()));
        let failed = kept().filter(|probe| probe.has_failed).map(|probe| &probe.request);
        let mut candidates = answered.chain(configured).chain(failed);
        candidates.find(|probe| !is_excluded(probe)).cloned()
    }

    fn models(&self) -> MutexGuard<'_, LruCache<Model, ModelAnswers>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the probes of the models that were called last, as many as fit.
fn limit_probes(models: &mut LruCache<Model, ModelAnswers>) {
    let mut bytes = 0;
    for (_, model) in models.iter_mut() {
        bytes += model.probe.as_ref().map_or(0, |probe| probe.request.probe_bytes());
        if bytes > PROBES_BYTES_MAX {
            model.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ONE_MODEL: Witness = Witness::Model(None);

    fn evidence() -> Evidence {
        Evidence::new(None)
    }

    fn request(input: impl Into<Bytes>) -> InferenceRequest {
        InferenceRequest::single(0, "id", input)
    }

    #[test]
    fn only_an_answer_to_a_call_that_started_after_the_moment_is_evidence() {
        let evidence = evidence();
        let before = evidence.now();
        let moment = evidence.now();
        assert!(!evidence.has_answered_since(moment, &ONE_MODEL));
        evidence.record_answer(&request("a"), before);
        assert!(
            !evidence.has_answered_since(moment, &ONE_MODEL),
            "the call started before"
        );
        evidence.record_answer(&request("a"), evidence.now());
        assert!(evidence.has_answered_since(moment, &ONE_MODEL));
        evidence.record_answer(&request("a"), before);
        assert!(
            evidence.has_answered_since(moment, &ONE_MODEL),
            "an older call ended later"
        );
        assert!(evidence.has_answered_since(moment, &Witness::AnyModel));
        assert!(!evidence.has_answered_since(evidence.now(), &ONE_MODEL));
    }

    #[test]
    fn an_answer_of_one_model_is_evidence_about_itself_and_about_any_model() {
        let evidence = evidence();
        let moment = evidence.now();
        evidence.record_answer(&request("a").for_model("A"), evidence.now());
        let of = |name: &str| Witness::Model(Some(name.into()));
        assert!(evidence.has_answered_since(moment, &of("A")));
        assert!(!evidence.has_answered_since(moment, &of("B")));
        assert!(evidence.has_answered_since(moment, &Witness::AnyModel));
        assert!(
            evidence.probe(&of("A"), |_| false).is_some() && evidence.probe(&Witness::AnyModel, |_| false).is_some()
        );
        assert_eq!(evidence.probe(&of("B"), |_| false), None);
    }

    #[test]
    fn a_model_that_is_unknown_or_unsteady_gets_more_last_attempts() {
        use FaultKind::{Refused, Suspect};
        let evidence = evidence();
        let answer = |answers| (0..answers).for_each(|_| evidence.record_answer(&request("a"), evidence.now()));
        assert_eq!(evidence.last_attempts(None, Refused), 3);
        answer(KNOWN_ANSWERS);
        assert_eq!(evidence.last_attempts(None, Refused), 1);
        evidence.record_recovery(None, Refused);
        let of_others = [
            evidence.last_attempts(None, Suspect),
            evidence.last_attempts(Some(&"A".into()), Refused),
        ];
        assert_eq!((evidence.last_attempts(None, Refused), of_others), (8, [1, 3]));
        answer(UNSTEADY_ANSWERS - 1);
        assert_eq!(evidence.last_attempts(None, Refused), 8);
        answer(1);
        assert_eq!(evidence.last_attempts(None, Refused), 1);
    }

    #[test]
    fn the_probe_is_the_smallest_answered_request_unless_it_has_failed() {
        let evidence = evidence();
        let body = || evidence.probe(&ONE_MODEL, |_| false).unwrap().body();
        for (input, expected) in [("22", "22"), ("333", "22"), ("1", "1")] {
            evidence.record_answer(&request(input), evidence.now());
            assert_eq!(body(), expected);
        }
        evidence.record_probe_fault(None, FaultKind::Refused);
        assert_eq!(body(), "1", "it stays until another request is answered");
        evidence.record_answer(&request("333"), evidence.now());
        assert_eq!(body(), "333");
    }

    #[test]
    fn a_probe_does_not_keep_its_batch_in_memory() {
        let batch = Bytes::from(vec![b'1'; 1000]);
        let evidence = evidence();
        evidence.record_answer(&request(batch.slice(..10)), evidence.now());
        assert!(batch.is_unique());
        assert_eq!(evidence.probe(&ONE_MODEL, |_| false).unwrap().body(), batch.slice(..10));
    }

    #[test]
    fn the_probes_of_all_models_together_have_a_size_limit() {
        let evidence = evidence();
        evidence.record_answer(&request(vec![b'1'; PROBES_BYTES_MAX + 1]), evidence.now());
        assert_eq!(
            evidence.probe(&ONE_MODEL, |_| false),
            None,
            "the request alone is too large"
        );
        for model in ["A", "B", "C"] {
            let large = request(vec![b'1'; PROBES_BYTES_MAX / 2]);
            evidence.record_answer(&large.for_model(model), evidence.now());
        }
        let has_probe = |name: &str| evidence.probe(&Witness::Model(Some(name.into())), |_| false).is_some();
        assert_eq!(["A", "B", "C"].map(has_probe), [false, true, true]);
        let too_large = request(vec![b'1'; PROBES_BYTES_MAX + 1]);
        evidence.record_answer(&too_large.for_model("D"), evidence.now());
        assert!(has_probe("B"), "a request that is too large drops no other probe");
    }

    #[test]
    fn the_setting_is_the_probe_until_a_request_is_answered() {
        let evidence = Evidence::new(Some(request("configured")));
        let body = || evidence.probe(&ONE_MODEL, |_| false).unwrap().body();
        assert_eq!(body(), "configured");
        assert_eq!(evidence.probe(&Witness::Model(Some("other".into())), |_| false), None);
        assert!(evidence.probe(&Witness::AnyModel, |_| false).is_some());
        evidence.record_answer(&request("answered"), evidence.now());
        assert_eq!(body(), "answered");
    }
}
