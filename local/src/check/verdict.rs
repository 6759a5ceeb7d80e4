//! Judges a trial.

use super::{Observation, RecordResult, Shape, are_same};

/// The maximum length of a model's words or of a prediction, in characters.
const CHARS_MAX: usize = 120;

/// A trial and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The shape of its requests.
    pub shape: Shape,
    /// What follows.
    pub verdict: Verdict,
    pub(super) seen: Observation,
}

/// What follows from a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Each record was predicted in its own request.
    Alone,
    /// All records were predicted in one request, as they are predicted alone.
    Together,
    /// All records were predicted in one request, but a record alone was not, for this reason.
    TogetherOnly(String),
    /// All records were predicted in one request, but these (numbers from 1) otherwise than alone.
    Different(Vec<usize>),
    /// All records were predicted, but only after further requests for each of them.
    OneByOne,
    /// Some records were not predicted, for this reason.
    Failed(String),
}

impl Row {
    /// Judges a trial. `alone` is a trial of the same shape with one record a request.
    pub fn new(shape: Shape, seen: Observation, alone: Option<Observation>) -> Self {
        let verdict = verdict(&shape, &seen, alone);
        Self { shape, verdict, seen }
    }

    /// Returns how well the settings fit, from 0, the best. `None` if they do not.
    pub(super) fn rank(&self) -> Option<u8> {
        match self.verdict {
            Verdict::Together => Some(0),
            Verdict::Alone => Some(1),
            Verdict::TogetherOnly(_) => Some(2),
            Verdict::Different(_) | Verdict::OneByOne | Verdict::Failed(_) => None,
        }
    }
}

fn verdict(shape: &Shape, seen: &Observation, alone: Option<Observation>) -> Verdict {
    let Some(predictions) = seen.predictions() else {
        return Verdict::Failed(failure(seen));
    };
    if !shape.is_multi_record() {
        return Verdict::Alone;
    }
    let Some(alone) = alone else {
        return Verdict::OneByOne;
    };
    let Some(expected) = alone.predictions() else {
        return Verdict::TogetherOnly(failure(&alone));
    };
    let pairs = (1..).zip(predictions.iter().zip(expected));
    let different: Vec<usize> = pairs
        .filter(|(_, (together, alone))| !are_same(together, alone))
        .map(|(number, _)| number)
        .collect();
    if different.is_empty() {
        Verdict::Together
    } else {
        Verdict::Different(different)
    }
}

/// Returns why a record was not predicted: the model's words if it refused a request, else the function's.
pub(super) fn failure(seen: &Observation) -> String {
    let refused = seen.exchanges.iter().find(|exchange| !exchange.is_prediction());
    if let Some(refused) = refused {
        return shortened(&format!(
            "{} {}",
            refused.status,
            String::from_utf8_lossy(&refused.answer)
        ));
    }
    let reasons = seen.results.iter().filter_map(|result| match result {
        RecordResult::Predicted(_) => None,
        RecordResult::Rejected(reason) | RecordResult::Unfinished(reason) => Some(reason),
    });
    reasons.map(|reason| shortened(reason)).next().unwrap_or_default()
}

/// Returns the beginning of a text in one line, without control characters.
pub(super) fn shortened(text: &str) -> String {
    let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(CHARS_MAX).collect()
}
