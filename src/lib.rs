//! Real-time in-stream inference on AWS: a Lambda function that scores every record of a Kinesis stream with a
//! `SageMaker` endpoint, or any model behind a URL, and loses none.
//!
//! # The flow
//!
//! ```text
//! event bytes ─ event ─▶ user records ─ inference ─▶ requests ─ dispatch ─▶ outcomes ─ delivery ─▶ destinations
//!                                                       │                                │
//!                                                    endpoint                         lambda: the batch response
//!                                     {"batchItemFailures":[{"itemIdentifier": first unfinished sequence number}]}
//! ```
//!
//! # The modules
//!
//! Start with [`handler`]: it follows one event through all stages in a straight line. Then read the modules in this
//! order. A module imports only modules above it in this list; `tests/modules.rs` checks that.
//!
//! - [`outcome`]: the shared vocabulary. How a record ends, why a call failed, what was predicted.
//! - [`format`]: JSON, CSV, `JSONPath` and event patterns.
//! - [`event`]: event bytes in, user records out. Reads, decompresses and de-aggregates each record by itself.
//! - [`lambda`]: the contract with Lambda. The time of an invocation, the event's bytes, the response, the runtime.
//! - [`endpoint`]: one call in, one response or fault out. `SageMaker` and HTTP, signatures, credentials, API keys.
//! - [`inference`]: user records in, requests out; responses in, predictions out.
//! - [`dispatch`]: requests in, outcomes out. Capacity, timeout, retries, and whether the record or the endpoint is to
//!   blame.
//! - [`delivery`]: outcomes in, lines at their destinations out. The ordered prefix, and the memo for redeliveries.
//! - [`telemetry`]: logs, metrics and traces.
//! - [`config`]: environment variables in, the settings of all stages out.
//! - [`handler`]: one event from bytes to response.
//!
//! # Invariants
//!
//! - Every user record ends with exactly one [`Outcome`](outcome::Outcome).
//! - If a record failed and the endpoint may be the cause, no call starts for any later record of the batch. When the
//!   response is sent, no call is in flight. The response is sent before the deadline.
//! - A record is read and decoded by itself, and is alone in a request before it is rejected for a fault of the
//!   request. So neither a broken record nor a call that panics makes another record fail for good.
//! - At most CAPACITY calls are in flight in the process, however many invocations share it.
//! - In `ordered` mode, the delivered records are a prefix of the batch, in order. The response names the first record
//!   that is not delivered. The outcomes of the records after it are remembered for the redelivery.
//! - There are two seams: [`Endpoint`](endpoint::Endpoint) and [`Destination`](delivery::destination::Destination).
//!
//! [`format`]: crate::format

pub mod config;
pub mod delivery;
pub mod dispatch;
pub mod endpoint;
pub mod event;
pub mod format;
pub mod handler;
pub mod inference;
pub mod lambda;
pub mod outcome;
pub mod telemetry;
