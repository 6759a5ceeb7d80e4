//! Batches that the mapping gave up and whose records it did not keep: read again from the stream, where they still are.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::{Instant, sleep, sleep_until};

use super::aws::{Services, in_words};
use super::letter::{Letter, Origin};
use super::recognise::BatchInfo;
use crate::esm::pause;

/// How often a page that is throttled is asked for.
const ATTEMPTS_MAX: usize = 10;
/// A shard gives five pages a second to all who read it, the mapping among them.
const BETWEEN_PAGES: Duration = Duration::from_millis(250);

/// Reads batches of streams.
#[derive(Debug)]
pub(super) struct Shards {
    services: Services,
    client: Option<Client>,
    /// When the last page was asked for.
    last: Option<Instant>,
}

impl Shards {
    pub(super) fn new(services: Services) -> Self {
        Self {
            services,
            client: None,
            last: None,
        }
    }

    /// The records of the batch that are still in the stream, and those of other batches among them.
    pub(super) async fn read(&mut self, batch: &BatchInfo, origin: &Origin) -> Result<Read> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => Client::new(&self.services.config("KINESIS").await),
        };
        self.client = Some(client.clone());
        let mut letters = Vec::new();
        let mut iterator = start(&client, batch).await?;
        while let Some(at) = iterator.take() {
            let page = self.page(&client, &at).await?;
            let is_at_the_end = page.records.is_empty() && page.millis_behind_latest == Some(0);
            let mut is_behind = false;
            for record in &page.records {
                is_behind |= compare(&record.sequence_number, &batch.end_sequence_number).is_gt();
                if !is_behind {
                    letters.extend(letter(record, batch, origin));
                }
            }
            let last = page.records.last();
            let is_last = |record: &Record| record.sequence_number == batch.end_sequence_number;
            if is_at_the_end || is_behind || last.is_some_and(is_last) {
                break;
            }
            iterator = page.next_shard_iterator;
        }
        Ok(Read::of(batch, letters))
    }

    /// One page, once the shard has room for it.
    async fn page(&mut self, client: &Client, at: &str) -> Result<GetRecordsOutput> {
        let mut attempts = 0;
        loop {
            if let Some(last) = self.last {
                sleep_until(last + BETWEEN_PAGES).await;
            }
            self.last = Some(Instant::now());
            let error = match client.get_records().shard_iterator(at).send().await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let is_throttled = error.code().is_some_and(|code| code.contains("Throughput"));
            if !is_throttled || attempts == ATTEMPTS_MAX {
                return Err(in_words(&error));
            }
            attempts += 1;
            sleep(pause(attempts)).await;
        }
    }
}

/// What was read of a batch.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) letters: Vec<Letter>,
    /// So many at least are not in the stream any more.
    pub(super) gone: usize,
    /// Whether it is known to be all of it.
    pub(super) is_whole: bool,
}

impl Read {
    /// Between the first and the last of a batch may be records of others, so that their count alone proves nothing. A
    /// stream loses its oldest: whose first and last are there is there.
    fn of(batch: &BatchInfo, letters: Vec<Letter>) -> Self {
        let ends = BTreeSet::from([&batch.start_sequence_number, &batch.end_sequence_number]);
        let is_there = |number: &&String| letters.iter().any(|letter| letter.sequence_number == **number);
        let ends_gone = ends.iter().filter(|number| !is_there(number)).count();
        let gone = ends_gone.max(batch.batch_size.saturating_sub(letters.len()));
        Self {
            letters,
            gone,
            is_whole: gone == 0 && batch.batch_size > 0,
        }
    }
}

/// Where the batch begins; `None` if the stream or the shard is gone, or the place is too old.
async fn start(client: &Client, batch: &BatchInfo) -> Result<Option<String>> {
    let request = client.get_shard_iterator().stream_arn(&batch.stream_arn);
    let request = request
        .shard_id(&batch.shard_id)
        .shard_iterator_type(ShardIteratorType::AtSequenceNumber);
    match request
        .starting_sequence_number(&batch.start_sequence_number)
        .send()
        .await
    {
        Ok(answer) => Ok(answer.shard_iterator),
        Err(error) => {
            let code = error.code().unwrap_or_default();
            let is_gone = ["ResourceNotFoundException", "InvalidArgumentException"].contains(&code);
            if is_gone { Ok(None) } else { Err(in_words(&error)) }
        }
    }
}

fn letter(record: &Record, batch: &BatchInfo, origin: &Origin) -> Option<Letter> {
    let arrival = record.approximate_arrival_timestamp.map(|time| time.as_secs_f64());
    let entry = json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record.partition_key,
            "sequenceNumber": record.sequence_number,
            "data": BASE64.encode(record.data.as_ref()),
            "approximateArrivalTimestamp": arrival,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{}:{}", batch.shard_id, record.sequence_number),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/instream",
        "awsRegion": batch.stream_arn.split(':').nth(3).unwrap_or_default(),
        "eventSourceARN": batch.stream_arn,
    });
    Letter::with_entry(&to_raw_value(&entry).ok()?, &batch.condition, origin.clone())
}

/// Sequence numbers are decimal, and longer than any type that holds numbers.
fn compare(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::Blob;

    use super::*;

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        assert!(compare("10", "9").is_gt() && compare("9", "10").is_lt() && compare("10", "10").is_eq());
    }

    #[test]
    fn a_batch_is_whole_only_if_its_first_and_its_last_are_there_and_its_size_is_known() {
        for (size, there, expected) in [
            (2, &["7", "8", "9"][..], (0, true)),
            // The neighbours' records are as many as those that are gone.
            (2, &["8", "9"], (1, false)),
            (2, &["7", "8"], (1, false)),
            (4, &["7", "8", "9"], (1, false)),
            (0, &["7", "8", "9"], (0, false)),
            (3, &[], (3, false)),
        ] {
            let batch = BatchInfo {
                shard_id: "shardId-0".to_owned(),
                start_sequence_number: "7".to_owned(),
                end_sequence_number: "9".to_owned(),
                batch_size: size,
                stream_arn: "arn".to_owned(),
                condition: String::new(),
            };
            let record = |number: &&str| {
                let record = Record::builder().sequence_number(*number).partition_key("k");
                record.data(Blob::new("data")).build().unwrap()
            };
            let letters = there
                .iter()
                .filter_map(|number| letter(&record(number), &batch, &Origin::default()));
            let read = Read::of(&batch, letters.collect());
            assert_eq!((read.gone, read.is_whole), expected, "{size} {there:?}");
        }
    }
}
