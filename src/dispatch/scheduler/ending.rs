//! The end of an invocation's calls, and the outcomes of the records that have none.

use std::sync::Arc;

use super::Scheduler;
use crate::dispatch::attempt::CallStats;
use crate::endpoint::Endpoint;
use crate::outcome::{Failure, Outcome};

impl<E: Endpoint> Scheduler<'_, E> {
    /// Starts no further attempt. Calls in flight can still finish.
    pub(in crate::dispatch) fn stop_starting(&mut self) {
        self.is_out_of_time = true;
        self.waiting.clear();
    }

    /// Starts no further attempt, cancels the calls in flight and waits until they are gone. The result of a call that
    /// has just finished still counts.
    pub(in crate::dispatch) async fn cancel_all(&mut self) {
        self.stop_starting();
        self.calls.abort_all();
        while let Some(finished) = self.calls.join_next().await {
            self.on_joined(finished);
        }
    }

    /// Settles all records that still have no outcome, and returns the statistics of the calls. Records that may have
    /// caused a fault fail with it. Other records fail because a record before them failed, or because the time is
    /// over.
    pub(in crate::dispatch) fn into_stats(mut self) -> Arc<CallStats> {
        for witness in self.blame.witnesses() {
            self.fail_without_evidence(&witness);
        }
        let pending = self.requests.iter();
        let called: Vec<_> = pending
            .filter_map(|(index, pending)| Some((*index, pending.latest_failure.clone()?)))
            .collect();
        for (index, failure) in called {
            self.settle_request(index, Outcome::Failed(*failure));
        }
        for record in self.requests.values().flat_map(|pending| pending.request.records()) {
            let failure = if record >= self.stop_index {
                Failure::AfterFailure
            } else {
                Failure::OutOfTime
            };
            self.settle_record(record, Outcome::Failed(failure));
        }
        self.stats
    }
}
