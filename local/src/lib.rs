//! Runs the function on one machine: small versions of the AWS services around it, on loopback.
//!
//! ```text
//! records ─ esm ─▶ runtime_api ◀─ the function's own process ─▶ sagemaker ─▶ model, or model_server
//!    ▲              (one process for each concurrent batch)
//!    │                             └─ standard output ─▶ deliveries ─▶ files, summary
//!    └─ a file, or a stream behind a Kinesis API: source
//! ```
//!
//! This crate does not depend on the function's code: it can run any Lambda binary that reads Kinesis events.
//!
//! # Modules in reading order
//!
//! - The commands: [`cli`] has the arguments of `cargo local`. [`stream_command`], [`event_command`], [`check_command`]
//!   and [`bench_command`] run its commands. [`mod@check`] has the trials of the third, and [`mod@bench`] has the
//!   measurements of the last.
//! - Starting the function: [`setup`] prepares what every command needs. [`build`] compiles the function,
//!   [`environment`] sets its variables, [`function`] starts one process, and [`processes`] keeps as many as there are
//!   invocations. [`cargo_lambda`] invokes a function that runs under `cargo lambda watch` instead, and [`lambda`]
//!   hides the difference. [`runtime_api`] is the API from which a process gets its events.
//! - The stream: [`stream`] has the records and the events built from them, [`source`] reads them from a file or, with
//!   [`kinesis`], from a Kinesis API. [`packing`] and [`aggregate`] pack records as a producer does. [`esm`] is the
//!   event source mapping, and [`on_failure`] is its destination for discarded batches.
//! - The endpoint: [`sagemaker`] is SageMaker Runtime, and [`gateway`] puts an API Gateway in front of it. [`faults`]
//!   injects faults. [`bodies`] splits requests into records for the built-in models [`model`] and [`fare`], and
//!   [`model_server`] forwards them to a model server instead. [`transactions`] and [`rides`] generate the records that
//!   the built-in models score.
//! - The result: [`deliveries`] collects what the function delivers, and [`summary`] reports the run.
//! - Tools: [`interrupt`] waits for Ctrl-C, [`private_file`] opens files with records, and [`server`] is an HTTP server
//!   on loopback. Its certificates are in `certificate`.

pub mod aggregate;
pub mod bench;
pub mod bench_command;
pub mod bodies;
pub mod build;
pub mod cargo_lambda;
mod certificate;
pub mod check;
pub mod check_command;
pub mod cli;
pub mod deliveries;
pub mod environment;
pub mod esm;
pub mod event_command;
pub mod fare;
pub mod faults;
pub mod function;
pub mod gateway;
pub mod interrupt;
pub mod kinesis;
pub mod lambda;
pub mod model;
pub mod model_server;
pub mod on_failure;
pub mod packing;
pub mod private_file;
pub mod processes;
pub mod rides;
pub mod runtime_api;
pub mod sagemaker;
pub mod server;
pub mod setup;
pub mod source;
pub mod stream;
pub mod stream_command;
pub mod summary;
pub mod transactions;
