//! The dispatcher alone, without a handler.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use instream::dispatch::attempt::Invoker;
use instream::dispatch::capacity::Capacity;
use instream::dispatch::retry::{Backoff, RetryBudget, RetryPolicy};
use instream::dispatch::{DispatchPolicy, Dispatcher, Work};
use instream::inference::{InferenceRequest, Requests};
use instream::outcome::{AnswerMemory, Failure, Fault, FaultKind, Outcome, RejectionKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::scripted::ScriptedModel;
use crate::transport::endpoint;

/// Sends these requests with one permit and one attempt each. All records may be given up. Returns the outcomes in the
/// order of the records.
async fn dispatch(model: ScriptedModel, capacity: &Capacity, requests: Requests) -> Vec<Outcome> {
    let records = requests.to_send.len() + requests.settled.len();
    let invoker = Invoker::new(
        endpoint(model),
        Duration::from_secs(1),
        capacity.clone(),
        AnswerMemory::new(usize::MAX),
    );
    let policy = DispatchPolicy {
        retry: RetryPolicy {
            max_attempts: 1,
            backoff: Backoff {
                base: Duration::ZERO,
                cap: Duration::ZERO,
            },
        },
        is_rejected_unfinished: false,
        isolate_suspects: true,
    };
    let (outcomes, mut settled) = mpsc::unbounded_channel();
    let (_stop, stop_index) = watch::channel(usize::MAX);
    let work = Work {
        requests,
        trace_id: None,
        may_give_up: vec![true; records],
        outcomes,
        stop_index,
        needed_index: Arc::default(),
        calls_end: Instant::now() + Duration::from_mins(1),
    };
    Dispatcher::new(invoker, RetryBudget::new(1), policy, None)
        .run(work)
        .await;
    let mut settled: Vec<_> = std::iter::from_fn(|| settled.try_recv().ok()).collect();
    settled.sort_by_key(|(index, _)| *index);
    assert_eq!(settled.len(), records, "{settled:?}");
    settled.into_iter().map(|(_, outcome)| outcome).collect()
}

fn one_permit() -> Capacity {
    Capacity::new(NonZeroUsize::MIN, true)
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_credentials_holds_no_permit() {
    let model = ScriptedModel::default();
    let until = Instant::now() + Duration::from_secs(5);
    model.seen.lock().unwrap().unprepared = Some((until, FaultKind::Unreachable));
    let capacity = one_permit();
    let requests = Requests {
        to_send: vec![InferenceRequest::single(0, "0", "0")],
        settled: Vec::new(),
    };
    let waits = async {
        for _ in 0..49 {
            assert!(capacity.acquire().now_or_never().is_some());
            sleep(Duration::from_millis(100)).await;
        }
    };
    let (outcomes, ()) = tokio::join!(dispatch(model, &capacity, requests), waits);
    assert!(matches!(outcomes[..], [Outcome::Predicted(_)]), "{outcomes:?}");
}

/// A panic while the request of a record is built is a failure without a call.
#[tokio::test(start_paused = true)]
async fn a_record_without_a_request_is_given_up_only_if_the_endpoint_answers_others() {
    for others in [0, 1] {
        let panicked = Failure::Fault {
            fault: Fault::new(FaultKind::Suspect, "a panic"),
            request_records: 1,
        };
        let requests = Requests {
            to_send: (1..=others)
                .map(|index| InferenceRequest::single(index, "1", "1"))
                .collect(),
            settled: vec![(0, Outcome::Failed(panicked))],
        };
        let outcomes = dispatch(ScriptedModel::default(), &one_permit(), requests).await;
        if others == 0 {
            assert!(matches!(outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
        } else {
            let Outcome::Rejected(rejection) = &outcomes[0] else {
                panic!("{outcomes:?}");
            };
            assert_eq!(rejection.kind, RejectionKind::GivenUp);
        }
    }
}
