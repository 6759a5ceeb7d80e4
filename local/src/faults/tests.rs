use super::*;

fn run(rates: Rates) -> (Vec<Option<InjectedFault>>, Counts) {
    let faults = Faults::new(rates);
    let names = (0..10_000).map(|number| format!("49590{number}-0"));
    let drawn = names.flat_map(|name| [(); 2].map(|()| faults.next(&[(name.as_bytes(), None)])));
    (drawn.collect(), faults.counts())
}

#[test]
fn faults_occur_at_their_rates_and_the_same_seed_gives_the_same_faults() {
    let rates = Rates {
        throttle: 0.1,
        error: 0.05,
        hang: 0.01,
        refuse: 0.02,
        seed: 7,
    };
    let (drawn, counts) = run(rates);
    // The base is 20,000 calls, less 2 % for the refused records. The tolerance is four standard deviations.
    assert!((1790..=2130).contains(&counts.throttled), "{counts:?}");
    assert!((858..=1102).contains(&counts.errors), "{counts:?}");
    assert!((140..=252).contains(&counts.hung), "{counts:?}");
    assert!((288..=512).contains(&counts.refused), "{counts:?}");
    assert_eq!(drawn, run(rates).0);
    assert_ne!(drawn, run(Rates { seed: 8, ..rates }).0);
    // A record is refused in every call or in none.
    let refused = |call: &Option<InjectedFault>| *call == Some(InjectedFault::Refuse);
    assert!(drawn.chunks(2).all(|calls| refused(&calls[0]) == refused(&calls[1])));
}

#[test]
fn a_rate_of_one_affects_every_call_and_a_rate_of_zero_none() {
    let all = Rates {
        throttle: 1.0,
        ..Rates::default()
    };
    assert_eq!(run(all).1.throttled, 20_000);
    assert_eq!(run(Rates::default()).1, Counts::default());
}

fn plain(record: &[u8]) -> (&[u8], Option<Marker>) {
    (record, None)
}

#[test]
fn a_record_that_is_refused_alone_is_refused_in_a_batch_and_no_other_is() {
    let rates = Rates {
        refuse: 0.02,
        ..Rates::default()
    };
    let names: Vec<_> = (0..1000).map(|number| format!("{number}").into_bytes()).collect();
    let alone = Faults::new(rates);
    let together = Faults::new(rates);
    let mut calls_refused = 0;
    for names in names.chunks(10) {
        let refused = names.iter().filter_map(|name| alone.next(&[plain(name)])).count();
        let records: Vec<_> = names.iter().map(|name| plain(name)).collect();
        assert_eq!(together.next(&records).is_some(), refused > 0);
        calls_refused += u64::from(refused > 0);
    }
    assert!(alone.counts().refused > calls_refused, "{:?}", alone.counts());
    assert_eq!(together.counts().refused, calls_refused, "one refusal per call");
}

#[test]
fn calls_fail_at_their_rates_for_any_number_of_records() {
    let faults = Faults::new(Rates {
        throttle: 0.1,
        hang: 0.05,
        ..Rates::default()
    });
    for call in 0..2000 {
        let names: Vec<_> = (0..50).map(|number| format!("{call}-{number}").into_bytes()).collect();
        let records: Vec<_> = names.iter().map(|name| plain(name)).collect();
        faults.next(&records);
    }
    let counts = faults.counts();
    // The tolerance is four standard deviations.
    assert!((147..=253).contains(&counts.throttled), "{counts:?}");
    assert!((62..=138).contains(&counts.hung), "{counts:?}");
}

#[test]
fn a_call_has_the_most_severe_fault_of_its_records_and_counts_for_each_of_them() {
    let faults = Faults::new(Rates::default());
    let marked = [
        "refuse",
        "error, refuse",
        "throttle",
        "hang",
        "refuse, refuse, refuse, refuse, error",
    ];
    let next = |count: usize| {
        let records = marked.iter().take(count);
        let records = records.map(|marker| (marker.as_bytes(), Some(Marker::parse(marker).unwrap())));
        faults.next(&records.collect::<Vec<_>>())
    };
    assert_eq!(next(4), Some(InjectedFault::Hang));
    assert_eq!(next(4), Some(InjectedFault::Refuse), "the second record's second fault");
    assert_eq!(next(4), None);
    assert_eq!(
        [(); 5].map(|()| next(5))[3..],
        [Some(InjectedFault::Refuse), Some(InjectedFault::Error)]
    );
}

/// Makes two calls for each of 10,000 records.
fn run_slow(rates: Rates, slow: Slow) -> (Vec<[Injection; 2]>, Counts) {
    let faults = Faults::new(rates).with_slow(Some(slow));
    let names = (0..10_000).map(|number| format!("49590{number}-0"));
    let call = |name: &str| {
        let injection = faults.draw(&[plain(name.as_bytes())]);
        faults.count(injection);
        injection
    };
    (
        names.map(|name| [(); 2].map(|()| call(&name))).collect(),
        faults.counts(),
    )
}

const SLOW_TENTH: Slow = Slow {
    share: 0.1,
    by: Duration::from_millis(500),
};

#[test]
fn a_share_of_the_calls_is_slow_and_each_call_for_a_record_is_drawn_separately() {
    let (drawn, counts) = run_slow(Rates::default(), SLOW_TENTH);
    let is_slow = |injection: Injection| !injection.delay.is_zero();
    let delays = drawn.iter().flatten().map(|injection| injection.delay);
    assert!(delays.clone().all(|delay| delay.is_zero() || delay == SLOW_TENTH.by));
    // The bases are 20,000 calls, 10,000 first calls, and the second calls of records with a slow first call. The
    // tolerance is four standard deviations.
    assert!((1830..=2170).contains(&counts.slow), "{counts:?}");
    let slow_at_first: Vec<_> = drawn.iter().filter(|[first, _]| is_slow(*first)).collect();
    assert!((880..=1120).contains(&slow_at_first.len()), "{}", slow_at_first.len());
    let slow_again = slow_at_first.iter().filter(|[_, second]| is_slow(*second)).count();
    assert!((62..=138).contains(&slow_again), "{slow_again}");
    assert_eq!(drawn, run_slow(Rates::default(), SLOW_TENTH).0);
    let other = Rates {
        seed: 8,
        ..Rates::default()
    };
    assert_ne!(drawn, run_slow(other, SLOW_TENTH).0);
}

#[test]
fn slow_calls_have_faults_at_the_same_rate_and_slowness_does_not_change_them() {
    let rates = Rates {
        throttle: 0.1,
        error: 0.1,
        ..Rates::default()
    };
    let (drawn, counts) = run_slow(rates, SLOW_TENTH);
    let injections = drawn.iter().flatten();
    let faults: Vec<_> = injections.clone().map(|injection| injection.fault).collect();
    assert_eq!(faults, run(rates).0);
    let slow = |fault: InjectedFault| {
        let of_them = injections.clone().filter(|injection| injection.fault == Some(fault));
        of_them.filter(|injection| !injection.delay.is_zero()).count()
    };
    // One in a hundred of 20,000. The tolerance is four standard deviations.
    let (throttled, errors) = (slow(InjectedFault::Throttle), slow(InjectedFault::Error));
    assert!((144..=256).contains(&throttled), "{throttled}");
    assert!((144..=256).contains(&errors), "{errors}");
    let all = injections.filter(|injection| !injection.delay.is_zero()).count();
    assert_eq!(counts.slow, (all - throttled) as u64, "a throttled call is not slow");
}
