//! With `TRACE=1`, what goes on every half second of a run.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::endpoint::Service;
use crate::fleet::{Capacity, Fleet};
use crate::instance::Instance;
use crate::ledger::Counts;
use crate::setting;

const EVERY: Duration = Duration::from_millis(500);

/// Prints without end, or does nothing without end.
pub(crate) async fn trace(fleet: &Fleet, capacity: Capacity, service: &Service, instances: &[Arc<Instance>]) {
    if setting("TRACE").unwrap_or_default() == 0 {
        std::future::pending::<()>().await;
    }
    let name = &fleet.name;
    loop {
        let from = service.now();
        sleep(EVERY).await;
        let now = service.now();
        let Counts {
            deliveries,
            calls,
            throttled,
            failed,
            answered,
            ..
        } = service.look(|ledger| ledger.counts(&(from..now)));
        let (seconds, limits, in_flight) = (now.as_secs_f64(), limits(instances), service.in_flight());
        println!(
            "{name} {capacity:8} {seconds:6.1} s  limit {limits}  in flight {in_flight:4}  calls {calls:5}  answered \
             {answered:5}  throttled {throttled:5}  failed {failed:5}  deliveries {deliveries:4}"
        );
    }
}

fn limits(instances: &[Arc<Instance>]) -> String {
    let limits: Vec<_> = instances.iter().map(|instance| instance.limit()).collect();
    spread(&limits)
}

/// The smallest, the median and the largest; one where there is one.
pub(crate) fn spread(limits: &[f64]) -> String {
    let mut limits = limits.to_vec();
    limits.sort_by(f64::total_cmp);
    match limits.as_slice() {
        [] => String::new(),
        [one] => format!("{one:.2}"),
        [smallest, .., largest] => format!("{smallest:.2}/{:.2}/{largest:.2}", limits[limits.len() / 2]),
    }
}
