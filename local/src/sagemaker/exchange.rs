//! The requests that the container got, and its answers.

use bytes::Bytes;

/// A request to the container, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The body of the request.
    pub request: Bytes,
    /// The HTTP status of the answer; 0 if the container died or did not answer.
    pub status: u16,
    /// The body of the answer.
    pub answer: Bytes,
}

impl Exchange {
    /// Returns whether `SageMaker` passes the answer on as a prediction.
    pub fn is_prediction(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
