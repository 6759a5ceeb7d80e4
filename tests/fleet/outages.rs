//! An endpoint that is down for a minute. It gets few calls during the outage, and as many as before after it.

use std::ops::Range;
use std::time::Duration;

use instream::outcome::FaultKind;

use crate::endpoint::{EndpointSpec, Limit, Outage};
use crate::fleet::Fleet;
use crate::ledger::Counts;
use crate::run_result::RunResult;
use crate::trace::min_median_max;

const OUTAGE: Range<Duration> = Duration::from_secs(4)..Duration::from_secs(64);
const BEFORE: Range<Duration> = Duration::from_secs(2)..OUTAGE.start;
/// Starts 5 s after the end of the outage.
const AFTER: Range<Duration> = Duration::from_secs(69)..Duration::from_secs(71);

fn fleet(capacity: u32, kind: FaultKind) -> Fleet {
    let window = OUTAGE;
    let endpoint = EndpointSpec {
        outages: vec![Outage { window, kind }],
        ..EndpointSpec::of(Limit::Concurrency(10_000), 20)
    };
    Fleet {
        name: format!("outage, {kind:?}, {capacity}"),
        capacity,
        measured: OUTAGE.start..AFTER.end,
        ..Fleet::on(endpoint)
    }
}

/// Returns the maximum number of calls during the outage: three per permit, for the calls in flight when it begins and
/// their retries, and two per delivery to find out whether it is over.
fn calls_max(run: &RunResult) -> u32 {
    3 * run.fleet.capacity + 2 * run.counts(&OUTAGE).deliveries
}

fn row(run: &RunResult) -> String {
    let Counts { calls, deliveries, .. } = run.counts(&OUTAGE);
    let (before, after) = (run.rate(&BEFORE), run.rate(&AFTER));
    format!(
        "{:26} {:8}  {calls:4} calls (adaptive: at most {:3}) in {deliveries:2} deliveries during it; answers per \
         second: {before:4.0} before it, {after:4.0} from 5 s after it; limits at the end {}",
        run.fleet.name,
        run.capacity,
        calls_max(run),
        min_median_max(&run.limits)
    )
}

#[track_caller]
fn assert_few_calls_then_full_rate(capacity: u32, kind: FaultKind) {
    let both = fleet(capacity, kind).run_both();
    println!("{}\n", both.each_ref().map(row).join("\n"));
    let [_, adaptive] = both;
    let calls = adaptive.counts(&OUTAGE).calls;
    assert!(calls <= calls_max(&adaptive), "{calls}");
    let (before, after) = (adaptive.rate(&BEFORE), adaptive.rate(&AFTER));
    assert!(after >= before * 0.9, "{before}, {after}");
}

#[test]
fn an_overloaded_endpoint_gets_few_calls_and_recovers_with_capacity_20() {
    assert_few_calls_then_full_rate(20, FaultKind::Overload);
}

#[test]
fn an_overloaded_endpoint_gets_few_calls_and_recovers_with_capacity_128() {
    assert_few_calls_then_full_rate(128, FaultKind::Overload);
}

#[test]
fn an_unreachable_endpoint_gets_few_calls_and_recovers_with_capacity_20() {
    assert_few_calls_then_full_rate(20, FaultKind::Unreachable);
}

#[test]
fn an_unreachable_endpoint_gets_few_calls_and_recovers_with_capacity_128() {
    assert_few_calls_then_full_rate(128, FaultKind::Unreachable);
}
