//! Builds the Tokio runtime for the number of vCPUs that the function really has.
//!
//! Every function sees at least two processors, but Lambda allocates CPU time in proportion to memory: one full vCPU at
//! 1,769 MB (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>). Below that size, threads only
//! take turns, and a single-threaded runtime avoids the cost of handing work over between them.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// The memory size at which a function has one full vCPU, in MB.
const MEMORY_PER_VCPU_MB: usize = 1769;

/// Builds a single-threaded runtime for up to one vCPU, and otherwise a runtime with one thread per vCPU. `memory_mb`
/// is Lambda's `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`. Without it, the number of processors that the machine reports counts.
///
/// # Errors
///
/// Returns the operating system's error if it grants no thread or no event queue.
pub fn build_runtime(memory_mb: Option<&str>) -> io::Result<Runtime> {
    let visible = || available_parallelism().map_or(1, std::num::NonZero::get);
    match vcpus(memory_mb.and_then(|memory| memory.parse().ok()), visible) {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

/// Returns the number of whole vCPUs: at least one, and at most the number of `visible` processors. Counting the
/// visible processors reads a few files, so it is skipped if the result is one in any case.
fn vcpus(memory_mb: Option<usize>, visible: impl Fn() -> usize) -> usize {
    match memory_mb.map(|memory| memory / MEMORY_PER_VCPU_MB) {
        Some(0 | 1) => 1,
        Some(granted) => granted.clamp(1, visible().max(1)),
        None => visible().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::vcpus;

    #[test]
    fn vcpus_come_with_memory() {
        for (memory_mb, visible, expected) in [
            (Some(128), 2, 1),
            (Some(1768), 2, 1),
            (Some(1769), 2, 1),
            (Some(3537), 2, 1),
            (Some(3538), 3, 2),
            (Some(10_240), 6, 5),
            (Some(10_240), 2, 2),
            (None, 4, 4),
            (None, 0, 1),
        ] {
            assert_eq!(
                vcpus(memory_mb, || visible),
                expected,
                "{memory_mb:?} MB, {visible} visible"
            );
        }
    }
}
