//! Many instances that know nothing of each other, on one endpoint.

use std::ops::Range;

use crate::endpoint::{Limit, Nature};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

/// So many instances, and slots of the endpoint.
fn fleet(instances: usize, slots: u32, latency_ms: u64, measured: Range<u64>) -> Fleet {
    Fleet {
        name: format!("{instances} on {slots}"),
        instances,
        batch: 100,
        measured: seconds(measured),
        measured_static: Some(seconds(1..4)),
        ..Fleet::on(Nature::of(Limit::Concurrency(slots), latency_ms))
    }
}

#[track_caller]
fn assert_they_share(fleet: &Fleet) {
    let [_, adaptive] = compare(fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.9, "{goodput}");
    let (least, most) = adaptive.shares(&fleet.measured);
    assert!(most <= least * 2.0, "{least}–{most}");
}

#[test]
fn ten_share_what_is_there() {
    assert_they_share(&fleet(10, 64, 50, 5..35));
}

#[test]
fn a_hundred_share_what_is_there() {
    assert_they_share(&fleet(100, 200, 100, 5..30));
}

/// Below one call each, those that were unlucky at the start stay behind for long: this is not asserted away.
#[test]
fn a_hundred_use_what_is_there_with_less_than_one_call_each() {
    let fleet = fleet(100, 50, 100, 10..50);
    let [fixed, adaptive] = compare(&fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.9, "{goodput}");
    let throttled = [&fixed, &adaptive].map(|ran| ran.throttled(&ran.measured));
    assert!(throttled[1] * 2.0 < throttled[0], "{throttled:?}");
}

#[test]
fn a_thousand_use_what_is_there() {
    let fleet = Fleet {
        // What an instance answers in a minute, its timeout, about.
        batch: 20,
        measured_static: Some(seconds(1..3)),
        ..fleet(1000, 32, 100, 5..15)
    };
    let [_, adaptive] = compare(&fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.8, "{goodput}");
}
