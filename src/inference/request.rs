//! An inference request, and the smaller requests that may replace it.

use std::sync::Arc;

use bytes::Bytes;

use super::BodyTemplate;
use crate::endpoint::Call;

/// One inference request: the parts that differ between requests. The endpoint adds the parts that are the same in all
/// of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferenceRequest {
    /// The records, at least one, in batch order.
    pub(super) parts: Vec<Part>,
    pub(super) body_template: Arc<BodyTemplate>,
    /// The model of a multi-model endpoint, if the records name it.
    pub(super) target_model: Option<Arc<str>>,
    /// The maximum size of a body with several records, in bytes. It is 0 if a request has only one record.
    pub(super) several_bytes_max: usize,
}

/// One record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The index of the user record in the batch.
    pub(super) index: usize,
    /// `SEQUENCE-SUB`. It is the same in every delivery of the record, so that repeated calls can be recognized in the
    /// endpoint's data capture.
    pub(super) id: String,
    /// The model input of the record.
    pub(super) input: Bytes,
    /// The path and query of the URL, if they hold values of the record. Such a request has one part.
    pub(super) path_and_query: Option<Box<str>>,
}

impl InferenceRequest {
    /// Creates a request for one record. Its body is the model input.
    pub fn single(index: usize, id: impl Into<String>, input: impl Into<Bytes>) -> Self {
        let (id, input) = (id.into(), input.into());
        Self {
            parts: vec![Part {
                index,
                id,
                input,
                path_and_query: None,
            }],
            body_template: Arc::new(BodyTemplate::single_record(None)),
            target_model: None,
            several_bytes_max: 0,
        }
    }

    /// Returns the same request for the model of this name.
    #[must_use]
    pub fn for_model(self, name: impl Into<Arc<str>>) -> Self {
        let target_model = Some(name.into());
        Self { target_model, ..self }
    }

    /// Returns the body for the model. It is built for each attempt, so that only the bodies of calls in flight take
    /// memory.
    pub fn body(&self) -> Bytes {
        self.body_template.render(&self.parts.iter().map(|part| &part.input))
    }

    /// Returns the call of this request.
    pub fn call(&self) -> Call<'_> {
        Call {
            body: self.body(),
            inference_id: self.inference_id(),
            target_model: self.target_model().map(|model| &**model),
            path_and_query: self.first().path_and_query.as_deref(),
            memory: None,
        }
    }

    /// Returns the `InferenceId`: the `SEQUENCE-SUB` of the first record.
    pub fn inference_id(&self) -> &str {
        &self.first().id
    }

    /// Returns the model that the records name.
    pub fn target_model(&self) -> Option<&Arc<str>> {
        self.target_model.as_ref()
    }

    /// Returns the indexes of its user records, in ascending order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = usize> {
        self.parts.iter().map(|part| part.index)
    }

    /// Returns the lowest index of its user records.
    pub fn first_record(&self) -> usize {
        self.first().index
    }

    /// Returns the highest index of its user records.
    pub fn last_record(&self) -> usize {
        self.parts.last().expect("a request has a record").index
    }

    /// Returns true if the request is for exactly one record.
    pub fn has_one_record(&self) -> bool {
        self.parts.len() == 1
    }

    /// Returns true if the body is a list of model inputs, even of a single one, so that the response may be a list of
    /// predictions.
    pub fn is_list(&self) -> bool {
        self.body_template.is_list
    }

    /// Returns two requests that replace this one: for the first and for the second half of its records.
    pub fn halves(&self) -> [Self; 2] {
        let (first, second) = self.parts.split_at(self.parts.len() / 2);
        [first, second].map(|parts| self.with_parts(parts.to_vec()))
    }

    /// Returns one request for each of its records.
    pub fn split_each(&self) -> Vec<Self> {
        self.parts
            .chunks(1)
            .map(|part| self.with_parts(part.to_vec()))
            .collect()
    }

    /// Returns the request to send. With `MultiRecord`, a single record that may be the cause of a failure is in the
    /// request twice, because some containers fail on a single row. Only its first prediction counts.
    #[must_use]
    pub fn for_attempt(self: &Arc<Self>, is_doubtful: bool) -> Arc<Self> {
        let twice = self.body_template.body_bytes(2, 2 * self.first().input.len());
        if !is_doubtful || !self.has_one_record() || twice > self.several_bytes_max {
            return Arc::clone(self);
        }
        let parts = self.parts.iter().cycle().take(2);
        Arc::new(self.with_parts(parts.cloned().collect()))
    }

    /// Returns whether one of the records of `other` is in this request.
    pub fn has_record_of(&self, other: &Self) -> bool {
        let mut ids = other.parts.iter().map(|part| &part.id);
        ids.any(|id| self.parts.iter().any(|part| part.id == *id))
    }

    /// Returns the size of the model inputs and URLs of [`to_probe`](Self::to_probe), in bytes.
    pub fn probe_bytes(&self) -> usize {
        let bytes = |part: &Part| part.input.len() + part.path_and_query.as_deref().map_or(0, str::len);
        self.probe_parts().map(bytes).sum()
    }

    /// Returns a request for its first two records, with copies of their model inputs. Some containers fail on a
    /// single row, so one record is not enough. Without the copies, the request would keep the memory of the whole
    /// batch alive.
    #[must_use]
    pub fn to_probe(&self) -> Self {
        let parts = self.probe_parts().map(|part| Part {
            input: Bytes::copy_from_slice(&part.input),
            ..part.clone()
        });
        self.with_parts(parts.collect())
    }

    fn probe_parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().take(2)
    }

    fn first(&self) -> &Part {
        self.parts.first().expect("a request has a record")
    }

    fn with_parts(&self, parts: Vec<Part>) -> Self {
        Self {
            parts,
            body_template: Arc::clone(&self.body_template),
            target_model: self.target_model.clone(),
            several_bytes_max: self.several_bytes_max,
        }
    }
}
