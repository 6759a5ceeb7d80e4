//! An endpoint that takes so many calls a second, however few are in flight.

use std::time::Duration;

use instream::endpoint::FaultKind;

use crate::endpoint::{Limit, Nature, Outage};
use crate::fleet::{Capacity, Fleet, seconds};
use crate::ran::Ran;
use crate::table::{compare, print, row};

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
    // Below one call in flight, just one, and several.
    for latency_ms in [2, 20, 50, 200] {
        let fleet = Fleet {
            name: format!("plan, {latency_ms} ms"),
            batch: 100,
            records: RECORDS.into(),
            measured: Duration::ZERO..Duration::from_mins(5),
            ..Fleet::on(Nature::of(limit, latency_ms))
        };
        let both = fleet.run_both().map(after_warm_up);
        print(&both.each_ref().map(row));
        let [_, adaptive] = both;
        let answered = adaptive.counts(&adaptive.all()).answered;
        assert!(adaptive.is_done, "{answered} answered");
        // What is finished without an answer was rejected.
        assert_eq!(answered, u32::from(RECORDS));
        let throttled = adaptive.throttled(&adaptive.measured);
        assert!(throttled <= 0.05, "{throttled} at {latency_ms} ms");
        let goodput = adaptive.goodput(&adaptive.measured);
        assert!(goodput >= 0.95, "{goodput} at {latency_ms} ms");
    }
}

#[test]
fn instances_share_a_usage_plan() {
    for (instances, per_second, most_throttled) in [(5, 100, 0.05), (20, 20, 0.15)] {
        let burst = per_second * 2;
        let limit = Limit::Plan { per_second, burst };
        let fleet = Fleet {
            name: format!("plan for {instances}"),
            instances,
            batch: 100,
            measured: seconds(20..120),
            measured_static: Some(seconds(3..8)),
            ..Fleet::on(Nature::of(limit, 50))
        };
        let [_, adaptive] = compare(&fleet);
        let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
        assert!(goodput >= 0.95, "{goodput}");
        assert!(throttled <= most_throttled, "{throttled}");
    }
}

#[test]
fn after_a_time_in_which_all_is_too_much_the_plan_is_used_again() {
    let limit = Limit::Plan {
        per_second: 20,
        burst: 100,
    };
    for seconds_away in [5, 60] {
        let away = Duration::from_secs(20)..Duration::from_secs(20 + seconds_away);
        let outage = Outage {
            window: away.clone(),
            kind: FaultKind::Overload,
        };
        let nature = Nature {
            outages: vec![outage],
            ..Nature::of(limit, 50)
        };
        let fleet = Fleet {
            name: format!("plan, away for {seconds_away} s"),
            batch: 100,
            measured: away.end + Duration::from_secs(10)..away.end + Duration::from_secs(40),
            ..Fleet::on(nature)
        };
        let adaptive = fleet.run(Capacity::Adaptive);
        print(&[row(&adaptive)]);
        let goodput = adaptive.goodput(&fleet.measured);
        assert!(goodput >= 0.9, "{goodput} after {seconds_away} s");
    }
}
