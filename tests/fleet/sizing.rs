//! The sizing rule, which is Little's law: instances × CAPACITY = records per second × latency. An endpoint with this
//! number of slots is fully used and throttles nothing. If it has fewer slots, the capacity adapts.

use crate::endpoint::{EndpointSpec, Limit};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

/// The number of shards times `ParallelizationFactor`.
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
        ..Fleet::on(EndpointSpec::of(Limit::Concurrency(slots), 50))
    }
}

#[test]
fn an_endpoint_sized_by_the_rule_throttles_nothing() {
    let fleet = fleet("sized by the rule", 4 * CAPACITY);
    for run in compare(&fleet) {
        let goodput = run.goodput(&run.measured);
        assert!(goodput >= 0.95, "{}: {goodput}", run.capacity);
        assert_eq!(run.counts(&run.whole_run()).throttled, 0, "{}", run.capacity);
    }
}

#[test]
fn the_capacity_adapts_to_half_the_slots() {
    let fleet = fleet("half the slots", 2 * CAPACITY);
    let [_, adaptive] = compare(&fleet);
    let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
    assert!(goodput >= 0.9, "{goodput}");
    assert!(throttled <= 0.05, "{throttled}");
}
