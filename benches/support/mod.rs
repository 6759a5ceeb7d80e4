//! Builds the input of the benches before the count starts. Borrowed input is leaked, so that freeing it is not
//! counted.

pub(crate) mod answers;
pub(crate) mod batch;
pub(crate) mod handling;
pub(crate) mod settings;
pub(crate) mod signing;

/// The number of user records in each bench.
pub(crate) const RECORDS: usize = 500;
/// The number of user records in one packed request or one aggregated Kinesis record.
pub(crate) const GROUP_SIZE: usize = 100;

/// Leaks a value and returns a reference to it.
pub(crate) fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
