//! An endpoint that takes so many calls a second, however few are in flight.

use std::time::Duration;

use crate::endpoint::{Limit, Nature};
use crate::fleet::Fleet;
use crate::ran::Ran;
use crate::table::{print, row};

const RECORDS: u16 = 1000;
/// Calls until the burst is spent, and that has been noticed.
const WARM_UP: usize = 300;

/// A run, measured from the warm-up on to its end.
fn after_warm_up(ran: Ran) -> Ran {
    Ran {
        measured: ran.ledger.after_calls(WARM_UP)..ran.elapsed,
        ..ran
    }
}

#[test]
fn a_usage_plan_is_kept() {
    let limit = Limit::Plan {
        per_second: 20,
        burst: 100,
    };
    let fleet = Fleet {
        name: "plan".to_owned(),
        batch: 100,
        records: RECORDS.into(),
        measured: Duration::ZERO..Duration::from_mins(5),
        ..Fleet::on(Nature::of(limit, 20))
    };
    let both = fleet.run_both().map(after_warm_up);
    print(&both.each_ref().map(row));
    let [_, adaptive] = both;
    let answered = adaptive.counts(&adaptive.all()).answered;
    assert!(adaptive.is_done, "{answered} answered");
    // What is finished without an answer was rejected.
    assert_eq!(answered, u32::from(RECORDS));
    let throttled = adaptive.throttled(&adaptive.measured);
    assert!(throttled <= 0.05, "{throttled}");
    let goodput = adaptive.goodput(&adaptive.measured);
    assert!(goodput >= 0.9, "{goodput}");
}
