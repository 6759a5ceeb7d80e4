//! Many independent instances on one endpoint.

use std::ops::Range;

use crate::endpoint::{EndpointSpec, Limit};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

/// Returns a fleet with this number of instances on an endpoint with this number of slots.
fn fleet(instances: usize, slots: u32, latency_ms: u64, measured: Range<u64>) -> Fleet {
    Fleet {
        name: format!("{instances} on {slots}"),
        instances,
        batch: 100,
        measured: seconds(measured),
        measured_static: Some(seconds(1..4)),
        ..Fleet::on(EndpointSpec::of(Limit::Concurrency(slots), latency_ms))
    }
}

#[track_caller]
fn assert_fair_shares(fleet: &Fleet) {
    let [_, adaptive] = compare(fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.95, "{goodput}");
    let throttled = adaptive.throttled(&fleet.measured);
    assert!(throttled <= 0.15, "{throttled}");
    let (least, most) = adaptive.shares(&fleet.measured);
    assert!(most <= least * 2.0, "{least}–{most}");
}

#[test]
fn ten_instances_share_the_endpoint() {
    assert_fair_shares(&fleet(10, 64, 50, 5..35));
}

#[test]
fn a_hundred_instances_share_the_endpoint() {
    assert_fair_shares(&fleet(100, 200, 100, 5..45));
}

/// With less than one slot per instance, instances with a bad start keep a small share for a long time. Therefore this
/// test does not check the shares.
#[test]
fn a_hundred_instances_use_an_endpoint_with_fewer_slots() {
    let fleet = fleet(100, 50, 100, 10..50);
    let [fixed, adaptive] = compare(&fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.9, "{goodput}");
    let throttled = [&fixed, &adaptive].map(|run| run.throttled(&run.measured));
    assert!(throttled[1] * 2.0 < throttled[0], "{throttled:?}");
}

#[test]
fn a_thousand_instances_use_the_endpoint() {
    let fleet = Fleet {
        // About as many records as one instance can finish within its timeout of one minute.
        batch: 20,
        measured_static: Some(seconds(1..3)),
        ..fleet(1000, 32, 100, 5..15)
    };
    let [_, adaptive] = compare(&fleet);
    let goodput = adaptive.goodput(&fleet.measured);
    assert!(goodput >= 0.8, "{goodput}");
}
