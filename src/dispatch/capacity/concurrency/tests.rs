//! How far each event moves the concurrency.

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
async fn it_begins_with_all_that_there_may_be_and_is_never_more() {
    let (mut concurrency, start) = concurrency(20.0, 19.9);
    concurrency.raise(ROUND_TRIP, start);
    assert_limit(&concurrency, 20.0);
    concurrency.cap_at(30.0);
    assert_limit(&concurrency, 20.0);
}

#[tokio::test(start_paused = true)]
async fn a_tenth_less_beside_others_and_nothing_alone() {
    let (mut concurrency, start) = concurrency(20.0, 10.0);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 10.0);
    concurrency.on_throttled(true, true, start);
    assert_limit(&concurrency, 9.0);
    concurrency.on_throttled(true, false, start);
    assert_limit(&concurrency, 8.1);
}

/// What it comes to when one more call is throttled after so many that had the endpoint nearly to themselves.
fn one_more_throttled(calls: f64, answered: u32, throttled: u32) -> f64 {
    let (mut concurrency, start) = concurrency(20.0, calls);
    concurrency.low_limit_samples = LowLimitSamples { answered, throttled };
    concurrency.on_throttled(false, true, start);
    concurrency.limit()
}

#[tokio::test(start_paused = true)]
async fn below_three_the_share_that_was_answered_where_that_is_less_than_a_half() {
    for (calls, answered, throttled, expected) in [
        (2.9, 20, 20, 20.0 / 41.0),
        (1.0, 25, 74, 0.25),
        // As many as were throttled do not tell, nor do nineteen.
        (2.9, 20, 19, 2.9),
        (2.9, 19, 60, 2.9),
        // Above, others of this process are in flight as well.
        (3.0, 20, 60, 3.0),
    ] {
        let now = one_more_throttled(calls, answered, throttled);
        assert!(
            (now - expected).abs() < 1e-9,
            "{answered}, {throttled}: {now} is not {expected}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_while_they_are_few() {
    let (mut concurrency, start) = concurrency(20.0, 2.0);
    (0..20).for_each(|_| concurrency.on_answered());
    (0..20).for_each(|_| concurrency.on_throttled(false, true, start));
    assert_limit(&concurrency, 2.0);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 20.0 / 41.0);
}

#[tokio::test(start_paused = true)]
async fn how_calls_fared_is_forgotten_in_time() {
    let (mut concurrency, start) = concurrency(20.0, 2.0);
    concurrency.low_limit_samples = LowLimitSamples {
        answered: 20,
        throttled: 60,
    };
    (0..100).for_each(|_| concurrency.on_answered());
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 2.0);
    // And at once when there are more.
    concurrency.low_limit_samples.throttled = 60;
    concurrency.limit = 3.0;
    concurrency.on_answered();
    concurrency.limit = 2.0;
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 2.0);
}

#[tokio::test(start_paused = true)]
async fn below_one_an_eighth_less_for_each_time_that_it_is_throttled_anew() {
    let (mut concurrency, start) = concurrency(20.0, 0.8);
    concurrency.on_throttled(false, true, start);
    assert_limit(&concurrency, 0.7);
    concurrency.on_throttled(false, false, start);
    assert_limit(&concurrency, 0.7);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_processes_find_room_and_it_never_ends() {
    let (mut concurrency, start) = concurrency(20.0, 0.5);
    (0..1000).for_each(|_| concurrency.on_throttled(false, true, start));
    assert_limit(&concurrency, 0.001);
    concurrency.cap_at(0.0);
    assert_limit(&concurrency, 0.001);
}

#[tokio::test(start_paused = true)]
async fn below_one_it_rises_by_the_square_of_the_round_trips_since_it_was_lowered() {
    let (mut concurrency, start) = concurrency(20.0, 0.6);
    concurrency.on_throttled(false, true, start);
    let lowered = concurrency.limit();
    for round_trips in [1, 2, 10, 100] {
        concurrency.raise(ROUND_TRIP, start + ROUND_TRIP * round_trips);
        assert_limit(&concurrency, lowered + 0.000_015 * f64::from(round_trips * round_trips));
    }
}

#[tokio::test(start_paused = true)]
async fn it_rises_by_one_at_most_however_long_it_was_not_lowered() {
    let (mut concurrency, start) = concurrency(20.0, 0.6);
    concurrency.raise(ROUND_TRIP, start + Duration::from_hours(1));
    assert_limit(&concurrency, 1.6);
    concurrency.raise(Duration::ZERO, start + Duration::from_hours(2));
    assert_limit(&concurrency, 1.6 + 1.6 / 25.0);
}

#[tokio::test(start_paused = true)]
async fn it_regains_half_of_what_it_was_before_the_calls_that_showed_the_endpoint_down() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_throttled(true, true, start);
    concurrency.cap_at(6.0);
    concurrency.on_outage();
    assert_limit(&concurrency, 1.0);
    assert!(
        concurrency.recover(false),
        "it is below what is known to be good, and not reached"
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
async fn timeouts_lower_it_by_a_tenth_down_to_one() {
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
async fn what_was_before_a_calm_round_trip_is_not_regained() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_throttled(true, true, start);
    concurrency.cap_at(6.0);
    concurrency.on_round_ended();
    concurrency.on_outage();
    (0..10).for_each(|_| _ = concurrency.recover(true));
    assert_limit(&concurrency, 6.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_on_the_way_back_is_too_much() {
    let (mut concurrency, start) = concurrency(20.0, 20.0);
    concurrency.on_outage();
    (0..4).for_each(|_| _ = concurrency.recover(true));
    concurrency.on_throttled(true, true, start);
    assert_limit(&concurrency, 4.5);
    assert!(!concurrency.recover(true));
}
