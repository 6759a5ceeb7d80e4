use super::*;

/// Processes a throttled call and, immediately afterwards, the next one, which ends like this. Returns whether the load
/// is the cause of the first.
fn throttle(detector: &mut CongestionDetector, is_repeated: bool) -> bool {
    let now = Instant::now();
    let is_load = detector.on_throttled(10, now);
    if detector.on_start(10, now) {
        detector.on_confirmed(is_repeated);
    }
    is_load
}

#[test]
fn throttling_that_repeats_is_congestion_and_one_call_in_five_is_confirmed() {
    let mut detector = CongestionDetector::new();
    let loads: Vec<_> = (0..70).map(|_| throttle(&mut detector, true)).collect();
    assert_eq!(loads[..8], [false, true, true, true, true, false, true, true]);
    assert_eq!(loads.iter().filter(|is_load| !**is_load).count(), 14);
}

#[test]
fn throttling_at_random_is_not_congestion() {
    for share in [0.05, 0.2, 0.5] {
        fastrand::seed(1);
        let mut detector = CongestionDetector::new();
        (0..1000).for_each(|_| _ = throttle(&mut detector, fastrand::f64() < share));
        assert!(
            (0..10_000).all(|_| !throttle(&mut detector, fastrand::f64() < share)),
            "{share}"
        );
    }
}

#[test]
fn congestion_is_detected_after_throttling_at_random() {
    let mut detector = CongestionDetector::new();
    (0..100).for_each(|_| _ = throttle(&mut detector, false));
    assert!((0..24).all(|_| !throttle(&mut detector, true)));
    assert!(throttle(&mut detector, true));
}

#[test]
fn the_end_of_congestion_is_reported_once() {
    let mut detector = CongestionDetector::new();
    let ends: Vec<_> = (1..=20).filter(|_| detector.on_confirmed(false)).collect();
    assert_eq!(ends, [12]);
}

#[test]
fn only_a_call_that_starts_immediately_with_as_many_in_flight_confirms() {
    let now = Instant::now();
    for (in_flight, delay_ms, expected) in [(10, 0, true), (11, 5, true), (9, 0, false), (10, 6, false)] {
        let mut detector = CongestionDetector::new();
        detector.on_throttled(10, now);
        let is_confirmation = detector.on_start(in_flight, now + Duration::from_millis(delay_ms));
        assert_eq!(is_confirmation, expected, "{in_flight}, {delay_ms} ms");
        assert!(!is_confirmation || !detector.on_start(20, now), "one call confirms");
    }
}

#[test]
fn a_throttled_call_that_no_call_confirmed_does_not_delay_the_reaction() {
    let now = Instant::now();
    let mut detector = CongestionDetector::new();
    assert!(!detector.on_throttled(10, now));
    assert!(detector.on_throttled(10, now + Duration::from_secs(1)));
}
