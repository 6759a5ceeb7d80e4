//! What the function says about itself: logs, to standard error, and metrics, to standard output, beside what is delivered
//! to `stdout:`.

use std::panic;

pub mod figures;
mod latencies;
pub mod metric;
pub mod metrics;
pub mod summary;

/// Sends logs to standard error, in the format and from the level that Lambda's own settings ask for
/// (`AWS_LAMBDA_LOG_FORMAT`, `AWS_LAMBDA_LOG_LEVEL`). A panic is told of by its place alone: its message may quote a
/// record.
///
/// # Panics
///
/// If the process has a subscriber already.
pub fn init() {
    lambda_runtime::tracing::init_default_subscriber_with_writer(std::io::stderr);
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect in the function: panicked");
    }));
}
