//! What the benches take, made before anything is counted. What they only borrow lives until the process ends, so that
//! nobody counts how it is freed.

pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod handling;
pub(crate) mod settings;
pub(crate) mod signing;

/// How many user records each bench handles.
pub(crate) const RECORDS: usize = 500;
/// How many of them share a request, or a Kinesis record.
pub(crate) const TOGETHER: usize = 100;

/// Keeps a value for good.
pub(crate) fn keep<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
