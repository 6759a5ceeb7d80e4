//! A run as a row of a table.

use crate::endpoint::Limit;
use crate::fleet::Fleet;
use crate::ledger::Counts;
use crate::ran::Ran;
use crate::trace::spread;

/// Runs the fleet with the fixed capacity and with the one that adapts, and prints what came of it. Returns both.
pub(crate) fn compare(fleet: &Fleet) -> [Ran; 2] {
    let both = fleet.run_both();
    print(&both.each_ref().map(row));
    both
}

/// In one piece, since scenarios run side by side.
pub(crate) fn print(rows: &[String]) {
    let head = format!(
        "{:34} {:8} {:>9} {:>8} {:>14} {:>11} {:>7} {:>9} {:>7} {:>10} {:>13}  {}",
        "scenario",
        "capacity",
        "instances",
        "CAPACITY",
        "the endpoint's",
        "measured",
        "goodput",
        "throttled",
        "calls",
        "deliveries",
        "shares",
        "limits at the end"
    );
    println!("{head}\n{}\n", rows.join("\n"));
}

pub(crate) fn row(ran: &Ran) -> String {
    let Fleet {
        name,
        instances,
        capacity,
        endpoint,
        ..
    } = &ran.fleet;
    let limit = match endpoint.limit {
        Limit::Concurrency(calls) => format!("{calls}"),
        Limit::Plan { per_second, burst } => format!("{per_second}/s, {burst}"),
    };
    let window = &ran.measured;
    let [start, end] = [window.start, window.end].map(|moment| moment.as_secs_f64());
    let measured = format!("{start:.0}–{end:.0} s");
    let [goodput, throttled] = [ran.goodput(window), ran.throttled(window)].map(|share| share * 100.0);
    let Counts { calls, deliveries, .. } = ran.counts(window);
    let (least, most) = ran.shares(window);
    let (shares, limits) = (format!("{least:.2} – {most:.2}"), spread(&ran.limits));
    format!(
        "{name:34} {:8} {instances:9} {capacity:8} {limit:>14} {measured:>11} {goodput:5.1} % {throttled:7.1} % \
         {calls:7} {deliveries:10} {shares:>13}  {limits}",
        ran.capacity
    )
}
