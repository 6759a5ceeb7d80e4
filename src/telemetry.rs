//! What the function says about itself: logs and traces, to standard error and to a collector, and metrics, to standard
//! output, beside what is delivered to `stdout:`.

pub mod figures;
mod latencies;
pub mod logs;
pub mod metric;
pub mod metrics;
mod reading;
pub mod summary;
#[cfg(feature = "opentelemetry")]
pub mod traces;
