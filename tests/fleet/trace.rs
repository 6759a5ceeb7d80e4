//! Prints the state of a run every half second if `TRACE=1` is set.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::endpoint::Service;
use crate::fleet::{Capacity, Fleet};
use crate::instance::Instance;
use crate::ledger::Counts;
use crate::setting;

const INTERVAL: Duration = Duration::from_millis(500);

/// Prints a line at each interval. Never returns, also without `TRACE=1`.
pub(crate) async fn trace(fleet: &Fleet, capacity: Capacity, service: &Service, instances: &[Arc<Instance>]) {
    if setting("TRACE").unwrap_or_default() == 0 {
        std::future::pending::<()>().await;
    }
    let name = &fleet.name;
    loop {
        let from = service.now();
        sleep(INTERVAL).await;
        let now = service.now();
        let Counts {
            deliveries,
            calls,
            throttled,
            failed,
            answered,
            ..
        } = service.read_ledger(|ledger| ledger.counts(&(from..now)));
        let (seconds, limits, in_flight) = (now.as_secs_f64(), limits(instances), service.in_flight());
        println!(
            "{name} {capacity:8} {seconds:6.1} s  limit {limits}  in flight {in_flight:4}  calls {calls:5}  answered \
             {answered:5}  throttled {throttled:5}  failed {failed:5}  deliveries {deliveries:4}"
        );
    }
}

fn limits(instances: &[Arc<Instance>]) -> String {
    let limits: Vec<_> = instances.iter().map(|instance| instance.limit()).collect();
    min_median_max(&limits)
}

/// Formats the smallest limit, the median and the largest, or the only limit of a single instance.
pub(crate) fn min_median_max(limits: &[f64]) -> String {
    let mut limits = limits.to_vec();
    limits.sort_by(f64::total_cmp);
    match limits.as_slice() {
        [] => String::new(),
        [one] => format!("{one:.2}"),
        [smallest, .., largest] => format!("{smallest:.2}/{:.2}/{largest:.2}", limits[limits.len() / 2]),
    }
}
