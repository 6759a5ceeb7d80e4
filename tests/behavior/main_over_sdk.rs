//! The tests of `main.rs` with the scripted endpoint as a `SageMaker` endpoint that is called with the AWS SDK, and the
//! tests of a `SageMaker` endpoint itself. Only in builds with the feature `sdk-client`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod aws_stub;
#[allow(dead_code, reason = "the simulation uses other parts of it")]
mod cloud;
#[path = "../support/emf.rs"]
mod emf;
#[path = "../support/logs.rs"]
mod logs;
#[allow(dead_code, reason = "an endpoint behind a URL has other responses")]
mod replay;
#[allow(dead_code, reason = "an endpoint behind a URL has more kinds of errors")]
mod scripted;
mod support;
#[path = "transport/sdk.rs"]
mod transport;

mod adaptive;
mod alerts;
mod answers;
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
mod requests;
mod retry;
mod retry_budget;
mod retry_budget_limits;
mod sagemaker;
mod shapes;
mod splitting;
mod stop;
mod throttled;
mod timeout;
mod unordered;
