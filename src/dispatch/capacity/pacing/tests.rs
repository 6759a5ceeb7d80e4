use super::*;

/// A rate, and so many calls a second that have started for so many seconds.
async fn after(seconds: u32, per_second: u32) -> (Rate, Instant) {
    let mut rate = Rate::new(Instant::now());
    for _ in 0..seconds * per_second {
        rate.start(Instant::now());
        tokio::time::advance(WINDOW / per_second).await;
    }
    (rate, Instant::now())
}

#[track_caller]
fn assert_is(rate: &Rate, expected: f64, now: Instant) {
    let per_second = rate.per_second(now).unwrap();
    assert!(
        (per_second - expected).abs() < expected / 50.0,
        "{per_second} is not {expected}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_paced_until_there_was_one_too_many() {
    let (rate, now) = after(5, 1000).await;
    assert_eq!((rate.until(), rate.per_second(now)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn it_is_lowered_by_a_fifth_of_the_calls_of_the_last_second() {
    let (mut rate, now) = after(3, 50).await;
    rate.exceeded(now, now);
    assert_is(&rate, 40.0, now);
    let gap = rate.until().unwrap() - now;
    assert!((24..=26).contains(&gap.as_millis()), "{gap:?}");
    // Long after them, they do not count; and fewer than five tell nothing.
    let (mut rate, now) = after(3, 50).await;
    let later = now + WINDOW * 2;
    rate.start(later);
    rate.exceeded(later, later);
    assert_is(&rate, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn calls_that_began_before_it_was_lowered_say_nothing_more() {
    let (mut rate, now) = after(3, 50).await;
    rate.exceeded(now, now);
    rate.exceeded(now - Duration::from_millis(1), now + Duration::from_millis(1));
    assert_is(&rate, 40.0, now);
    rate.exceeded(now, now + Duration::from_millis(1));
    assert_is(&rate, 32.0, now + Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn it_is_level_where_it_was_too_much_and_then_rises_ever_faster() {
    let (mut rate, now) = after(3, 50).await;
    rate.exceeded(now, now);
    // 50 calls a second less 0.4 times the cube of 2.92 s are 40.
    let level = Duration::from_secs_f64(25_f64.cbrt());
    assert_is(&rate, 50.0, now + level);
    assert_is(&rate, 50.4, now + level + Duration::from_secs(1));
    assert_is(&rate, 49.6, now + level - Duration::from_secs(1));
    assert_is(&rate, 450.0, now + level + Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn far_above_that_nothing_is_paced_any_more() {
    let (mut rate, now) = after(3, 50).await;
    rate.exceeded(now, now);
    rate.start(now + Duration::from_secs(12));
    assert!(rate.until().is_some());
    rate.start(now + Duration::from_secs(15));
    assert_eq!(rate.until(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_is_not_taken_for_good() {
    let (mut rate, now) = after(3, 50).await;
    rate.exceeded(now, now);
    // A minute later one call is too many, though hundreds would have been allowed.
    let later = now + Duration::from_secs(12);
    rate.start(later);
    rate.exceeded(later, later);
    assert_is(&rate, 4.0, later);
}

#[tokio::test(start_paused = true)]
async fn a_call_every_ten_seconds_is_the_least() {
    let now = Instant::now();
    let mut rate = Rate::new(now);
    for _ in 0..100 {
        rate.exceeded(now, now);
    }
    assert_is(&rate, 0.1, now);
    assert_eq!(rate.until(), Some(now + Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn where_calls_are_few_it_is_level_after_twenty_of_them_or_fifteen_seconds() {
    let (mut rate, at) = after(3, 2).await;
    rate.exceeded(at, at);
    assert_is(&rate, 4.0, at);
    assert_is(&rate, 5.0, at + Duration::from_secs(4));
    let (mut rate, at) = after(3, 2).await;
    (0..10).for_each(|_| rate.exceeded(at, at));
    let lowered = 5.0 * LOWERED.powi(10);
    assert_is(&rate, lowered, at);
    assert_is(&rate, lowered / LOWERED, at + Duration::from_secs(15));
}
