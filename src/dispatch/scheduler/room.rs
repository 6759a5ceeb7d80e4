//! The room for answers: which request may start, and the wait until another may.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::Scheduler;
use crate::dispatch::DELIVERY_ENDED;
use crate::endpoint::Endpoint;

impl<E: Endpoint> Scheduler<'_, E> {
    /// Returns whether a call may start.
    pub(in crate::dispatch) fn has_ready(&self) -> bool {
        let has_request = self.next_request().is_some_and(|index| self.has_room_for(index));
        has_request || !self.is_out_of_time && !self.urgent.is_empty()
    }

    /// Returns the index of the request that is ready and may start next, if there is room for its answer.
    fn next_request(&self) -> Option<usize> {
        let Reverse(index) = self.ready.peek()?;
        (*index < self.stop_index && !self.is_out_of_time && !self.is_in_doubt()).then_some(*index)
    }

    fn has_room_for(&self, index: usize) -> bool {
        self.dispatcher.invoker.memory().has_room() || self.is_needed(index)
    }

    /// Returns whether nothing can be delivered without an outcome of the request at this index.
    pub(super) fn is_needed(&self, index: usize) -> bool {
        self.work.needed_index.load(Ordering::SeqCst) == index
    }

    /// Returns whether a request waits for room for its answer, and delivery will make room. If delivery has ended, the
    /// answers after its end stay in memory, so no further call is made.
    pub(in crate::dispatch) fn will_have_room(&mut self) -> bool {
        let Some(index) = self.next_request().filter(|index| !self.has_room_for(*index)) else {
            return false;
        };
        let has_ended = self.is_needed(DELIVERY_ENDED);
        if has_ended {
            self.stop_at(index);
        }
        !has_ended
    }

    /// Waits while no call may start, until one event is handled or there may be room for another answer. Returns
    /// immediately if neither can happen.
    pub(in crate::dispatch) async fn wait_for_ready(&mut self) {
        let memory = self.dispatcher.invoker.memory();
        // Before the check, so that no change after the check is missed.
        let room = memory.changed();
        if self.has_ready() || !self.has_events() && !self.will_have_room() {
            return;
        }
        let waits_for_room = self.next_request().is_some();
        tokio::select! {
            biased;
            () = self.wait_for_event() => {}
            () = room, if waits_for_room => {}
        }
    }
}
