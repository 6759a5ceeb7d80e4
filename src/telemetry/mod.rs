//! Logs, metrics and traces. The result of an invocation enters. Logs go to standard error, metrics to standard output
//! (which the destination `stdout:` shares), and traces to a collector. Never writes a record, a prediction or a
//! secret.

pub mod emf;
mod histogram;
pub mod invocation_stats;
mod log_writer;
pub mod logs;
pub mod metric;
mod metric_value;
pub mod summary;
#[cfg(feature = "opentelemetry")]
pub mod traces;
