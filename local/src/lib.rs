//! The function on one machine: what stands around it in AWS, in small, on loopback.
//!
//! ```text
//! records ─ esm ─▶ runtime_api ◀─ the function's own process ─▶ sagemaker ─▶ model, or model_server
//!    ▲              (as many as there are batches at once)
//!    │                             └─ standard output ─▶ deliveries ─▶ files, summary
//!    └─ a file, or a stream behind a Kinesis API: source
//! ```
//!
//! Nothing here knows the function's code: any Lambda binary that reads Kinesis events can be driven.

// In reading order; the empty lines keep rustfmt from sorting them.

pub mod stream_command;

pub mod event_command;

pub mod redrive;

pub mod bench_command;

pub mod bench;

pub mod setup;

pub mod build;

pub mod environment;

pub mod function;

pub mod processes;

pub mod cargo_lambda;

pub mod lambda;

pub mod runtime_api;

pub mod stream;

pub mod source;

pub mod packing;

pub mod aggregate;

pub mod kinesis;

pub mod esm;

pub mod on_failure;

pub mod sagemaker;

pub mod gateway;

pub mod faults;

pub mod bodies;

pub mod model;

pub mod model_server;

pub mod transactions;

pub mod deliveries;

pub mod summary;

pub mod interrupt;

mod certificate;

mod server;
