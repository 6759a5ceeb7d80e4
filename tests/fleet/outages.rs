//! An endpoint that is away for a minute: it is not bothered meanwhile, and called as before when it is back.

use std::ops::Range;
use std::time::Duration;

use instream::endpoint::FaultKind;

use crate::endpoint::{Limit, Nature, Outage};
use crate::fleet::Fleet;
use crate::ledger::Counts;
use crate::ran::Ran;
use crate::trace::spread;

const OUTAGE: Range<Duration> = Duration::from_secs(4)..Duration::from_secs(64);
const BEFORE: Range<Duration> = Duration::from_secs(2)..OUTAGE.start;
/// From 5 s after its end on.
const AFTER: Range<Duration> = Duration::from_secs(69)..Duration::from_secs(71);

fn fleet(capacity: u32, kind: FaultKind) -> Fleet {
    let window = OUTAGE;
    let endpoint = Nature {
        outages: vec![Outage { window, kind }],
        ..Nature::of(Limit::Concurrency(10_000), 20)
    };
    Fleet {
        name: format!("outage, {kind:?}, {capacity}"),
        capacity,
        measured: OUTAGE.start..AFTER.end,
        ..Fleet::on(endpoint)
    }
}

/// Which calls in the outage are few enough: what is in flight when it begins, what is made of that once more, and in
/// each delivery a call or two to see whether it is over.
fn few(ran: &Ran) -> u32 {
    3 * ran.fleet.capacity + 2 * ran.counts(&OUTAGE).deliveries
}

fn row(ran: &Ran) -> String {
    let Counts { calls, deliveries, .. } = ran.counts(&OUTAGE);
    let (before, after) = (ran.rate(&BEFORE), ran.rate(&AFTER));
    format!(
        "{:26} {:8}  {calls:4} calls in it (adaptive: {:3} at most) in {deliveries:2} deliveries; answers a second before \
         it {before:4.0}, from 5 s after it on {after:4.0}; limit at the end {}",
        ran.fleet.name,
        ran.capacity,
        few(ran),
        spread(&ran.limits)
    )
}

#[track_caller]
fn assert_it_is_spared_and_comes_back(capacity: u32, kind: FaultKind) {
    let both = fleet(capacity, kind).run_both();
    println!("{}\n", both.each_ref().map(row).join("\n"));
    let [_, adaptive] = both;
    let calls = adaptive.counts(&OUTAGE).calls;
    assert!(calls <= few(&adaptive), "{calls}");
    let (before, after) = (adaptive.rate(&BEFORE), adaptive.rate(&AFTER));
    assert!(after >= before * 0.9, "{before}, {after}");
}

#[test]
fn overloaded_with_a_capacity_of_20() {
    assert_it_is_spared_and_comes_back(20, FaultKind::Overload);
}

#[test]
fn overloaded_with_a_capacity_of_128() {
    assert_it_is_spared_and_comes_back(128, FaultKind::Overload);
}

#[test]
fn unreachable_with_a_capacity_of_20() {
    assert_it_is_spared_and_comes_back(20, FaultKind::Unreachable);
}

#[test]
fn unreachable_with_a_capacity_of_128() {
    assert_it_is_spared_and_comes_back(128, FaultKind::Unreachable);
}
