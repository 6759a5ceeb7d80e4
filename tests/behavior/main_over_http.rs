//! The tests of `main.rs` with the scripted endpoint behind a URL, over the function's own HTTP code: calls are signed,
//! and each fault is a status. Modules that test only `SageMaker` are left out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod aws_stub;
#[allow(dead_code, reason = "the simulation uses other parts of it")]
mod cloud;
#[path = "../support/emf.rs"]
mod emf;
#[path = "../support/logs.rs"]
mod logs;
#[allow(dead_code, reason = "the tests of a SageMaker endpoint use more of it")]
mod replay;
#[allow(dead_code, reason = "a SageMaker endpoint has more kinds of errors")]
mod scripted;
mod support;
#[path = "transport/http.rs"]
mod transport;

mod adaptive;
mod alerts;
mod blame;
mod capacity;
mod deadline;
mod delivery;
mod destinations;
mod give_up;
mod halving;
mod hedge;
mod hedge_limits;
mod host_lookup;
mod hostile;
mod http;
mod identity;
mod immediate_retry;
mod kinesis_output;
mod memory;
mod metrics;
mod multi_record;
mod not_json;
mod one_outcome;
mod packing;
mod properties;
mod records;
mod redelivery;
mod refusals;
mod retry;
mod retry_after;
mod retry_budget;
mod retry_budget_limits;
mod shapes;
mod splitting;
mod stop;
mod throttled;
mod timeout;
mod unordered;
