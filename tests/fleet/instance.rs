//! One instance of the function and the lane of the mapping that invokes it.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instream::config::Config;
use instream::delivery::destination::Destination;
use instream::handler::Handler;
use instream::lambda::time_budget::Invocation;
use tokio::time::sleep;

use crate::endpoint::{InstanceEndpoint, Service};
use crate::ledger::EventKind;

/// The pause before the first redelivery of a batch that made no progress, as in `local`'s lane. It doubles with each
/// redelivery, up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The start time of every run, in seconds since 1970.
const START_S: u64 = 1_800_000_000;
/// The Lambda function's timeout.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Instance {
    number: usize,
    handler: Handler<InstanceEndpoint>,
    service: Arc<Service>,
}

impl Instance {
    pub(crate) fn new(number: usize, config: &Config, service: &Arc<Service>) -> Self {
        let endpoint = InstanceEndpoint {
            service: Arc::clone(service),
            instance: number,
        };
        Self {
            number,
            handler: Handler::new(config, endpoint, Destination::None, Some(Destination::None)),
            service: Arc::clone(service),
        }
    }

    /// Returns the current limit of calls in flight.
    pub(crate) fn limit(&self) -> f64 {
        self.handler.limit()
    }

    /// Delivers the records with these numbers to the function, batch by batch.
    pub(crate) async fn process(&self, records: Range<usize>, batch: usize) {
        for start in records.clone().step_by(batch) {
            self.process_batch(start..records.end.min(start.saturating_add(batch)))
                .await;
        }
    }

    /// Delivers a batch until all its records are finished.
    async fn process_batch(&self, mut records: Range<usize>) {
        let mut retries = 0;
        while !records.is_empty() {
            let unfinished = self.deliver(records.clone()).await;
            if unfinished > records.start {
                retries = 0;
            } else {
                sleep(pause(retries)).await;
                retries += 1;
            }
            records.start = unfinished;
        }
    }

    /// Delivers these records once. Returns the number of the first unfinished record.
    async fn deliver(&self, records: Range<usize>) -> usize {
        self.service.record(self.number, EventKind::Delivered);
        let payload = event(records.clone());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(START_S) + self.service.now();
        let deadline = (now + TIMEOUT).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let invocation = Invocation {
            function_arn: "arn:aws:lambda:eu-central-1:123456789012:function:instream",
            request_id: "",
            trace_id: None,
            deadline_ms: deadline.as_millis().try_into().unwrap(),
            now,
        };
        let response = self.handler.handle(payload.as_bytes(), invocation).await.unwrap();
        let unfinished = response.failures.batch_item_failures.first();
        let number = unfinished.and_then(|unfinished| unfinished.item_identifier.as_deref());
        number.map_or(records.end, |number| number.parse().unwrap())
    }
}

fn pause(retries: u32) -> Duration {
    PAUSE_MIN.saturating_mul(2_u32.saturating_pow(retries)).min(PAUSE_MAX)
}

/// Returns the event with these records. It is written by hand, since a simulation writes thousands of events.
fn event(records: Range<usize>) -> String {
    let mut event = String::from(r#"{"Records":["#);
    for (index, number) in records.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let written = write!(
            event,
            r#"{comma}{{"eventID":"s:{number}","eventSource":"aws:kinesis","eventSourceARN":"arn:s","#
        );
        let written = written.and(write!(
            event,
            r#""kinesis":{{"sequenceNumber":"{number}","partitionKey":"k","data":"MQ=="}}}}"#
        ));
        written.unwrap();
    }
    event.push_str("]}");
    event
}
