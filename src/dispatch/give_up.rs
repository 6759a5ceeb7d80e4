//! The judgement of suspects: requests that keep failing and may themselves be the cause. A request for several records
//! is split, and an old record is given up.
//!
//! The endpoint may also be the cause, and an outage must never empty the stream into the dead letters. So the last
//! attempt at an old record, at least its second, is made after all other requests have finished. It counts against the
//! record only if the endpoint answers other records both before and after it. So two other calls must be
//! answered: one that starts between the previous attempt and the last attempt, and one that starts after the last
//! attempt. If there is no such call, because the outcomes of the
//! others are remembered, the dispatcher sends a probe: a request for a record that was answered before. After a panic
//! or a refusal of unclear cause, there is no further attempt, and only the answer after it is needed.
//!
//! A request for several records is split if another call started after its last attempt and was answered. If
//! necessary, the probe for it is a request for any one of its own records. Each half has one attempt. A half that
//! fails is split further if another call was answered since the half was split off.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::attempt::RecordOutputs;
use super::scheduler::Scheduler;
use super::suspects::Suspect;
use super::{Dispatcher, annotate_span, call_span};
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::{Fault, Outcome, Rejection, RejectionKind, catch_panic_async};

impl<E: Endpoint> Dispatcher<E> {
    /// Settles the suspects of the batch, the lowest index first. Stops at the first suspect without evidence that the
    /// endpoint works, because there is no evidence for the others either.
    pub(super) async fn settle_suspects(&self, scheduler: &mut Scheduler) {
        while let Some((index, suspect)) = scheduler.first_suspect() {
            let request = scheduler.request(index);
            if scheduler.has_several_records(index) {
                if !self
                    .obtain_evidence(scheduler, suspect.evidence_since, request.as_deref())
                    .await
                {
                    return;
                }
                scheduler.split(index, Some(Instant::now()));
                self.drive(scheduler).await;
            } else if suspect.attempts_left > 0 {
                if !self
                    .obtain_evidence(scheduler, suspect.evidence_since, request.as_deref())
                    .await
                {
                    return;
                }
                let request = request.as_ref().expect("a suspect with an attempt left has a request");
                scheduler.stats().retries.fetch_add(1, Ordering::Relaxed);
                match self.attempt(scheduler, request).await {
                    Ok(Ok(answer)) => scheduler.on_answer(index, answer),
                    Ok(Err(fault)) => scheduler.on_suspect_fault(index, &suspect, fault),
                    Err(panicked) => scheduler.settle_without_answer(index, panicked),
                }
            } else if self
                .obtain_evidence(scheduler, suspect.evidence_since, request.as_deref())
                .await
            {
                scheduler.settle_request(index, give_up_rejection(&suspect).into());
            } else {
                return;
            }
        }
    }

    /// Returns whether the endpoint has answered a call for another record that started after `moment`. Sends a probe
    /// if there is no such call.
    async fn obtain_evidence(
        &self,
        scheduler: &mut Scheduler,
        moment: Instant,
        request: Option<&InferenceRequest>,
    ) -> bool {
        let recent_answers = self.invoker.recent_answers();
        if recent_answers.has_other_answered_since(moment, request) {
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
        let call = async {
            self.invoker.prepare(scheduler.calls_end()).await?;
            let mut permit = self.invoker.capacity().acquire_immediately().await;
            self.invoker.attempt(request, &mut permit, scheduler.stats()).await
        };
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
        "the record is older than GIVE_UP_AFTER_S, and the endpoint answers other records: {}",
        suspect.fault.describe()
    );
    Rejection {
        kind: RejectionKind::GivenUp,
        message,
    }
}
