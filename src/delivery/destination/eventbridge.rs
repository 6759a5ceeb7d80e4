//! `eventbridge:BUS`: one event for each line, with the source `instream`, the kind of the line as its detail type, and
//! the line as its detail.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};

use super::OutputLine;
use super::batch_put::{BatchLimits, LastAccepted, PutError, Service, client_config};

/// The maximum number of entries in a `PutEvents` request, and their maximum size in bytes:
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>.
const LIMITS: BatchLimits = BatchLimits {
    lines: 10,
    bytes: 256 * 1024,
    concurrent_requests: 8,
};
/// The source of the events.
const SOURCE: &str = "instream";
/// Room for the other parts of an entry, in bytes: source, detail type, name of the bus, and the members that
/// `EventBridge` adds. They count too.
const OTHER_PARTS_BYTES: usize = 1024;

/// An event bus in the function's account and region.
#[derive(Debug)]
pub struct EventBridge {
    client: Client,
    bus: String,
    last_accepted: LastAccepted,
}

impl EventBridge {
    /// Creates a destination for the event bus of this name.
    pub fn new(environment: &aws_config::SdkConfig, bus: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            bus,
            last_accepted: LastAccepted::default(),
        }
    }

    /// The maximum size of a line, in bytes.
    pub(super) const LINE_BYTES_MAX: usize = LIMITS.bytes - OTHER_PARTS_BYTES;
}

fn entry(line: &OutputLine, bus: &str) -> PutEventsRequestEntry {
    PutEventsRequestEntry::builder()
        .source(SOURCE)
        .detail_type(line.kind.name())
        .detail(&line.text)
        .event_bus_name(bus)
        .build()
}

impl Service for EventBridge {
    const NAME: &'static str = "eventbridge:";

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn last_accepted(&self) -> &LastAccepted {
        &self.last_accepted
    }

    fn size(line: &OutputLine) -> usize {
        line.text.len() + OTHER_PARTS_BYTES
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
        let entries = lines.iter().map(|line| entry(line, &self.bus)).collect();
        let response = self.client.put_events().set_entries(Some(entries)).send().await;
        let response = response.map_err(|error| PutError::from_sdk_error(&error))?;
        let error = |result: PutEventsResultEntry| {
            let message = result.error_message();
            result.error_code().map(|code| PutError::of_line(code, message))
        };
        Ok(response.entries.unwrap_or_default().into_iter().map(error).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::LineKind;
    use super::*;

    #[test]
    fn an_event_has_the_line_as_its_detail() {
        let line = OutputLine {
            kind: LineKind::DeadLetter,
            text: "{\"a\":1}".to_owned(),
            partition_key: String::new(),
            id: String::new(),
            arrival_ms: 0,
        };
        let entry = entry(&line, "scores");
        let parts = [
            entry.event_bus_name(),
            entry.source(),
            entry.detail_type(),
            entry.detail(),
        ];
        assert_eq!(parts, ["scores", "instream", "dead-letter", &line.text].map(Some));
    }
}
