//! What the function says about itself: logs and traces, to standard error and to a collector, and metrics, to standard
//! output, beside what is delivered to `stdout:`.

pub mod emf;
mod histogram;
pub mod invocation_stats;
pub mod logs;
pub mod metric;
mod metric_value;
pub mod summary;
#[cfg(feature = "opentelemetry")]
pub mod traces;
