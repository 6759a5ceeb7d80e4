use super::*;

/// Returns a pacer after `seconds` with `calls_per_second` started calls, and the current time.
async fn pacer_after(seconds: u32, calls_per_second: u32) -> (Pacer, Instant) {
    let mut pacer = Pacer::new(Instant::now());
    for _ in 0..seconds * calls_per_second {
        pacer.on_start(Instant::now());
        tokio::time::advance(METER_WINDOW / calls_per_second).await;
    }
    (pacer, Instant::now())
}

#[track_caller]
fn assert_rate(pacer: &Pacer, expected: f64, now: Instant) {
    let per_second = pacer.calls_per_second(now).unwrap();
    assert!(
        (per_second - expected).abs() < expected / 50.0,
        "{per_second} is not {expected}"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_are_not_paced_until_one_is_throttled() {
    let (pacer, now) = pacer_after(5, 1000).await;
    assert_eq!((pacer.next_call_at(), pacer.calls_per_second(now)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_lowers_the_rate_to_four_fifths_of_the_last_second() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    assert_rate(&pacer, 40.0, now);
    let gap = pacer.next_call_at().unwrap() - now;
    assert!((24..=26).contains(&gap.as_millis()), "{gap:?}");
    // Calls older than that do not count, and a measured rate below five is raised to five.
    let (mut pacer, now) = pacer_after(3, 50).await;
    let later = now + METER_WINDOW * 2;
    pacer.on_start(later);
    pacer.on_rate_exceeded(later, later);
    assert_rate(&pacer, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn calls_that_began_before_the_decrease_do_not_lower_the_rate_again() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    pacer.on_rate_exceeded(now - Duration::from_millis(1), now + Duration::from_millis(1));
    assert_rate(&pacer, 40.0, now);
    pacer.on_rate_exceeded(now, now + Duration::from_millis(1));
    assert_rate(&pacer, 32.0, now + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn the_rate_levels_off_at_the_throttled_rate_and_then_rises_ever_faster() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    // 50 calls a second less 0.4 times the cube of 2.92 s are 40.
    let level = Duration::from_secs_f64(25_f64.cbrt());
    assert_rate(&pacer, 50.0, now + level);
    assert_rate(&pacer, 50.4, now + level + Duration::from_secs(1));
    assert_rate(&pacer, 49.6, now + level - Duration::from_secs(1));
    assert_rate(&pacer, 450.0, now + level + Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn pacing_ends_far_above_the_throttled_rate() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    pacer.on_start(now + Duration::from_secs(12));
    assert!(pacer.next_call_at().is_some());
    pacer.on_start(now + Duration::from_secs(15));
    assert_eq!(pacer.next_call_at(), None);
}

#[tokio::test(start_paused = true)]
async fn an_unused_allowance_does_not_count_as_the_measured_rate() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    // Twelve seconds later, one call is throttled, though hundreds would have been allowed.
    let later = now + Duration::from_secs(12);
    pacer.on_start(later);
    pacer.on_rate_exceeded(later, later);
    assert_rate(&pacer, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn the_lowest_rate_is_one_call_every_ten_seconds() {
    let now = Instant::now();
    let mut pacer = Pacer::new(now);
    for _ in 0..100 {
        pacer.on_rate_exceeded(now, now);
    }
    assert_rate(&pacer, 0.1, now);
    assert_eq!(pacer.next_call_at(), Some(now + Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_low_rate_levels_off_after_twenty_calls_or_fifteen_seconds() {
    let (mut pacer, at) = pacer_after(3, 2).await;
    pacer.on_rate_exceeded(at, at);
    assert_rate(&pacer, 4.0, at);
    assert_rate(&pacer, 5.0, at + Duration::from_secs(4));
    let (mut pacer, at) = pacer_after(3, 2).await;
    (0..10).for_each(|_| pacer.on_rate_exceeded(at, at));
    let lowered = 5.0 * DECREASE_FACTOR.powi(10);
    assert_rate(&pacer, lowered, at);
    assert_rate(&pacer, lowered / DECREASE_FACTOR, at + Duration::from_secs(15));
}
