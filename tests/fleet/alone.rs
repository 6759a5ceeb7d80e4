//! One instance that could make more calls than the endpoint takes.

use crate::endpoint::{Limit, Nature};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

#[test]
fn one_instance_finds_the_endpoints_limit() {
    let fleet = Fleet {
        name: "one instance".to_owned(),
        capacity: 128,
        // So many that the last calls of a batch, which no others follow, hardly count.
        batch: 5000,
        measured: seconds(2..10),
        measured_static: Some(seconds(0..3)),
        ..Fleet::on(Nature::of(Limit::Concurrency(32), 20))
    };
    let [_, adaptive] = compare(&fleet);
    let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
    assert!(goodput >= 0.95, "{goodput}");
    assert!(throttled <= 0.03, "{throttled}");
}
