//! What the function says about itself: logs, to standard error, since standard output belongs to `stdout:`.

/// Sends logs to standard error, in the format and from the level that Lambda's own settings ask for
/// (`AWS_LAMBDA_LOG_FORMAT`, `AWS_LAMBDA_LOG_LEVEL`).
///
/// # Panics
///
/// If the process has a subscriber already.
pub fn init_logs() {
    lambda_runtime::tracing::init_default_subscriber_with_writer(std::io::stderr);
}
