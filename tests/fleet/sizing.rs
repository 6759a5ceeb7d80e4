//! The sizing rule, which is Little's law: instances × CAPACITY = records a second × latency. An endpoint with so many
//! slots is used up and throttles nothing; where it has fewer, the capacity adapts.

use crate::endpoint::{Limit, Nature};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

/// Shards times `ParallelizationFactor`.
const INSTANCES: usize = 4;
const CAPACITY: u32 = 20;

fn fleet(name: &str, slots: u32) -> Fleet {
    Fleet {
        name: name.to_owned(),
        instances: INSTANCES,
        capacity: CAPACITY,
        batch: 1000,
        measured: seconds(4..12),
        measured_static: Some(seconds(1..6)),
        ..Fleet::on(Nature::of(Limit::Concurrency(slots), 50))
    }
}

#[test]
fn sized_by_the_rule_nothing_is_throttled() {
    let fleet = fleet("sized by the rule", 4 * CAPACITY);
    for ran in compare(&fleet) {
        let goodput = ran.goodput(&ran.measured);
        assert!(goodput >= 0.95, "{}: {goodput}", ran.capacity);
        assert_eq!(ran.counts(&ran.all()).throttled, 0, "{}", ran.capacity);
    }
}

#[test]
fn on_half_an_endpoint_the_capacity_adapts() {
    let fleet = fleet("half of that", 2 * CAPACITY);
    let [_, adaptive] = compare(&fleet);
    let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
    assert!(goodput >= 0.9, "{goodput}");
    assert!(throttled <= 0.05, "{throttled}");
}
