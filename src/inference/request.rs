//! One call to be made, and the smaller ones that may take its place.

use std::sync::Arc;

use bytes::Bytes;

use super::Frame;
use crate::endpoint::Call;

/// One call to be made: what differs between calls. What is the same for all of them, the endpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceRequest {
    /// The records, one at least, in batch order.
    pub(super) parts: Vec<Part>,
    pub(super) frame: Arc<Frame>,
    /// The model of a multi-model endpoint, where the records name it.
    pub(super) target_model: Option<Arc<str>>,
}

/// One record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Of the user record.
    pub(super) index: usize,
    /// `SEQUENCE-SUB`: the same for every delivery of a record, so that a repeat can be seen in the data capture.
    pub(super) id: String,
    pub(super) row: Bytes,
}

impl InferenceRequest {
    /// A request for one record, without anything around it.
    pub fn alone(index: usize, id: impl Into<String>, row: impl Into<Bytes>) -> Self {
        let (id, row) = (id.into(), row.into());
        Self {
            parts: vec![Part { index, id, row }],
            frame: Arc::new(Frame::NONE),
            target_model: None,
        }
    }

    /// The same for the model of this name.
    #[must_use]
    pub fn for_model(self, name: impl Into<Arc<str>>) -> Self {
        let target_model = Some(name.into());
        Self { target_model, ..self }
    }

    /// The body, as the model gets it. It is made for each attempt anew, so that no more of them take memory than there
    /// are calls.
    pub fn body(&self) -> Bytes {
        self.frame.around(self.parts.iter().map(|part| &part.row))
    }

    /// The call that this request makes.
    pub fn call(&self) -> Call<'_> {
        Call {
            body: self.body(),
            inference_id: self.inference_id(),
            target_model: self.target_model().map(|model| &**model),
        }
    }

    /// `InferenceId`: the first record's `SEQUENCE-SUB`.
    pub fn inference_id(&self) -> &str {
        &self.first().id
    }

    /// The model that the records name.
    pub fn target_model(&self) -> Option<&Arc<str>> {
        self.target_model.as_ref()
    }

    /// The indexes of its user records, lowest first.
    pub fn records(&self) -> impl ExactSizeIterator<Item = usize> {
        self.parts.iter().map(|part| part.index)
    }

    /// The lowest of them.
    pub fn first_record(&self) -> usize {
        self.first().index
    }

    /// The highest of them.
    pub fn last_record(&self) -> usize {
        self.parts.last().expect("a request has a record").index
    }

    /// Whether it is for one record alone.
    pub fn is_lone(&self) -> bool {
        self.parts.len() == 1
    }

    /// Whether its answer may hold a prediction for each of many records.
    pub fn is_packed(&self) -> bool {
        self.frame.is_of_many
    }

    /// Two requests in place of this one, for the first and the second half of its records.
    pub fn halves(&self) -> [Self; 2] {
        let (first, second) = self.parts.split_at(self.parts.len() / 2);
        [first, second].map(|parts| self.of(parts))
    }

    /// A request for each of its records.
    pub fn singles(&self) -> Vec<Self> {
        self.parts.chunks(1).map(|part| self.of(part)).collect()
    }

    /// The request for its first record alone, with memory of its own: a record's is a piece of its batch's, and what is
    /// kept would keep all of that.
    #[must_use]
    pub fn only_first(&self) -> Self {
        let mut first = self.of(std::slice::from_ref(self.first()));
        for part in &mut first.parts {
            part.row = Bytes::copy_from_slice(&part.row);
        }
        first
    }

    /// The request for one of its records alone, any of them.
    #[must_use]
    pub fn any_one(&self) -> Self {
        self.of(std::slice::from_ref(
            fastrand::choice(&self.parts).expect("a request has a record"),
        ))
    }

    fn first(&self) -> &Part {
        self.parts.first().expect("a request has a record")
    }

    fn of(&self, parts: &[Part]) -> Self {
        Self {
            parts: parts.to_vec(),
            frame: Arc::clone(&self.frame),
            target_model: self.target_model.clone(),
        }
    }
}
