//! Tests of the steps by which each event moves the limit.

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn concurrency(max: f64, limit: f64) -> (Concurrency, Instant) {
    let start = Instant::now();
    let mut concurrency = Concurrency::new(max, start);
    concurrency.cap_at(limit);
    (concurrency, start)
}

#[track_caller]
fn assert_limit(concurrency: &Concurrency, expected: f64) {
    assert!(
        (concurrency.limit() - expected).abs() < 1e-9,
        "{} is not {expected}",
        concurrency.limit()
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_begins_at_its_maximum_and_never_exceeds_it() {
    let (mut concurrency, start) = concurrency(20.0, 19.9);
    concurrency.raise(ROUND_TRIP, start);
    assert_limit(&concurrency, 20.0);
    concurrency.cap_at(30.0);
    assert_limit(&concurrency, 20.0);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_lowers_the_limit_by_a_tenth_only_if_others_are_in_flight() {
    let (mut concurrency, start) = concurrency(20.0, 10.0);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 10.0);
    concurrency.on_throttled(true, true, start);
    assert_limit(&concurrency, 9.0);
    concurrency.on_throttled(true, false, start);
    assert_limit(&concurrency, 8.1);
}

/// Returns the limit after one more throttled call, with these samples of calls made at a low limit.
fn limit_after_one_more_throttled(calls: f64, answered: u32, throttled: u32) -> f64 {
    let (mut concurrency, start) = concurrency(20.0, calls);
    concurrency.low_limit_samples = LowLimitSamples { answered, throttled };
    concurrency.on_throttled(false, true, start);
    concurrency.limit()
}

#[tokio::test(start_paused = true)]
async fn below_three_the_limit_falls_to_the_answered_share_if_that_is_less_than_a_half() {
    for (calls, answered, throttled, expected) in [
        (2.9, 20, 20, 20.0 / 41.0),
        (1.0, 25, 74, 0.25),
        // As many answered as throttled calls are not enough, nor are nineteen answered calls.
        (2.9, 20, 19, 2.9),
        (2.9, 19, 60, 2.9),
        // From three on, other calls of this process are in flight as well.
        (3.0, 20, 60, 3.0),
    ] {
        let now = limit_after_one_more_throttled(calls, answered, throttled);
        assert!(
            (now - expected).abs() < 1e-9,
            "{answered}, {throttled}: {now} is not {expected}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn results_are_counted_while_the_limit_is_low() {
    let (mut concurrency, start) = concurrency(20.0, 2.0);
    (0..20).for_each(|_| concurrency.on_answered());
    (0..20).for_each(|_| concurrency.on_throttled(false, true, start));
    assert_limit(&concurrency, 2.0);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 20.0 / 41.0);
}

#[tokio::test(start_paused = true)]
async fn old_results_are_discarded() {
    let (mut concurrency, start) = concurrency(20.0, 2.0);
    concurrency.low_limit_samples = LowLimitSamples {
        answered: 20,
        throttled: 60,
    };
    (0..100).for_each(|_| concurrency.on_answered());
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 2.0);
    // A higher limit discards the samples immediately.
    concurrency.low_limit_samples.throttled = 60;
    concurrency.limit = 3.0;
    concurrency.on_answered();
    concurrency.limit = 2.0;
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 2.0);
}

#[tokio::test(start_paused = true)]
async fn below_one_the_first_of_several_throttled_calls_lowers_the_limit_by_an_eighth() {
    let (mut concurrency, start) = concurrency(20.0, 0.8);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 0.7);
    concurrency.on_throttled(false, false, start);
    assert_limit(&concurrency, 0.7);
}

#[tokio::test(start_paused = true)]
async fn the_lowest_limit_is_a_thousandth() {
    let (mut concurrency, start) = concurrency(20.0, 0.5);
    (0..1000).for_each(|_| concurrency.on_throttled(false, true, start));
    assert_limit(&concurrency, 0.001);
    concurrency.cap_at(0.0);
    assert_limit(&concurrency, 0.001);
}

#[tokio::test(start_paused = true)]
async fn below_one_the_limit_rises_with_the_square_of_the_round_trips_since_the_decrease() {
    let (mut concurrency, start) = concurrency(20.0, 0.6);
    concurrency.on_throttled(false, true, start);
    let lowered = concurrency.limit();
    for round_trips in [1, 2, 10, 100] {
        concurrency.raise(ROUND_TRIP, start + ROUND_TRIP * round_trips);
        assert_limit(&concurrency, lowered + 0.000_015 * f64::from(round_trips * round_trips));
    }
}

#[tokio::test(start_paused = true)]
async fn the_limit_rises_by_one_at_most_even_long_after_a_decrease() {
    let (mut concurrency, start) = concurrency(20.0, 0.6);
    concurrency.raise(ROUND_TRIP, start + Duration::from_hours(1));
    assert_limit(&concurrency, 1.6);
    concurrency.raise(Duration::ZERO, start + Duration::from_hours(2));
    assert_limit(&concurrency, 1.6 + 1.6 / 25.0);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_limit_recovers_to_half_of_its_value_before_the_overload() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_throttled(true, true, start);
    concurrency.cap_at(6.0);
    concurrency.on_outage();
    assert_limit(&concurrency, 1.0);
    assert!(
        concurrency.recover(false),
        "the limit is below the recovery target, and was not reached"
    );
    assert_limit(&concurrency, 1.0);
    (2..=10).for_each(|calls| {
        assert!(concurrency.recover(true));
        assert_limit(&concurrency, f64::from(calls));
    });
    assert!(!concurrency.recover(true));
    assert_limit(&concurrency, 10.0);
}

#[tokio::test(start_paused = true)]
async fn timeouts_lower_the_limit_by_a_tenth_down_to_one() {
    let (mut concurrency, start) = concurrency(20.0, 2.0);
    concurrency.lower_for_timeouts(start);
    assert_limit(&concurrency, 1.8);
    (0..100).for_each(|_| concurrency.lower_for_timeouts(start));
    assert_limit(&concurrency, 1.0);
    concurrency.cap_at(0.5);
    concurrency.lower_for_timeouts(start);
    assert_limit(&concurrency, 0.5);
}

#[tokio::test(start_paused = true)]
async fn the_limit_does_not_recover_to_a_value_before_a_round_trip_without_overload() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_throttled(true, true, start);
    concurrency.cap_at(6.0);
    concurrency.on_round_ended();
    concurrency.on_outage();
    (0..10).for_each(|_| _ = concurrency.recover(true));
    assert_limit(&concurrency, 6.0);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_during_recovery_ends_the_recovery() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_outage();
    (0..4).for_each(|_| _ = concurrency.recover(true));
    concurrency.on_throttled(true, true, start);
    assert_limit(&concurrency, 4.5);
    assert!(!concurrency.recover(true));
}
