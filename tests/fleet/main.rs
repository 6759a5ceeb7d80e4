//! Simulates many instances of the function on one endpoint with a limited size. Measures how much of the endpoint the
//! instances use, how many calls are throttled, and how evenly the answers are shared. Each scenario runs with a fixed
//! capacity (`static`) and with an adaptive one (`adaptive`).
//!
//! Each instance is a real handler behind a lane of the mapping. Only the endpoint, the network and the clock are
//! simulated. Everything runs on a paused clock and on one thread, so that a run can be repeated exactly.
//!
//! ```sh
//! cargo test --test fleet -- --nocapture                        # prints the table
//! TRACE=1 cargo test --test fleet one_instance -- --nocapture   # prints a line every half second
//! SEED=7 cargo test --test fleet -- --nocapture                 # other latencies and backoffs
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "the table is for a human reader")]

mod endpoint;
mod fleet;
mod instance;
mod ledger;
mod run_result;
mod table;
mod trace;

mod one_instance;
mod outages;
mod random_throttling;
mod sharing;
mod sizing;
mod usage_plan;

#[path = "../simulation/setting.rs"]
mod setting;

use endpoint::{EndpointSpec, Limit};
use fleet::{Capacity, Fleet, seconds};
use setting::setting;

#[test]
fn the_same_seed_gives_the_same_run() {
    let fleet = Fleet {
        instances: 5,
        capacity: 8,
        batch: 50,
        measured: seconds(0..5),
        ..Fleet::on(EndpointSpec::of(Limit::Concurrency(10), 50))
    };
    for capacity in Capacity::BOTH {
        let [first, second] = [fleet.run(capacity), fleet.run(capacity)];
        assert_eq!(first.ledger, second.ledger, "{capacity}");
        assert!(
            first.counts(&first.whole_run()).answered > 500,
            "too few answers: {capacity}"
        );
    }
}
