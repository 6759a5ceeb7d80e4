//! Tests of how the function handles batches, on a paused clock with a scripted endpoint.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[allow(dead_code, reason = "the simulation uses other parts of it")]
mod cloud;
#[path = "../support/emf.rs"]
mod emf;
#[path = "../support/logs.rs"]
mod logs;
mod replay;
mod scripted;
mod support;
#[path = "transport/direct.rs"]
mod transport;

mod adaptive;
mod alerts;
mod answers;
mod blame;
mod capacity;
mod deadline;
mod delivery;
mod destinations;
mod dispatcher;
mod give_up;
mod halving;
mod hedge;
mod hedge_batches;
mod hedge_limits;
mod immediate_retry;
mod kinesis_output;
mod memory;
mod metrics;
mod multi_record;
mod one_outcome;
mod packing;
mod preparation;
mod properties;
mod records;
mod redelivery;
mod refusals;
mod requests;
mod retry;
mod retry_after;
mod retry_budget;
mod retry_budget_limits;
mod sagemaker;
mod shapes;
mod splitting;
mod stop;
mod throttled;
mod timeout;
mod unordered;
