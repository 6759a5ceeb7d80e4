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

use super::scheduler::Batch;
use super::suspects::Suspect;
use super::{FanOut, call_span, note};
use crate::dispatch::attempt::Answer;
use crate::endpoint::Endpoint;
use crate::inference::InferenceRequest;
use crate::outcome::Fault;
use crate::outcome::{Outcome, Rejection, RejectionKind, catch_panic_async};

impl<E: Endpoint> FanOut<E> {
    /// Gives the suspects of the batch their outcomes, the lowest first. The first for which the endpoint does not speak
    /// is the last: it speaks for none.
    pub(super) async fn settle_suspects(&self, batch: &mut Batch) {
        while let Some((index, suspect)) = batch.first_suspect() {
            let request = batch.request(index);
            if batch.has_several(index) {
                if !self.answers_others(batch, suspect.failed_at, request.as_deref()).await {
                    return;
                }
                batch.split(index, Some(Instant::now()));
                self.drive(batch).await;
            } else if suspect.attempts > 0 {
                if !self.answers_others(batch, suspect.failed_at, request.as_deref()).await {
                    return;
                }
                let request = request.as_ref().expect("only a request has an attempt left");
                batch.tally().retries.fetch_add(1, Ordering::Relaxed);
                match self.attempt(batch, request).await {
                    Ok(Ok(answer)) => batch.answered(index, answer),
                    Ok(Err(fault)) => batch.failed_again(index, &suspect, fault),
                    Err(panicked) => batch.end_with(index, panicked),
                }
            } else if self.answers_others(batch, suspect.failed_at, request.as_deref()).await {
                batch.settle(index, given_up(&suspect).into());
            } else {
                return;
            }
        }
    }

    /// Whether the endpoint has answered another record since this `moment`, or does so when it is asked.
    async fn answers_others(&self, batch: &mut Batch, moment: Instant, request: Option<&InferenceRequest>) -> bool {
        let answers = self.caller.answers();
        if answers.answered_another_since(moment, request) {
            return true;
        }
        let of_its_own = || {
            let several = request.filter(|request| !request.is_lone())?;
            Some(Arc::new(several.any_one()))
        };
        let Some(another) = answers.another_request(request).or_else(of_its_own) else {
            return false;
        };
        let is_answered = matches!(self.attempt(batch, &another).await, Ok(Ok(_)));
        if is_answered {
            batch.answers_another();
        }
        is_answered
    }

    async fn attempt(
        &self,
        batch: &mut Batch,
        request: &Arc<InferenceRequest>,
    ) -> Result<Result<Answer, Fault>, Outcome> {
        let mut permit = self.caller.capacity().acquire_at_once().await;
        let call = self.caller.attempt(request, &mut permit, batch.tally());
        let call = async {
            let ended = catch_panic_async(call).await;
            note(&ended);
            ended
        };
        call.instrument(call_span(request)).await
    }
}

fn given_up(suspect: &Suspect) -> Rejection {
    let message = format!(
        "it is older than GIVE_UP_AFTER_S, and the endpoint answers others: {}",
        suspect.fault.describe()
    );
    Rejection {
        kind: RejectionKind::GivenUp,
        message,
    }
}
