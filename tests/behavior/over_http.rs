//! The same stories once more, with the scripted endpoint behind a URL, over the function's own HTTP: signed, and with a
//! status for each fault. What is left out is about `SageMaker` alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod around;
#[allow(dead_code, reason = "the simulation uses other parts of it")]
mod cloud;
#[path = "../support/emf.rs"]
mod emf;
#[path = "../support/logs.rs"]
mod logs;
#[path = "over/http.rs"]
mod over;
#[allow(dead_code, reason = "the tests of a SageMaker endpoint use more of it")]
mod replay;
#[allow(dead_code, reason = "a SageMaker endpoint says more")]
mod scripted;
mod support;

mod adaptive;
mod budget;
mod capacity;
mod deadline;
mod delivery;
mod destinations;
mod give_up;
mod hedge;
mod http;
mod identity;
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
mod second_calls;
mod shapes;
mod stop;
mod throttled;
mod timeout;
mod unordered;
