//! Real-time in-stream inference on AWS: a Lambda function that runs every record of a Kinesis stream through a
//! `SageMaker` endpoint, or any other behind a URL, and loses none.
//!
//! # The flow
//!
//! ```text
//! event JSON ─ event ─▶ Kinesis records ─ decode ─▶ user records ─ request ─▶ inference requests
//!    ─ fan_out (capacity, timeout, deadline) ─▶ Endpoint ─▶ outcomes ─ delivery ─▶ OUTPUT / DEAD_LETTER
//!    ─ checkpoint ─▶ {"batchItemFailures":[{"itemIdentifier": first unfinished sequence number}]}
//! ```
//!
//! The modules below stand in that order; [`handler`] is the straight line through them.
//!
//! # Invariants
//!
//! - Every user record ends in exactly one [`Outcome`](outcome::Outcome).
//! - No call starts behind a record that has failed by the endpoint's fault, none goes on when the answer is sent, and the
//!   answer is in time.
//! - A record is read and decoded on its own, and is alone in a call before that is held against it: neither a broken one
//!   nor a call that panics fails another for good.
//! - No more than CAPACITY calls are in flight in the process, however many invocations share it.
//! - In `ordered` mode what is delivered is a prefix of the batch, in its order; the answer names the first record that is
//!   not delivered. What ended behind it is remembered for the next time.
//! - Two seams, no more: [`Endpoint`](endpoint::Endpoint) and [`Output`](output::Output).

pub mod config;
pub mod delivery;
pub mod dispatch;
pub mod endpoint;
pub mod event;
pub mod handler;
pub mod inference;
pub mod lambda;
pub mod outcome;
pub mod telemetry;
