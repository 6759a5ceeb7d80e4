//! The interface to the Lambda service. The event's bytes and an invocation's deadline enter, and the batch response
//! leaves. Also builds the Tokio runtime for the function's memory size. Never calls an endpoint or a destination.

pub mod raw_payload;
pub mod response;
pub mod runtime;
pub mod time_budget;
