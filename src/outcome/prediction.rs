//! One record's prediction, as data.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

/// One record's prediction.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// What the model answered.
    pub output: ModelOutput,
    /// The production variant that answered, where the endpoint told one.
    pub variant: Option<Arc<str>>,
}

/// A model's answer, by what it can be shown as.
#[derive(Debug, Clone)]
pub enum ModelOutput {
    /// A JSON value, its numbers just as the model wrote them, without line breaks.
    Json(Box<RawValue>),
    /// Text that is no JSON, or that the endpoint called text.
    Text(String),
    /// Anything else.
    Bytes(Bytes),
}
