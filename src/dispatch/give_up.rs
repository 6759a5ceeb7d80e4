//! The end of a request that keeps failing by what may be its own fault: one for several records is split, an old record is
//! given up.
//!
//! The endpoint may be at fault as well, and an outage must never empty the stream into the dead letters. So the last
//! attempt at such a record, its second at least, comes when all others have ended, and counts against it only if a call
//! for another record began and was answered between the attempt before and this one, and one more after this one. Where
//! there was none, since the others' outcomes are remembered, a record that was answered before is called to find out.
//! What has no further attempt by its nature, a panic or a refusal in doubtful words, needs only the answer after it.
//!
//! A request is split if another call began and was answered after its last attempt, if need be one for a record of its
//! own, any of them; the halves, which have one attempt each, are split further if another was answered since they were
//! split off.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::scheduler::Scheduler;
use super::suspects::Suspect;
use super::{Dispatcher, call_span, annotate_span};
use crate::dispatch::attempt::RecordOutputs;
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::Fault;
use crate::outcome::{Outcome, Rejection, RejectionKind, catch_panic_async};

impl<E: Endpoint> Dispatcher<E> {
    /// Gives the suspects of the batch their outcomes, the lowest first. The first for which the endpoint does not speak
    /// is the last: it speaks for none.
    pub(super) async fn settle_suspects(&self, scheduler: &mut Scheduler) {
        while let Some((index, suspect)) = scheduler.first_suspect() {
            let request = scheduler.request(index);
            if scheduler.has_several_records(index) {
                if !self.obtain_evidence(scheduler, suspect.evidence_since, request.as_deref()).await {
                    return;
                }
                scheduler.split(index, Some(Instant::now()));
                self.drive(scheduler).await;
            } else if suspect.attempts_left > 0 {
                if !self.obtain_evidence(scheduler, suspect.evidence_since, request.as_deref()).await {
                    return;
                }
                let request = request.as_ref().expect("only a request has an attempt left");
                scheduler.stats().retries.fetch_add(1, Ordering::Relaxed);
                match self.attempt(scheduler, request).await {
                    Ok(Ok(answer)) => scheduler.on_answer(index, answer),
                    Ok(Err(fault)) => scheduler.on_suspect_fault(index, &suspect, fault),
                    Err(panicked) => scheduler.settle_without_answer(index, panicked),
                }
            } else if self.obtain_evidence(scheduler, suspect.evidence_since, request.as_deref()).await {
                scheduler.settle_request(index, give_up_rejection(&suspect).into());
            } else {
                return;
            }
        }
    }

    /// Whether the endpoint has answered another record since this `moment`, or does so when it is asked.
    async fn obtain_evidence(&self, scheduler: &mut Scheduler, moment: Instant, request: Option<&InferenceRequest>) -> bool {
        let recent_answers = self.invoker.recent_answers();
        if recent_answers.other_answered_since(moment, request) {
            return true;
        }
        let own_record = || {
            let several = request.filter(|request| !request.has_one_record())?;
            Some(Arc::new(several.random_single()))
        };
        let Some(probe) = recent_answers.probe_request(request).or_else(own_record) else {
            return false;
        };
        let is_answered = matches!(self.attempt(scheduler, &probe).await, Ok(Ok(_)));
        if is_answered {
            scheduler.on_probe_answer();
        }
        is_answered
    }

    async fn attempt(
        &self,
        scheduler: &mut Scheduler,
        request: &Arc<InferenceRequest>,
    ) -> Result<Result<RecordOutputs, Fault>, Outcome> {
        let mut permit = self.invoker.capacity().acquire_unpaced().await;
        let call = self.invoker.attempt(request, &mut permit, scheduler.stats());
        let call = async {
            let ended = catch_panic_async(call).await;
            annotate_span(&ended);
            ended
        };
        call.instrument(call_span(request)).await
    }
}

fn give_up_rejection(suspect: &Suspect) -> Rejection {
    let message = format!(
        "it is older than GIVE_UP_AFTER_S, and the endpoint answers others: {}",
        suspect.fault.describe()
    );
    Rejection {
        kind: RejectionKind::GivenUp,
        message,
    }
}
