//! Many instances of the function on one endpoint that has only so much room: how much of it they use, how often they are
//! turned away, and whether each has its share. With a fixed capacity (`static`) and with the one that adapts.
//!
//! Each instance is a real handler behind a lane of the mapping; only the endpoint, the network and the clock are not
//! real. All of it runs on a paused clock and on one thread, so that each run is the same.
//!
//! ```sh
//! cargo test --test fleet -- --nocapture                        # with the table
//! TRACE=1 cargo test --test fleet one_instance -- --nocapture   # one scenario, every half second of it
//! SEED=7 cargo test --test fleet -- --nocapture                 # other latencies, other waits
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "the table is for a person")]

mod endpoint;
mod fleet;
mod instance;
mod ledger;
mod ran;
mod table;
mod trace;

mod alone;
mod outages;
mod plan;
mod sharing;
mod sizing;

#[path = "../simulation/setting.rs"]
mod setting;

use endpoint::{Limit, Nature};
use fleet::{Capacity, Fleet, seconds};
use setting::setting;

#[test]
fn a_seed_brings_the_same_run_each_time() {
    let fleet = Fleet {
        instances: 5,
        capacity: 8,
        batch: 50,
        measured: seconds(0..5),
        ..Fleet::on(Nature::of(Limit::Concurrency(10), 50))
    };
    for capacity in Capacity::BOTH {
        let [first, second] = [fleet.run(capacity), fleet.run(capacity)];
        assert_eq!(first.ledger, second.ledger, "{capacity}");
        assert!(
            first.counts(&first.all()).answered > 500,
            "something happens: {capacity}"
        );
    }
}
