//! Tests of hedged attempts, which make two calls for one request.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use super::*;
use crate::endpoint::Call;

/// The duration of a call in milliseconds, and its result.
type ScriptedCall = (u64, Result<(), FaultKind>);

const HANGS: ScriptedCall = (u64::MAX / 1_000_000, Ok(()));
const TIMEOUT: Duration = Duration::from_millis(400);

/// An endpoint whose calls end as scripted, one after the other.
struct ScriptedEndpoint(Mutex<VecDeque<ScriptedCall>>);

impl Endpoint for ScriptedEndpoint {
    async fn invoke(&self, _: Call<'_>) -> Result<Response, Fault> {
        let call = self.0.lock().unwrap().pop_front();
        let (ms, end) = call.expect("a scripted call");
        sleep(Duration::from_millis(ms)).await;
        let response = Response {
            body: "1".into(),
            content_type: None,
            variant: None,
        };
        end.map(|()| response).map_err(|kind| Fault::new(kind, "scripted"))
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}

/// A hedge with latencies of 10 ms and the budget after this many first calls.
fn hedge(first_calls: usize) -> Hedge {
    let hedge = Hedge::after(95);
    (0..100).for_each(|_| hedge.record_answer(Duration::from_millis(10)));
    (0..first_calls).for_each(|_| _ = hedge.begin());
    hedge
}

fn invoker(capacity: usize, is_adaptive: bool, calls: &[ScriptedCall]) -> Invoker<ScriptedEndpoint> {
    let endpoint = ScriptedEndpoint(Mutex::new(calls.iter().copied().collect()));
    let capacity = Capacity::new(NonZeroUsize::new(capacity).unwrap(), is_adaptive);
    Invoker::new(endpoint, TIMEOUT, capacity, Some(hedge(100)))
}

struct Attempt {
    answer: Result<RecordOutputs, Fault>,
    took: Duration,
    /// Attempts and hedged calls.
    stats: (usize, usize),
}

async fn attempt(invoker: &Invoker<ScriptedEndpoint>) -> Attempt {
    let request = Arc::new(InferenceRequest::single(0, "a", ""));
    let (stats, started) = (CallStats::default(), Instant::now());
    let mut permit = invoker.capacity().acquire().await;
    let answer = invoker.attempt(&request, &mut permit, &stats).await;
    let stats = (
        stats.attempts.load(Ordering::Relaxed),
        stats.hedges.load(Ordering::Relaxed),
    );
    Attempt {
        answer,
        took: started.elapsed(),
        stats,
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedged_call_counts_as_a_hedge_and_not_as_an_attempt() {
    let quick = attempt(&invoker(4, true, &[(10, Ok(()))])).await;
    assert_eq!(quick.stats, (1, 0));
    let slow = attempt(&invoker(4, true, &[(300, Ok(())), (10, Ok(()))])).await;
    assert!(slow.answer.is_ok());
    assert_eq!(
        (slow.stats, slow.took),
        ((1, 1), Duration::from_millis(25)),
        "a call is slow after 1.5 times the median"
    );
}

#[tokio::test(start_paused = true)]
async fn if_both_calls_fail_transiently_the_first_calls_fault_is_returned() {
    for (first_ms, hedged_ms, took_ms) in [(30, 100, 115), (100, 5, 100)] {
        for (first, hedged) in [
            (FaultKind::Overload, FaultKind::Suspect),
            (FaultKind::Suspect, FaultKind::Unreachable),
        ] {
            let calls = [(first_ms, Err(first)), (hedged_ms, Err(hedged))];
            let failed = attempt(&invoker(4, true, &calls)).await;
            assert_eq!(failed.answer.unwrap_err().kind, first);
            assert_eq!((failed.stats, failed.took), ((1, 1), Duration::from_millis(took_ms)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_fault_of_either_call_ends_the_attempt() {
    for kind in [FaultKind::Refused, FaultKind::Misconfigured] {
        for (calls, took_ms) in [
            ([(20, Err(kind)), (100, Ok(()))], 20),
            ([(300, Ok(())), (10, Err(kind))], 25),
            ([(20, Err(FaultKind::Overload)), (10, Err(kind))], 25),
            ([(100, Err(kind)), (10, Err(FaultKind::Overload))], 100),
        ] {
            let failed = attempt(&invoker(4, true, &calls)).await;
            assert_eq!(failed.answer.unwrap_err().kind, kind);
            assert_eq!(failed.took, Duration::from_millis(took_ms), "{calls:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn both_calls_share_the_timeout_of_one_attempt() {
    let hanging = attempt(&invoker(4, true, &[HANGS, HANGS])).await;
    assert_eq!(hanging.answer.unwrap_err().kind, FaultKind::Suspect);
    assert_eq!(
        hanging.took, TIMEOUT,
        "the timeout does not start again with the hedged call"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_calls_fault_is_returned_if_the_hedged_call_hangs() {
    let failed = attempt(&invoker(4, true, &[(30, Err(FaultKind::Overload)), HANGS])).await;
    assert_eq!(failed.answer.unwrap_err().kind, FaultKind::Overload);
    assert_eq!(failed.took, TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_a_hedged_call_is_free_when_that_call_ends() {
    let invoker = invoker(2, true, &[(300, Ok(())), (10, Err(FaultKind::Suspect))]);
    let permits = async {
        sleep(Duration::from_millis(20)).await;
        let during = invoker.capacity().try_acquire_for_hedge().is_some();
        sleep(Duration::from_millis(10)).await;
        (during, invoker.capacity().try_acquire_for_hedge().is_some())
    };
    let (slow, permits) = tokio::join!(attempt(&invoker), permits);
    assert!(slow.answer.is_ok());
    assert_eq!(permits, (false, true));
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_lost_for_any_results_of_the_two_calls() {
    let ends = [
        (30, Ok(())),
        (30, Err(FaultKind::Overload)),
        (300, Err(FaultKind::Refused)),
        HANGS,
    ];
    for first in ends {
        for hedged in ends {
            let invoker = invoker(3, false, &[first, hedged]);
            attempt(&invoker).await.answer.ok();
            sleep(Duration::from_secs(1)).await;
            let spare: Vec<_> = std::iter::from_fn(|| invoker.capacity().try_acquire_for_hedge()).collect();
            assert_eq!(spare.len(), 3, "{first:?}, {hedged:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_results_of_both_calls_move_the_limit() {
    let invoker = invoker(
        20,
        true,
        &[(300, Err(FaultKind::Suspect)), (10, Err(FaultKind::Overload))],
    );
    let limit = async {
        sleep(Duration::from_millis(50)).await;
        invoker.capacity().limit()
    };
    let (_, limit) = tokio::join!(attempt(&invoker), limit);
    assert!((limit - 18.0).abs() < f64::EPSILON, "{limit}");
}

#[tokio::test(start_paused = true)]
async fn a_spare_permit_is_returned_if_the_hedge_budget_is_empty() {
    let invoker = Invoker {
        hedge: Some(hedge(0)),
        ..invoker(2, true, &[(300, Ok(()))])
    };
    let slow = attempt(&invoker).await;
    assert_eq!((slow.stats, slow.took), ((1, 0), Duration::from_millis(300)));
    assert!(invoker.capacity().try_acquire_for_hedge().is_some());
}

/// An endpoint that cannot be called: each preparation takes a second and fails, or hangs.
struct UnpreparedEndpoint {
    hangs: bool,
}

impl Endpoint for UnpreparedEndpoint {
    async fn prepare(&self) -> Result<(), Fault> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(1)).await;
        Err(Fault::new(FaultKind::Unreachable, "STS is down"))
    }

    async fn invoke(&self, _: Call<'_>) -> Result<Response, Fault> {
        unreachable!("it is not prepared")
    }

    fn name(&self) -> &'static str {
        "unprepared"
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_time_a_preparation_returns_its_latest_fault() {
    for (hangs, expected) in [(false, "STS is down"), (true, "did not arrive before the deadline")] {
        let capacity = Capacity::new(NonZeroUsize::MIN, true);
        let invoker = Invoker::new(UnpreparedEndpoint { hangs }, TIMEOUT, capacity, None);
        let end = Instant::now() + Duration::from_secs(30);
        let fault = invoker.prepare(end).await.unwrap_err();
        assert_eq!((fault.kind, Instant::now()), (FaultKind::Unreachable, end));
        assert!(fault.summary.contains(expected), "{fault}");
    }
}
