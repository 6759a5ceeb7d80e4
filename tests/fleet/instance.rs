//! One instance of the function, and the lane of the mapping that keeps it busy.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instream::config::Config;
use instream::deadline::Invocation;
use instream::handler::Handler;
use instream::output::Output;
use tokio::time::sleep;

use crate::endpoint::{Seen, Service};
use crate::ledger::What;

/// As in `local`'s lane: the first pause before a batch that made no progress comes again; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// When every run begins, in seconds since 1970.
const START_S: u64 = 1_800_000_000;
/// The function's timeout.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Instance {
    number: usize,
    handler: Handler<Seen>,
    service: Arc<Service>,
}

impl Instance {
    pub(crate) fn new(number: usize, config: &Config, service: &Arc<Service>) -> Self {
        let seen = Seen {
            service: Arc::clone(service),
            instance: number,
        };
        Self {
            number,
            handler: Handler::new(config, seen, Output::None, Some(Output::None)),
            service: Arc::clone(service),
        }
    }

    /// How many calls it may have in flight now.
    pub(crate) fn limit(&self) -> f64 {
        self.handler.limit()
    }

    /// Takes the records of these numbers through the function, batch by batch.
    pub(crate) async fn work(&self, records: Range<usize>, batch: usize) {
        for start in records.clone().step_by(batch) {
            self.batch(start..records.end.min(start.saturating_add(batch))).await;
        }
    }

    /// Delivers a batch until all its records are finished.
    async fn batch(&self, mut records: Range<usize>) {
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

    /// Delivers these records once, and returns the number of the first that is not finished.
    async fn deliver(&self, records: Range<usize>) -> usize {
        self.service.note(self.number, What::Delivered);
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
        let unfinished = response.batch_item_failures.first();
        unfinished.map_or(records.end, |unfinished| unfinished.item_identifier.parse().unwrap())
    }
}

fn pause(retries: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(retries))
        .min(LAST_PAUSE)
}

/// The event with these records, written by hand, since a simulation writes thousands of them.
fn event(records: Range<usize>) -> String {
    let mut event = String::from(r#"{"Records":["#);
    for (place, number) in records.enumerate() {
        let comma = if place == 0 { "" } else { "," };
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
