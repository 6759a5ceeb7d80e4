use super::*;

/// A rate, and so many calls a second that have started for so many seconds.
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
async fn nothing_is_paced_until_there_was_one_too_many() {
    let (pacer, now) = pacer_after(5, 1000).await;
    assert_eq!((pacer.next_call_at(), pacer.calls_per_second(now)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn it_is_lowered_by_a_fifth_of_the_calls_of_the_last_second() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    assert_rate(&pacer, 40.0, now);
    let gap = pacer.next_call_at().unwrap() - now;
    assert!((24..=26).contains(&gap.as_millis()), "{gap:?}");
    // Long after them, they do not count; and fewer than five tell nothing.
    let (mut pacer, now) = pacer_after(3, 50).await;
    let later = now + METER_WINDOW * 2;
    pacer.on_start(later);
    pacer.on_rate_exceeded(later, later);
    assert_rate(&pacer, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn calls_that_began_before_it_was_lowered_say_nothing_more() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    pacer.on_rate_exceeded(now - Duration::from_millis(1), now + Duration::from_millis(1));
    assert_rate(&pacer, 40.0, now);
    pacer.on_rate_exceeded(now, now + Duration::from_millis(1));
    assert_rate(&pacer, 32.0, now + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn it_is_level_where_it_was_too_much_and_then_rises_ever_faster() {
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
async fn far_above_that_nothing_is_paced_any_more() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    pacer.on_start(now + Duration::from_secs(12));
    assert!(pacer.next_call_at().is_some());
    pacer.on_start(now + Duration::from_secs(15));
    assert_eq!(pacer.next_call_at(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_not_taken_for_good() {
    let (mut pacer, now) = pacer_after(3, 50).await;
    pacer.on_rate_exceeded(now, now);
    // A minute later one call is too many, though hundreds would have been allowed.
    let later = now + Duration::from_secs(12);
    pacer.on_start(later);
    pacer.on_rate_exceeded(later, later);
    assert_rate(&pacer, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn a_call_every_ten_seconds_is_the_least() {
    let now = Instant::now();
    let mut pacer = Pacer::new(now);
    for _ in 0..100 {
        pacer.on_rate_exceeded(now, now);
    }
    assert_rate(&pacer, 0.1, now);
    assert_eq!(pacer.next_call_at(), Some(now + Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn where_calls_are_few_it_is_level_after_twenty_of_them_or_fifteen_seconds() {
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
