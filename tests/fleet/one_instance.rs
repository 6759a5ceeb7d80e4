//! One instance whose CAPACITY exceeds the endpoint's limit.

use crate::endpoint::{EndpointSpec, Limit};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

#[test]
fn one_instance_finds_the_endpoints_limit() {
    let fleet = Fleet {
        name: "one instance".to_owned(),
        capacity: 128,
        // Large, so that the end of a batch, where no new calls start, hardly counts.
        batch: 5000,
        measured: seconds(2..10),
        measured_static: Some(seconds(0..3)),
        ..Fleet::on(EndpointSpec::of(Limit::Concurrency(32), 20))
    };
    let [_, adaptive] = compare(&fleet);
    let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
    assert!(goodput >= 0.95, "{goodput}");
    assert!(throttled <= 0.03, "{throttled}");
}
