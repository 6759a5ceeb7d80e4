//! The shapes of each model's answers to requests for several records: whether their predictions can be assigned to the
//! records. One instance for each process.
//!
//! Only the number of predictions shows that an answer has one for each record. A list can have this number by chance:
//! the probabilities of three classes for three records, or a body and its content type for two.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::evidence::Model;
use crate::inference::AnswerForm;

/// The maximum number of models that are known. The least recently called model is forgotten first.
const MODELS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// After this many mismatches in a row, a model gets only single records.
const MISMATCHES_MAX: u32 = 3;
/// The time for which a model gets only single records. Then one more mismatch is enough.
pub(super) const PACKING_OFF: Duration = Duration::from_mins(10);

/// The shapes of the answers of each model.
#[derive(Debug)]
pub(super) struct AnswerShapes {
    models: Mutex<LruCache<Model, ModelShape>>,
    /// Whether packing was ever turned off for a model.
    has_packing_off: AtomicBool,
}

#[derive(Debug, Default)]
struct ModelShape {
    /// The number of records of the first request that was answered with a list of as many elements.
    matched_records: Option<usize>,
    /// Whether lists of two different lengths matched.
    is_list_trusted: bool,
    mismatches_in_row: u32,
    off_since: Option<Instant>,
}

impl ModelShape {
    fn is_off(&self) -> bool {
        self.off_since.is_some_and(|since| since.elapsed() < PACKING_OFF)
    }
}

impl AnswerShapes {
    pub(super) fn new() -> Self {
        Self {
            models: Mutex::new(LruCache::new(MODELS_MAX)),
            has_packing_off: AtomicBool::new(false),
        }
    }

    /// Records an answer in this form that had one prediction for each of `records` records. Returns whether the
    /// predictions are those of the records. A list is trusted after two requests with different numbers of records.
    pub(super) fn record_match(&self, model: Option<&Arc<str>>, records: usize, form: AnswerForm) -> bool {
        if form == AnswerForm::Whole {
            return true;
        }
        let mut models = self.models();
        let shape = models.get_or_insert_mut(model.cloned(), ModelShape::default);
        if form == AnswerForm::List && !shape.is_list_trusted {
            let first = *shape.matched_records.get_or_insert(records);
            shape.is_list_trusted = first != records;
        }
        let is_trusted = form == AnswerForm::Records || shape.is_list_trusted;
        if is_trusted && records > 1 {
            shape.mismatches_in_row = 0;
            shape.off_since = None;
        }
        is_trusted
    }

    /// Records an answer to a request for several records that had another number of predictions. Returns whether this
    /// turned packing off.
    pub(super) fn record_mismatch(&self, model: Option<&Arc<str>>) -> bool {
        let mut models = self.models();
        let shape = models.get_or_insert_mut(model.cloned(), ModelShape::default);
        shape.mismatches_in_row = shape.mismatches_in_row.saturating_add(1);
        // The length of a list may not depend on the number of records.
        shape.matched_records = None;
        if shape.mismatches_in_row < MISMATCHES_MAX || shape.is_off() {
            return false;
        }
        *shape = ModelShape {
            mismatches_in_row: shape.mismatches_in_row,
            off_since: Some(Instant::now()),
            ..ModelShape::default()
        };
        self.has_packing_off.store(true, Ordering::Relaxed);
        true
    }

    /// Returns whether a model may get only single records. It is cheap.
    pub(super) fn has_packing_off(&self) -> bool {
        self.has_packing_off.load(Ordering::Relaxed)
    }

    /// Returns whether this model gets only single records.
    pub(super) fn is_packing_off(&self, model: Option<&Arc<str>>) -> bool {
        self.models().peek(&model.cloned()).is_some_and(ModelShape::is_off)
    }

    fn models(&self) -> MutexGuard<'_, LruCache<Model, ModelShape>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use AnswerForm::{List, Records, Whole};

    #[test]
    fn a_list_is_trusted_after_two_numbers_of_records() {
        let shapes = AnswerShapes::new();
        let matched = |records, form| shapes.record_match(None, records, form);
        assert!(matched(3, Records) && matched(1, Whole));
        assert!(!matched(3, List) && !matched(3, List));
        assert!(!shapes.record_mismatch(None));
        assert!(!matched(2, List), "a mismatch forgets the earlier match");
        assert!(matched(3, List) && matched(2, List));
        assert!(!shapes.record_match(Some(&"other".into()), 2, List));
    }

    #[tokio::test(start_paused = true)]
    async fn three_mismatches_in_a_row_turn_packing_off_for_a_time() {
        let shapes = AnswerShapes::new();
        let mismatch = || shapes.record_mismatch(None);
        assert!(!mismatch() && !mismatch());
        assert!(shapes.record_match(None, 2, Records));
        assert!(!mismatch() && !mismatch());
        assert!(!shapes.record_match(None, 2, List), "a list that is not trusted");
        assert!(mismatch());
        assert!(!mismatch(), "a call that was in flight");
        assert!(shapes.is_packing_off(None) && !shapes.is_packing_off(Some(&"other".into())));
        advance(PACKING_OFF).await;
        assert!(!shapes.is_packing_off(None));
        assert!(mismatch() && shapes.is_packing_off(None));
        assert!(!shapes.record_match(None, 3, List), "the earlier match is forgotten");
        assert!(shapes.record_match(None, 2, Records) && !shapes.is_packing_off(None));
    }
}
