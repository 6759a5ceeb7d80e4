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

// In reading order; the empty lines keep rustfmt from sorting them.

pub mod config;
pub mod handler;

pub mod deadline;

pub mod payload;

pub mod event;

pub mod decode;

pub mod memo;

pub mod request;

pub mod path;

pub mod media;

pub mod json;

pub mod row;

pub mod fan_out;

pub mod retry;

pub mod capacity;

pub mod hedge;

pub mod invoke;

pub mod answers;

pub mod endpoint;

pub mod environment;

pub mod connections;

mod aws_error;

pub mod prediction;

pub mod outcome;

pub mod delivery;

pub mod output;

pub mod checkpoint;

pub mod processors;

pub mod telemetry;
