//! Tests of hedged calls, by attempts whose endpoint is hedged.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::task::unconstrained;

use super::*;
use crate::dispatch::attempt::{Invoker, RecordOutputs};
use crate::inference::InferenceRequest;
use crate::outcome::{AnswerMemory, FaultKind};

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
            custom_attributes: None,
        };
        end.map(|()| response).map_err(|kind| Fault::new(kind, "scripted"))
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}

type ScriptedInvoker = Invoker<Hedged<ScriptedEndpoint>>;

/// An invoker that knows a hundred latencies of 10 ms and has the budget after this many first calls.
fn invoker_with_budget(
    first_calls: usize,
    capacity: usize,
    is_adaptive: bool,
    calls: &[ScriptedCall],
) -> ScriptedInvoker {
    let endpoint = ScriptedEndpoint(Mutex::new(calls.iter().copied().collect()));
    let capacity = Capacity::new(NonZeroUsize::new(capacity).unwrap(), is_adaptive);
    let hedged = Hedged::new(endpoint, Some(95), TIMEOUT, capacity.clone());
    (0..100).for_each(|_| hedged.record_answer(Duration::from_millis(10), 95));
    (0..first_calls).for_each(|_| _ = hedged.begin());
    Invoker::new(hedged, TIMEOUT, capacity, AnswerMemory::new(usize::MAX))
}

fn invoker(capacity: usize, is_adaptive: bool, calls: &[ScriptedCall]) -> ScriptedInvoker {
    invoker_with_budget(100, capacity, is_adaptive, calls)
}

/// A permit for a hedged call, if one may be made now.
fn acquire_now(capacity: &Capacity) -> Option<Permit> {
    capacity.acquire_for_hedge().now_or_never()
}

struct Attempt {
    answer: Result<RecordOutputs, Fault>,
    took: Duration,
    /// Attempts and hedged calls.
    stats: (usize, usize),
    throttles: usize,
}

async fn attempt(invoker: &ScriptedInvoker) -> Attempt {
    let request = Arc::new(InferenceRequest::single(0, "a", ""));
    let (stats, started) = (Arc::<CallStats>::default(), Instant::now());
    let mut permit = invoker.capacity().acquire().await;
    let answer = invoker
        .attempt(&request, invoker.memory().reserve(false), &mut permit, &stats)
        .await;
    let throttles = stats.throttles.load(Ordering::Relaxed);
    let stats = (
        stats.attempts.load(Ordering::Relaxed),
        stats.hedges.load(Ordering::Relaxed),
    );
    Attempt {
        answer,
        took: started.elapsed(),
        stats,
        throttles,
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
        let during = acquire_now(invoker.capacity()).is_some();
        sleep(Duration::from_millis(10)).await;
        (during, acquire_now(invoker.capacity()).is_some())
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
            let free: Vec<_> = std::iter::from_fn(|| acquire_now(invoker.capacity())).collect();
            assert_eq!(free.len(), 3, "{first:?}, {hedged:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_overload_of_either_call_is_reported_once() {
    let (overload, suspect) = (Err(FaultKind::Overload), Err(FaultKind::Suspect));
    for calls in [
        [(300, suspect), (10, overload)],
        [(300, Ok(())), (10, overload)],
        [(30, suspect), (100, overload)],
        [(30, overload), (100, suspect)],
        [(30, overload), (100, Ok(()))],
        [(30, overload), HANGS],
    ] {
        let ended = attempt(&invoker(20, true, &calls)).await;
        assert_eq!(ended.throttles, 1, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overload_of_a_hedged_call_counts_while_the_first_call_goes_on() {
    let invoker = invoker(20, true, &[(300, Ok(())), (10, Err(FaultKind::Overload))]);
    let may_hedge = async {
        sleep(Duration::from_millis(50)).await;
        acquire_now(invoker.capacity()).is_some()
    };
    let (_, may_hedge) = tokio::join!(attempt(&invoker), may_hedge);
    assert!(!may_hedge, "no hedged call starts immediately after an overload");
}

#[tokio::test(start_paused = true)]
async fn no_call_is_hedged_if_the_budget_is_empty() {
    let invoker = invoker_with_budget(0, 2, true, &[(300, Ok(()))]);
    let slow = attempt(&invoker).await;
    assert_eq!((slow.stats, slow.took), ((1, 0), Duration::from_millis(300)));
    assert!(acquire_now(invoker.capacity()).is_some());
}

fn hedged(latencies_ms: impl IntoIterator<Item = u64>) -> Hedged<()> {
    let hedged = Hedged::new((), Some(95), TIMEOUT, Capacity::new(NonZeroUsize::MIN, true));
    for latency in latencies_ms {
        hedged.record_answer(Duration::from_millis(latency), 95);
    }
    hedged
}

#[test]
fn a_call_is_slow_beyond_the_percentile_of_the_latest_latencies() {
    let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
    assert_eq!(hedged(1..=99).begin(), None, "too few latencies");
    assert_eq!(hedged(1..=100).begin(), ms(95));
    assert_eq!(
        hedged((1..=100).chain([8; 512])).begin(),
        ms(12),
        "at least 1.5 times the median"
    );
    assert_eq!(
        hedged((0..128).map(|call| if call % 10 == 0 { 500 } else { 10 })).begin(),
        ms(500)
    );
}

/// Whether a call that is slow gets a hedged call at once.
fn hedges_now(hedged: &Hedged<()>) -> bool {
    let acquired = unconstrained(hedged.acquire_when_slow(Duration::ZERO));
    acquired.now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn at_most_one_call_in_twenty_is_hedged() {
    let hedged = hedged([]);
    for first in 1..=400 {
        hedged.begin();
        assert_eq!(hedges_now(&hedged), first % 20 == 0, "{first}");
    }
    (0..10_000).for_each(|_| _ = hedged.begin());
    assert_eq!(
        (0..100).filter(|_| hedges_now(&hedged)).count(),
        50,
        "the budget is limited"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_answered_before_its_hedged_call_starts_takes_nothing_from_the_budget() {
    let hedged = hedged([]);
    (0..40).for_each(|_| _ = hedged.begin());
    let first = hedged.capacity.acquire().await;
    for _ in 0..10 {
        assert!(!hedges_now(&hedged), "the only permit is in use");
    }
    drop(first);
    assert_eq!((0..10).filter(|_| hedges_now(&hedged)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_permit_have_withdrawn_their_budget() {
    let hedged = hedged([]);
    (0..40).for_each(|_| _ = hedged.begin());
    let first = hedged.capacity.acquire().await;
    let mut waiting: Vec<_> = (0..5)
        .map(|_| Box::pin(hedged.acquire_when_slow(Duration::ZERO)))
        .collect();
    assert!(waiting.iter_mut().all(|wait| wait.now_or_never().is_none()));
    drop(first);
    // The permit is returned at once, and the next call gets it.
    let granted = waiting.iter_mut().filter_map(FutureExt::now_or_never);
    assert_eq!(granted.count(), 2);
}
