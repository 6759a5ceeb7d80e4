//! The prediction for one record, as data.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::AnswerReservation;

/// The prediction for one record.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// The model's output.
    pub output: ModelOutput,
    /// The production variant that answered, if the endpoint named it.
    pub variant: Option<Arc<str>>,
    /// Further parts of the answer that are delivered. Most answers have none.
    pub details: Option<Arc<AnswerDetails>>,
    /// The memory of the answer, which all predictions of the answer share.
    pub memory: Option<Arc<AnswerReservation>>,
}

/// Parts of an answer besides the prediction, which all predictions of the answer share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerDetails {
    /// The custom attributes, if the model sent them.
    pub custom_attributes: Option<String>,
    /// The media type of an answer that is neither JSON nor text, if the endpoint sent one.
    pub content_type: Option<String>,
}

/// The output of a model, in the most structured form that it can be delivered in.
#[derive(Debug, Clone)]
pub enum ModelOutput {
    /// A JSON value without line breaks. Numbers keep the model's own notation.
    Json(Box<RawValue>),
    /// Text that is not JSON, or that the endpoint's content type calls text.
    Text(String),
    /// Any other bytes.
    Bytes(Bytes),
}
