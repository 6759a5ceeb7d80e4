//! The memory that answers take, from the first byte that is read until the prediction is delivered or forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// After each answer, the estimate of the size of an answer shrinks by one part in this many, but not below the size of
/// the answer. So it follows the largest of the recent answers.
const ESTIMATE_DECAY: usize = 16;

/// The memory for the answers of this process. All invocations share it.
///
/// A call reserves the estimated size of an answer. If its answer is larger and there is no room, the call is given up
/// and repeated later, so that the memory stays within its limit. Only one call of an invocation may exceed the limit:
/// the one without whose answer nothing can be delivered.
#[derive(Debug, Clone)]
pub struct AnswerMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    used: AtomicUsize,
    /// The estimated size of an answer, in bytes.
    estimate: AtomicUsize,
    /// Notified when there may be room again.
    changed: Notify,
}

/// There is no room for the answer. The call can be repeated when there is.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The memory of one answer. Dropping it releases the memory.
#[derive(Debug)]
pub struct AnswerReservation {
    memory: AnswerMemory,
    reserved: AtomicUsize,
    /// The number of bytes that have been read or will be read.
    expected: AtomicUsize,
    may_exceed: bool,
}

impl AnswerMemory {
    /// Creates a memory of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            bytes_max,
            used: AtomicUsize::new(0),
            estimate: AtomicUsize::new(0),
            changed: Notify::new(),
        }))
    }

    /// Returns whether there is room for another answer of the estimated size.
    pub fn has_room(&self) -> bool {
        let used = self.0.used.load(Ordering::SeqCst);
        used + self.0.estimate.load(Ordering::SeqCst) < self.0.bytes_max
    }

    /// Reserves the memory for one answer of the estimated size. With `may_exceed`, the answer gets its memory even if
    /// there is no room.
    pub fn reserve(&self, may_exceed: bool) -> AnswerReservation {
        let bytes = self.0.estimate.load(Ordering::SeqCst);
        self.0.used.fetch_add(bytes, Ordering::SeqCst);
        AnswerReservation {
            memory: self.clone(),
            reserved: AtomicUsize::new(bytes),
            expected: AtomicUsize::new(0),
            may_exceed,
        }
    }

    /// Waits until there may be room again. The wait starts with this call, not when it is first polled. So if a caller
    /// checks for room after this call, it misses no change.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Ends all waits. The caller has changed which call may exceed the limit.
    pub fn notify(&self) {
        self.0.changed.notify_waiters();
    }

    fn release(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::SeqCst);
        self.notify();
    }
}

impl AnswerReservation {
    /// Notes that the answer has `bytes` more bytes than were known.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if they are more than was reserved and there is no room for them.
    pub fn expect(&self, bytes: usize) -> Result<(), NoRoom> {
        let expected = self.expected.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let reserved = self.reserved.load(Ordering::SeqCst);
        let Some(more) = expected.checked_sub(reserved).filter(|more| *more > 0) else {
            return Ok(());
        };
        let shared = &self.memory.0;
        let used = shared.used.fetch_add(more, Ordering::SeqCst) + more;
        self.reserved.fetch_add(more, Ordering::SeqCst);
        if used > shared.bytes_max && !self.may_exceed {
            shared.estimate.fetch_max(expected, Ordering::SeqCst);
            return Err(NoRoom);
        }
        Ok(())
    }

    /// Keeps the memory of an answer of `bytes` and releases the rest.
    #[must_use]
    pub fn keep(self, bytes: usize) -> Self {
        let shared = &self.memory.0;
        let estimate = shared.estimate.load(Ordering::SeqCst);
        let decayed = estimate - estimate.div_ceil(ESTIMATE_DECAY);
        shared.estimate.store(decayed.max(bytes), Ordering::SeqCst);
        let reserved = self.reserved.swap(bytes, Ordering::SeqCst);
        shared.used.fetch_add(bytes, Ordering::SeqCst);
        self.memory.release(reserved);
        self
    }
}

impl Drop for AnswerReservation {
    fn drop(&mut self) {
        self.memory.release(self.reserved.load(Ordering::SeqCst));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn used(memory: &AnswerMemory) -> usize {
        memory.0.used.load(Ordering::SeqCst)
    }

    #[test]
    fn an_answer_holds_its_size_until_it_is_dropped() {
        let memory = AnswerMemory::new(100);
        let reservation = memory.reserve(false);
        assert_eq!(used(&memory), 0, "nothing is known of the size of answers");
        reservation.expect(30).unwrap();
        reservation.expect(30).unwrap();
        assert_eq!(used(&memory), 60);
        let reservation = reservation.keep(50);
        assert_eq!(used(&memory), 50);
        drop(reservation);
        assert_eq!(used(&memory), 0);
    }

    #[test]
    fn a_call_starts_if_there_is_room_for_the_largest_of_the_recent_answers() {
        let memory = AnswerMemory::new(100);
        let large = memory.reserve(false).keep(60);
        assert!(!memory.has_room());
        drop(large);
        assert!(memory.has_room());
        let reservation = memory.reserve(false);
        assert_eq!(used(&memory), 60);
        assert!(!memory.has_room());
        drop(reservation);
        for _ in 0..100 {
            drop(memory.reserve(false).keep(1));
        }
        assert_eq!(used(&memory), 0);
        drop(memory.reserve(false));
        assert_eq!(memory.0.estimate.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn only_a_call_that_may_exceed_the_limit_gets_more_than_there_is() {
        let memory = AnswerMemory::new(100);
        let held = memory.reserve(false).keep(90);
        let changed = memory.changed();
        let refused = memory.reserve(false);
        assert_eq!(refused.expect(200), Err(NoRoom));
        drop(refused);
        assert!(changed.now_or_never().is_some());
        let changed = memory.changed();
        let first = memory.reserve(true);
        assert_eq!(first.expect(200), Ok(()));
        assert!(used(&memory) >= 290);
        drop(first.keep(200));
        drop(held);
        assert_eq!(used(&memory), 0);
        assert!(changed.now_or_never().is_some());
        assert!(memory.changed().now_or_never().is_none(), "nothing has changed since");
    }
}
