//! A batch of records of 200 bytes: as an event, as Kinesis records, and as user records.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instream::event::{self, Batch, DecodeRules, Event, KinesisRecord, Pace, UserRecord, decode};
use instream::inference::{RequestSpec, Requests, build};
use instream::lambda::response::{BatchResponse, checkpoint, checkpointable_prefix};
use instream::outcome::Outcome;
use instream_local::aggregate::{KplUserRecord, aggregate};
use instream_local::packing::gzip;

use super::settings::{SINGLE, Settings, config};
use super::{GROUP_SIZE, RECORDS, block_on, leak};

/// The time that an invocation has. Valgrind runs the code about fifty times slower.
const TIME: Duration = Duration::from_mins(15);

/// An event as the handler receives it.
pub(crate) type Payload = &'static [u8];

/// The form in which the producers wrote the records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    Plain,
    Gzipped,
    Aggregated,
    /// The data of the last record is not valid base64.
    OneBroken,
}

pub(crate) fn payload(form: Form) -> Payload {
    let mut data: Vec<_> = data(form).iter().map(|data| BASE64.encode(data)).collect();
    if let (Form::OneBroken, Some(last)) = (form, data.last_mut()) {
        "not in base64".clone_into(last);
    }
    let entries: Vec<_> = data.iter().enumerate().map(entry).collect();
    let event = format!(r#"{{"Records":[{}]}}"#, entries.join(","));
    leak(event.into_bytes())
}

/// Reads an event. The benches call `event::read` only here.
pub(crate) fn read(payload: Payload) -> Event<'static> {
    event::read(payload).expect("the payload is a Kinesis event")
}

/// Returns the data of the Kinesis records.
fn data(form: Form) -> Vec<Vec<u8>> {
    let records: Vec<_> = (0..RECORDS).map(|number| record(number).into_bytes()).collect();
    match form {
        Form::Plain | Form::OneBroken => records,
        Form::Gzipped => records.iter().map(|data| gzip(data)).collect(),
        Form::Aggregated => records.chunks(GROUP_SIZE).map(aggregated).collect(),
    }
}

fn aggregated(records: &[Vec<u8>]) -> Vec<u8> {
    let put = |data| KplUserRecord {
        partition_key: "card-1",
        explicit_hash_key: None,
        data,
    };
    let puts: Vec<_> = records.iter().map(|data| put(data)).collect();
    aggregate(&puts).to_vec()
}

/// A user record of 200 bytes.
pub(crate) fn record(number: usize) -> String {
    let (amount, hour) = (100 + number, number % 10);
    let rest = r#""merchant_category":"clothing","country":"FR","card_country":"FR","source_address":"192.0.2.225"}"#;
    let record = format!(
        r#"{{"id":"transaction-{number:027}","time":"2026-03-14T00:00:00Z","amount":{amount}.48,"hour":{hour},{rest}"#
    );
    assert_eq!(record.len(), 200);
    record
}

/// Returns one entry of the event's `Records`, with its members in Lambda's order.
fn entry((number, data): (usize, &String)) -> String {
    let sequence_number = format!("49590338271490256608559692538361571095{number:018}");
    let kinesis = format!(
        r#"{{"kinesisSchemaVersion":"1.0","partitionKey":"card-1","sequenceNumber":"{sequence_number}","data":"{data}","approximateArrivalTimestamp":1773453670.12}}"#
    );
    let source = r#""eventSource":"aws:kinesis","eventVersion":"1.0""#;
    let rest = r#""eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/instream","awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:123456789012:stream/transactions""#;
    format!(r#"{{"kinesis":{kinesis},{source},"eventID":"shardId-000000000000:{sequence_number}",{rest}}}"#)
}

/// The records of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kinesis {
    records: &'static [KinesisRecord<'static>],
    rules: &'static DecodeRules,
}

pub(crate) fn kinesis(form: Form) -> Kinesis {
    let kinesis = Kinesis {
        records: &leak(read(payload(form))).records,
        rules: leak(config(SINGLE).decode),
    };
    let decoded = kinesis.decode();
    assert_eq!(decoded.iter().filter(|record| record.data.is_ok()).count(), RECORDS);
    kinesis
}

impl Kinesis {
    pub(crate) fn decode(self) -> Vec<UserRecord> {
        block_on(decode(self.records, self.rules, Pace::start(TIME)))
    }

    /// Returns the batch response if only the last record is unfinished.
    pub(crate) fn batch_response(self) -> String {
        let finished = checkpointable_prefix(self.records, RECORDS - 1).expect("each record has a sequence number");
        let failures = checkpoint(self.records, finished).expect("each record has a sequence number");
        let response = BatchResponse { failures, state: None };
        serde_json::to_string(&response).expect("the response can be written as JSON")
    }
}

/// A batch from which requests are built.
#[derive(Debug)]
pub(crate) struct Building {
    batch: Batch<'static>,
    remembered: Vec<Option<Outcome>>,
    request_spec: &'static RequestSpec,
}

impl Building {
    pub(crate) fn with(settings: Settings) -> Self {
        let kinesis = kinesis(Form::Plain);
        let batch = Batch {
            records: kinesis.records,
            user_records: leak(kinesis.decode()),
            stream_arn: "arn:aws:kinesis:us-east-1:123456789012:stream/transactions",
        };
        let building = || Self {
            batch,
            remembered: (0..RECORDS).map(|_| None).collect(),
            request_spec: &leak(config(settings)).requests,
        };
        assert!(building().build().settled.is_empty(), "each record is in a request");
        building()
    }

    pub(crate) fn build(self) -> Requests {
        block_on(build(
            &self.batch,
            self.remembered,
            self.request_spec,
            Pace::start(TIME),
        ))
    }
}
