//! Batches that the mapping gave up and whose records it did not keep: read again from the stream, where they still are.

use std::cmp::Ordering;

use anyhow::Result;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::time::sleep;

use super::aws::{Services, in_words};
use super::letter::{Letter, Origin};
use super::recognise::BatchInfo;
use crate::esm::pause;

/// How often a page that is throttled is asked for.
const ATTEMPTS_MAX: usize = 10;

/// Reads batches of streams.
#[derive(Debug)]
pub(super) struct Shards {
    services: Services,
    client: Option<Client>,
}

impl Shards {
    pub(super) fn new(services: Services) -> Self {
        Self { services, client: None }
    }

    /// The records of the batch that are still in the stream, and how many are not.
    pub(super) async fn read(&mut self, batch: &BatchInfo, origin: &Origin) -> Result<(Vec<Letter>, usize)> {
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(Client::new(&self.services.config("KINESIS").await)),
        };
        let mut letters = Vec::new();
        let mut iterator = start(client, batch).await?;
        let mut attempts = 0;
        while let Some(at) = iterator.take() {
            let page = match client.get_records().shard_iterator(at.clone()).send().await {
                Ok(page) => page,
                Err(error)
                    if error.code().is_some_and(|code| code.contains("Throughput")) && attempts < ATTEMPTS_MAX =>
                {
                    attempts += 1;
                    sleep(pause(attempts)).await;
                    iterator = Some(at);
                    continue;
                }
                Err(error) => return Err(in_words(&error)),
            };
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
        let gone = batch.batch_size.saturating_sub(letters.len());
        Ok((letters, gone))
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
    use super::*;

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        assert!(compare("10", "9").is_gt() && compare("9", "10").is_lt() && compare("10", "10").is_eq());
    }
}
