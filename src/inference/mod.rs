//! User records in, inference requests out; responses in, predictions out. Calls nothing and delivers nothing.
//!
//! [`build`] makes the requests of a batch. [`read_prediction`] and [`split`] turn a response into predictions.
//! [`projection`] selects the part of a prediction that is delivered. [`format`] reads JSON, CSV and JSONPath.

mod body_template;
mod build;
pub mod format;
mod model_input;
mod prediction;
pub mod projection;
mod request;
mod split_response;

pub use body_template::Frame;
pub(crate) use build::sha256;
pub use build::{Requests, Rules, build};
pub use model_input::Rows;
pub use prediction::read_prediction;
pub use request::InferenceRequest;
pub use split_response::split;
