//! What the Lambda service gives the function and expects of it: the time of an invocation, the event's bytes, the response
//! and the Tokio runtime. Knows nothing of endpoints or destinations.

pub mod raw_payload;
pub mod response;
pub mod runtime;
pub mod time_budget;
