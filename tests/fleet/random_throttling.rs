//! An endpoint that throttles calls at random, whatever is in flight. Fewer calls would not be throttled less, so the
//! limit must not fall.

use crate::endpoint::{EndpointSpec, Limit};
use crate::fleet::{Fleet, seconds};
use crate::table::compare;

/// Compares the answers a second with these capacities, and asserts that the adaptive capacity gets almost as many as
/// the fixed one.
#[track_caller]
fn assert_keeps_the_throughput(percents: &[u32]) {
    let mut rates = Vec::new();
    for &throttled_percent in percents {
        for capacity in [20, 64, 128] {
            let fleet = Fleet {
                name: "random throttling".to_owned(),
                capacity,
                // It takes up to five seconds to tell a broken half from congestion.
                measured: seconds(6..14),
                ..Fleet::on(EndpointSpec::of(Limit::Random { throttled_percent }, 20))
            };
            let [fixed, adaptive] = compare(&fleet).map(|run| run.rate(&run.measured));
            rates.push((throttled_percent, capacity, fixed, adaptive));
        }
    }
    let is_kept = |(_, _, fixed, adaptive): &(u32, u32, f64, f64)| *adaptive >= 0.8 * fixed;
    assert!(rates.iter().all(is_kept), "{rates:?}");
}

#[test]
fn random_throttling_does_not_lower_the_throughput() {
    assert_keeps_the_throughput(&[5, 10, 20]);
}

#[test]
fn half_of_the_endpoint_is_broken() {
    assert_keeps_the_throughput(&[50]);
}
