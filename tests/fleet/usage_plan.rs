//! An endpoint behind a usage plan, which limits the calls per second, not the calls in flight.

use std::time::Duration;

use instream::outcome::FaultKind;

use crate::endpoint::{EndpointSpec, Limit, Outage};
use crate::fleet::{Capacity, Fleet, seconds};
use crate::run_result::RunResult;
use crate::table::{compare, print, row};

const RECORDS: u16 = 1000;
/// The calls after which the burst is used up and the rate is paced.
const WARM_UP_CALLS: usize = 300;

/// Returns the run, measured from the end of the warm-up to the end of the run.
fn after_warm_up(run: RunResult) -> RunResult {
    RunResult {
        measured: run.ledger.time_after_calls(WARM_UP_CALLS)..run.elapsed,
        ..run
    }
}

/// Runs one instance on this limit, of 20 calls a second. Asserts that all records are answered, the rate is used, and
/// at most this share of the calls is throttled.
#[track_caller]
fn assert_approaches_the_rate(name: &str, limit: Limit, throttled_max: f64) {
    // The limit allows less than one call in flight, about one, and several.
    for latency_ms in [2, 20, 50, 200] {
        let fleet = Fleet {
            name: format!("{name}, {latency_ms} ms"),
            batch: 100,
            records: RECORDS.into(),
            measured: Duration::ZERO..Duration::from_mins(5),
            ..Fleet::on(EndpointSpec::of(limit, latency_ms))
        };
        let both = fleet.run_both().map(after_warm_up);
        print(&both.each_ref().map(row));
        let [_, adaptive] = both;
        let answered = adaptive.counts(&adaptive.whole_run()).answered;
        assert!(adaptive.is_done, "{answered} answered");
        // A record that is finished without an answer was rejected.
        assert_eq!(answered, u32::from(RECORDS));
        let throttled = adaptive.throttled(&adaptive.measured);
        assert!(throttled <= throttled_max, "{throttled} at {latency_ms} ms");
        let goodput = adaptive.goodput(&adaptive.measured);
        assert!(goodput >= 0.95, "{goodput} at {latency_ms} ms");
    }
}

#[test]
fn calls_stay_within_a_usage_plan() {
    let limit = Limit::Plan {
        per_second: 20,
        burst: 100,
    };
    assert_approaches_the_rate("plan", limit, 0.05);
}

/// Any other server's 429 may have any cause, so it lowers the limit. Below a limit of one, calls are spaced.
#[test]
fn calls_approach_a_rate_that_the_endpoint_does_not_name() {
    let limit = Limit::UnnamedPlan {
        per_second: 20,
        burst: 100,
    };
    assert_approaches_the_rate("unnamed plan", limit, 0.35);
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
            ..Fleet::on(EndpointSpec::of(limit, 50))
        };
        let [_, adaptive] = compare(&fleet);
        let (goodput, throttled) = (adaptive.goodput(&fleet.measured), adaptive.throttled(&fleet.measured));
        assert!(goodput >= 0.95, "{goodput}");
        assert!(throttled <= most_throttled, "{throttled}");
    }
}

#[test]
fn the_usage_plan_is_used_again_after_an_overload() {
    let limit = Limit::Plan {
        per_second: 20,
        burst: 100,
    };
    for outage_s in [5, 60] {
        let window = Duration::from_secs(20)..Duration::from_secs(20 + outage_s);
        let outage = Outage {
            window: window.clone(),
            kind: FaultKind::Overload,
        };
        let spec = EndpointSpec {
            outages: vec![outage],
            ..EndpointSpec::of(limit, 50)
        };
        let fleet = Fleet {
            name: format!("plan, {outage_s} s of outage"),
            batch: 100,
            measured: window.end + Duration::from_secs(10)..window.end + Duration::from_secs(40),
            ..Fleet::on(spec)
        };
        let adaptive = fleet.run(Capacity::Adaptive);
        print(&[row(&adaptive)]);
        let goodput = adaptive.goodput(&fleet.measured);
        assert!(goodput >= 0.9, "{goodput} after {outage_s} s");
    }
}
