//! How far each event moves the level.

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn level(most: f64, settled: f64) -> (Level, Instant) {
    let start = Instant::now();
    let mut level = Level::new(most, start);
    level.settle(settled);
    (level, start)
}

#[track_caller]
fn assert_is(level: &Level, expected: f64) {
    assert!(
        (level.calls() - expected).abs() < 1e-9,
        "{} is not {expected}",
        level.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn it_begins_with_all_that_there_may_be_and_is_never_more() {
    let (mut level, start) = level(20.0, 19.9);
    level.raise(ROUND_TRIP, start);
    assert_is(&level, 20.0);
    level.settle(30.0);
    assert_is(&level, 20.0);
}

#[tokio::test(start_paused = true)]
async fn a_tenth_less_beside_others_and_nothing_alone() {
    let (mut level, start) = level(20.0, 10.0);
    level.throttled(false, true, start);
    assert_is(&level, 10.0);
    level.throttled(true, true, start);
    assert_is(&level, 9.0);
    level.throttled(true, false, start);
    assert_is(&level, 8.1);
}

/// What it comes to when one more call is throttled after so many that had the endpoint nearly to themselves.
fn one_more_throttled(calls: f64, answered: u32, throttled: u32) -> f64 {
    let (mut level, start) = level(20.0, calls);
    level.alone = Alone { answered, throttled };
    level.throttled(false, true, start);
    level.calls()
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
    let (mut level, start) = level(20.0, 2.0);
    (0..20).for_each(|_| level.answered());
    (0..20).for_each(|_| level.throttled(false, true, start));
    assert_is(&level, 2.0);
    level.throttled(false, true, start);
    assert_is(&level, 20.0 / 41.0);
}

#[tokio::test(start_paused = true)]
async fn how_calls_fared_is_forgotten_in_time() {
    let (mut level, start) = level(20.0, 2.0);
    level.alone = Alone {
        answered: 20,
        throttled: 60,
    };
    (0..100).for_each(|_| level.answered());
    level.throttled(false, true, start);
    assert_is(&level, 2.0);
    // And at once when there are more.
    level.alone.throttled = 60;
    level.calls = 3.0;
    level.answered();
    level.calls = 2.0;
    level.throttled(false, true, start);
    assert_is(&level, 2.0);
}

#[tokio::test(start_paused = true)]
async fn below_one_an_eighth_less_for_each_time_that_it_is_throttled_anew() {
    let (mut level, start) = level(20.0, 0.8);
    level.throttled(false, true, start);
    assert_is(&level, 0.7);
    level.throttled(false, false, start);
    assert_is(&level, 0.7);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_processes_find_room_and_it_never_ends() {
    let (mut level, start) = level(20.0, 0.5);
    (0..1000).for_each(|_| level.throttled(false, true, start));
    assert_is(&level, 0.001);
    level.settle(0.0);
    assert_is(&level, 0.001);
}

#[tokio::test(start_paused = true)]
async fn below_one_it_rises_by_the_square_of_the_round_trips_since_it_was_lowered() {
    let (mut level, start) = level(20.0, 0.6);
    level.throttled(false, true, start);
    let lowered = level.calls();
    for round_trips in [1, 2, 10, 100] {
        level.raise(ROUND_TRIP, start + ROUND_TRIP * round_trips);
        assert_is(&level, lowered + 0.000_015 * f64::from(round_trips * round_trips));
    }
}

#[tokio::test(start_paused = true)]
async fn it_rises_by_one_at_most_however_long_it_was_not_lowered() {
    let (mut level, start) = level(20.0, 0.6);
    level.raise(ROUND_TRIP, start + Duration::from_hours(1));
    assert_is(&level, 1.6);
    level.raise(Duration::ZERO, start + Duration::from_hours(2));
    assert_is(&level, 1.6 + 1.6 / 25.0);
}

#[tokio::test(start_paused = true)]
async fn it_regains_half_of_what_it_was_before_the_calls_that_showed_the_endpoint_down() {
    let (mut level, start) = level(20.0, 20.0);
    level.throttled(true, true, start);
    level.settle(6.0);
    level.goes_down();
    assert_is(&level, 1.0);
    assert!(
        level.regain(false),
        "it is below what is known to be good, and not reached"
    );
    assert_is(&level, 1.0);
    (2..=10).for_each(|calls| {
        assert!(level.regain(true));
        assert_is(&level, f64::from(calls));
    });
    assert!(!level.regain(true));
    assert_is(&level, 10.0);
}

#[tokio::test(start_paused = true)]
async fn timeouts_lower_it_by_a_tenth_down_to_one() {
    let (mut level, start) = level(20.0, 2.0);
    level.lower_by_a_tenth(start);
    assert_is(&level, 1.8);
    (0..100).for_each(|_| level.lower_by_a_tenth(start));
    assert_is(&level, 1.0);
    level.settle(0.5);
    level.lower_by_a_tenth(start);
    assert_is(&level, 0.5);
}

#[tokio::test(start_paused = true)]
async fn what_was_before_a_calm_round_trip_is_not_regained() {
    let (mut level, start) = level(20.0, 20.0);
    level.throttled(true, true, start);
    level.settle(6.0);
    level.round_ended();
    level.goes_down();
    (0..10).for_each(|_| _ = level.regain(true));
    assert_is(&level, 6.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_throttled_on_the_way_back_is_too_much() {
    let (mut level, start) = level(20.0, 20.0);
    level.goes_down();
    (0..4).for_each(|_| _ = level.regain(true));
    level.throttled(true, true, start);
    assert_is(&level, 4.5);
    assert!(!level.regain(true));
}
