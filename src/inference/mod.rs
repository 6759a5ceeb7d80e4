//! User records in, inference requests out; responses in, predictions out. Makes no calls and delivers nothing.
//!
//! [`build`] builds the requests of a batch. [`read_prediction`] and [`split_response`] turn a response into
//! predictions.

mod body_template;
mod features;
mod json_template;
mod model_input;
mod not_json;
mod packing;
mod prediction;
mod prediction_list;
mod request;
mod split_response;
mod url_template;

pub use body_template::BodyTemplate;
pub use features::{Features, FeaturesError};
pub use json_template::{JsonTemplate, Placeholder, TemplateError};
pub use model_input::InputSpec;
pub use not_json::NotJson;
pub(crate) use packing::sha256;
pub use packing::{RequestSpec, Requests, build};
pub use prediction::read_prediction;
pub use request::InferenceRequest;
pub use split_response::{AnswerForm, Predictions, describe_shape, split_response};
pub use url_template::UrlTemplate;
