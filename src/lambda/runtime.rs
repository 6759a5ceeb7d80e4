//! The Tokio runtime that suits the processors the function really has.
//!
//! Lambda shows at least two processors to every function, but gives time on them by memory: one full processor at
//! 1,769 MB (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>). Below that, threads only take
//! turns, and a runtime of one thread spares the hand-over between them.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// Memory that comes with one full processor, in MB.
const MEMORY_PER_PROCESSOR_MB: usize = 1769;

/// Builds the runtime: of one thread up to one processor, else of a thread a processor. `memory_mb` is Lambda's
/// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`; without it, what the machine shows counts.
///
/// # Errors
///
/// The operating system's own, if it grants no thread or no event queue.
pub fn runtime(memory_mb: Option<&str>) -> io::Result<Runtime> {
    let shown = || available_parallelism().map_or(1, std::num::NonZero::get);
    match processors(memory_mb.and_then(|memory| memory.parse().ok()), shown) {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

/// Whole processors, at least one and at most those `shown`. To look for them takes a few files: it is not done for one.
fn processors(memory_mb: Option<usize>, shown: impl Fn() -> usize) -> usize {
    match memory_mb.map(|memory| memory / MEMORY_PER_PROCESSOR_MB) {
        Some(0 | 1) => 1,
        Some(granted) => granted.clamp(1, shown().max(1)),
        None => shown().max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::processors;

    #[test]
    fn processors_come_with_memory() {
        for (memory_mb, shown, expected) in [
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
                processors(memory_mb, || shown),
                expected,
                "{memory_mb:?} MB, {shown} shown"
            );
        }
    }
}
