//! Formats runs as rows of a table.

use crate::endpoint::Limit;
use crate::fleet::Fleet;
use crate::ledger::Counts;
use crate::run_result::RunResult;
use crate::trace::min_median_max;

/// Runs the fleet with the fixed capacity and with the adaptive one. Prints and returns both results.
pub(crate) fn compare(fleet: &Fleet) -> [RunResult; 2] {
    let both = fleet.run_both();
    print(&both.each_ref().map(row));
    both
}

/// Prints the table with one call, since scenarios run in parallel.
pub(crate) fn print(rows: &[String]) {
    let head = format!(
        "{:34} {:8} {:>9} {:>8} {:>14} {:>11} {:>7} {:>9} {:>7} {:>8} {:>10} {:>13}  {}",
        "scenario",
        "capacity",
        "instances",
        "CAPACITY",
        "endpoint limit",
        "measured",
        "goodput",
        "throttled",
        "calls",
        "answered",
        "deliveries",
        "shares",
        "limits at the end"
    );
    println!("{head}\n{}\n", rows.join("\n"));
}

pub(crate) fn row(run: &RunResult) -> String {
    let Fleet {
        name,
        instances,
        capacity,
        endpoint,
        ..
    } = &run.fleet;
    let limit = match endpoint.limit {
        Limit::Concurrency(calls) => format!("{calls}"),
        Limit::Plan { per_second, burst } | Limit::UnnamedPlan { per_second, burst } => {
            format!("{per_second}/s, {burst}")
        }
        Limit::Random { throttled_percent } => format!("{throttled_percent} % random"),
    };
    let window = &run.measured;
    let [start, end] = [window.start, window.end].map(|moment| moment.as_secs_f64());
    let measured = format!("{start:.0}–{end:.0} s");
    let [goodput, throttled] = [run.goodput(window), run.throttled(window)].map(|share| share * 100.0);
    let Counts {
        calls,
        answered,
        deliveries,
        ..
    } = run.counts(window);
    let (least, most) = run.shares(window);
    let (shares, limits) = (format!("{least:.2} – {most:.2}"), min_median_max(&run.limits));
    format!(
        "{name:34} {:8} {instances:9} {capacity:8} {limit:>14} {measured:>11} {goodput:5.1} % {throttled:7.1} % \
         {calls:7} {answered:8} {deliveries:10} {shares:>13}  {limits}",
        run.capacity
    )
}
