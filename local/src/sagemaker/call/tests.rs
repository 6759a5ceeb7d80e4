use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::super::invoke_endpoint::invoke_endpoint;
use super::*;
use crate::faults::{Rates, Slow};

const RECORD: &str = r#"["2026-03-14T12:00:00Z",9,"groceries","DE","DE","192.0.2.1"]"#;

fn shared(options: &EndpointOptions) -> Arc<Shared> {
    Arc::new(Shared::with_fraud_model(options))
}

/// A timeout on the paused clock. It passes as soon as every task is idle.
const NEVER: Duration = Duration::from_hours(1);

async fn call(shared: &Arc<Shared>, body: &'static str) -> StatusCode {
    let (shared, endpoint) = (State(Arc::clone(shared)), Path("mine".to_owned()));
    let answer = invoke_endpoint(shared, endpoint, HeaderMap::new(), Bytes::from_static(body.as_bytes()));
    timeout(NEVER, answer).await.expect("an answer").status()
}

/// Starts `calls` calls and waits until all of them are in flight.
async fn start(shared: &Arc<Shared>, calls: u64, body: &'static str) -> Vec<JoinHandle<StatusCode>> {
    let start = |_| {
        let shared = Arc::clone(shared);
        tokio::spawn(async move { call(&shared, body).await })
    };
    let started = (0..calls).map(start).collect();
    let mut in_flight = shared.in_flight.subscribe();
    let all = timeout(NEVER, in_flight.wait_for(|now| *now == calls)).await;
    assert!(all.is_ok(), "{calls} calls in flight");
    started
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_maximum_in_flight_are_throttled_until_the_others_are_answered() {
    let shared = shared(&EndpointOptions {
        max_in_flight: Some(3),
        ..EndpointOptions::default()
    });
    shared.held.send_replace(true);
    let mut started = start(&shared, 3, RECORD).await;
    // Repeated, because throttled calls must not count as in flight.
    for throttled in 1..=4 {
        assert_eq!(call(&shared, RECORD).await, StatusCode::BAD_REQUEST);
        assert_eq!(shared.faults.counts().throttled, throttled);
    }
    shared.held.send_replace(false);
    for answered in started.drain(..) {
        assert_eq!(answered.await.unwrap(), StatusCode::OK);
    }
    shared.held.send_replace(true);
    let started = start(&shared, 3, RECORD).await;
    shared.held.send_replace(false);
    for answered in started {
        assert_eq!(answered.await.unwrap(), StatusCode::OK, "as many as before");
    }
    assert_eq!(shared.faults.counts().throttled, 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_in_flight_until_its_client_disconnects() {
    let shared = shared(&EndpointOptions {
        max_in_flight: Some(1),
        ..EndpointOptions::default()
    });
    let hung = start(&shared, 1, r#"{"$fault":"hang"}"#).await;
    assert_eq!(call(&shared, RECORD).await, StatusCode::BAD_REQUEST);
    for hung in hung {
        hung.abort();
        assert!(hung.await.unwrap_err().is_cancelled());
    }
    assert_eq!(call(&shared, RECORD).await, StatusCode::OK);
}

#[test]
fn a_call_with_an_injected_throttle_takes_no_permit() {
    let shared = shared(&EndpointOptions {
        max_in_flight: Some(1),
        ..EndpointOptions::default()
    });
    let drawn = |fault| Injection {
        fault,
        delay: Duration::from_secs(1),
    };
    let throttled = shared.admit(drawn(Some(InjectedFault::Throttle)));
    let (admitted, permit) = shared.admit(drawn(Some(InjectedFault::Error)));
    assert_eq!((admitted.fault, permit.is_some()), (Some(InjectedFault::Error), true));
    let (too_many, _) = shared.admit(drawn(Some(InjectedFault::Error)));
    assert_eq!(too_many.fault, Some(InjectedFault::Throttle));
    drop(throttled);
    let counts = shared.faults.counts();
    assert_eq!((counts.throttled, counts.errors, counts.slow), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_takes_its_delay_longer_than_the_latency() {
    for (share, expected_ms) in [(0.0, 20), (1.0, 520)] {
        let shared = shared(&EndpointOptions {
            latency: Duration::from_millis(20),
            slow: Some(Slow {
                share,
                by: Duration::from_millis(500),
            }),
            ..EndpointOptions::default()
        });
        let started = Instant::now();
        assert_eq!(call(&shared, RECORD).await, StatusCode::OK);
        let took = started.elapsed().as_millis();
        // Tokio's timer fires at the next whole millisecond.
        assert!((expected_ms..=expected_ms + 1).contains(&took), "{share}: {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_refused_immediately_even_if_it_is_slow() {
    let shared = shared(&EndpointOptions {
        latency: Duration::from_millis(20),
        slow: Some(Slow {
            share: 1.0,
            by: Duration::from_millis(500),
        }),
        rates: Rates {
            throttle: 1.0,
            ..Rates::default()
        },
        ..EndpointOptions::default()
    });
    let started = Instant::now();
    assert_eq!(call(&shared, RECORD).await, StatusCode::BAD_REQUEST);
    assert_eq!(started.elapsed(), Duration::ZERO);
    let counts = shared.faults.counts();
    assert_eq!((counts.throttled, counts.slow), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_are_recorded_with_their_times_and_outcomes() {
    let shared = shared(&EndpointOptions {
        latency: Duration::from_millis(20),
        recorded_max: 10,
        ..EndpointOptions::default()
    });
    let (start, latency) = (Instant::now(), Duration::from_millis(20));
    call(&shared, RECORD).await;
    call(&shared, r#"{"$fault":"throttle"}"#).await;
    call(&shared, r#"{"$fault":"error"}"#).await;
    call(&shared, r#"{"$fault":"refuse"}"#).await;
    let hangs = call(&shared, r#"{"$fault":"hang"}"#);
    assert!(timeout(latency * 5, hangs).await.is_err(), "the caller disconnects");
    call(&shared, "no record").await;
    let recorded = shared.recorder.as_ref().unwrap().take();
    let times = recorded.calls.iter().map(|call| (call.outcome, call.end - call.start));
    assert_eq!(
        times.collect::<Vec<_>>(),
        [
            (CallOutcome::Answered, latency),
            (CallOutcome::Throttled, Duration::ZERO),
            (CallOutcome::Error, latency),
            (CallOutcome::Refused, latency),
            (CallOutcome::Cancelled, latency * 5),
            (CallOutcome::Refused, latency),
        ]
    );
    assert_eq!(recorded.calls[0].start, start);
    assert_eq!(recorded.counts, [1, 1, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_recorded_by_default() {
    let shared = shared(&EndpointOptions::default());
    call(&shared, RECORD).await;
    assert!(shared.recorder.is_none());
}
