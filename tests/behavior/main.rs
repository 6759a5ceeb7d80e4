//! What the function does with a batch, story by story, on a paused clock against a scripted endpoint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[allow(dead_code, reason = "the simulation uses other parts of it")]
mod cloud;
#[path = "../support/emf.rs"]
mod emf;
#[path = "../support/logs.rs"]
mod logs;
#[path = "over/nothing.rs"]
mod over;
mod replay;
mod scripted;
mod support;

mod adaptive;
mod budget;
mod capacity;
mod deadline;
mod delivery;
mod destinations;
mod evidence;
mod give_up;
mod hedge;
mod kinesis_output;
mod metrics;
mod multi_record;
mod once_more;
mod one_outcome;
mod packing;
mod properties;
mod records;
mod redelivery;
mod retry;
mod retry_after;
mod retry_budget;
mod sagemaker;
mod second_calls;
mod shapes;
mod stop;
mod throttled;
mod timeout;
mod unordered;
