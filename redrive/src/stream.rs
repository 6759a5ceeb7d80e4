//! Reads records from Kinesis streams again.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_config::{Region, retry::RetryConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata as _;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use instream_local::environment::Settings;
use tokio::time::sleep;

use super::aws::config;

pub(crate) mod batch;
pub(crate) mod payload;
mod user_records;

/// The maximum number of attempts at a request that a shard throttles.
const ATTEMPTS_MAX: u32 = 10;
/// The time between two pages. A shard allows five reads a second, shared with the mapping and all other consumers.
const PAGE_INTERVAL: Duration = Duration::from_millis(250);

/// Reads the streams of all regions.
pub(super) struct StreamReader {
    settings: Settings,
    /// The clients by region.
    clients: HashMap<String, Client>,
}

impl StreamReader {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            clients: HashMap::new(),
        }
    }

    /// Returns the client for the region of a stream.
    async fn client(&mut self, stream_arn: &str) -> Result<Client> {
        let region = region(stream_arn).with_context(|| format!("{stream_arn} is not the ARN of a stream"))?;
        if let Some(client) = self.clients.get(region) {
            return Ok(client.clone());
        }
        let config = config(&self.settings, "KINESIS").await.into_builder();
        let config = config.retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX));
        let client = Client::new(&config.region(Region::new(region.to_owned())).build());
        self.clients.insert(region.to_owned(), client.clone());
        Ok(client)
    }

    /// Reads the records of a shard from the sequence number `start` to `end` that are still in the stream. There are
    /// none if the stream or the shard no longer exists.
    pub(super) async fn records(&mut self, arn: &str, shard_id: &str, start: &str, end: &str) -> Result<Vec<Record>> {
        let client = self.client(arn).await?;
        let request = client.get_shard_iterator().stream_arn(arn).shard_id(shard_id);
        let request = request.shard_iterator_type(ShardIteratorType::AtSequenceNumber);
        let gone = ["ResourceNotFoundException", "InvalidArgumentException"];
        let mut iterator = match request.starting_sequence_number(start).send().await {
            Err(error) if error.code().is_some_and(|code| gone.contains(&code)) => None,
            response => response?.shard_iterator,
        };
        let mut records = Vec::new();
        while let Some(at) = iterator {
            sleep(PAGE_INTERVAL).await;
            let request = client.get_records().stream_arn(arn).shard_iterator(at);
            let page = request.set_limit((start == end).then_some(1)).send().await?;
            // A page without records can have others behind it.
            let is_at_the_end = page.records.is_empty() && page.millis_behind_latest == Some(0);
            for record in page.records {
                // Decimal numbers that are too long for any integer type.
                let number = &record.sequence_number;
                let order = number.len().cmp(&end.len()).then_with(|| number.as_str().cmp(end));
                if order.is_le() {
                    records.push(record);
                }
                if order.is_ge() {
                    return Ok(records);
                }
            }
            iterator = page.next_shard_iterator.filter(|_| !is_at_the_end);
        }
        Ok(records)
    }
}

/// Returns the region in the ARN of a stream. The ARN comes from a dead letter, and the region becomes part of a host
/// name.
fn region(stream_arn: &str) -> Option<&str> {
    let parts: Vec<_> = stream_arn.splitn(6, ':').collect();
    let ["arn", _, "kinesis", region, ..] = *parts else {
        return None;
    };
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    Some(region).filter(|region| !region.is_empty() && region.chars().all(is_valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_comes_from_the_arn_and_cannot_name_another_host() {
        let stream = |region| format!("arn:aws-cn:kinesis:{region}:123456789012:stream/s");
        assert_eq!(region(&stream("cn-north-1")), Some("cn-north-1"));
        for bad in ["", "host.example/", "a:b@c", "EU", "eu west"] {
            assert_eq!(region(&stream(bad)).filter(|it| *it == bad), None, "{bad}");
        }
        for arn in ["", "arn", "arn:aws:sqs:eu-west-1:1:q"] {
            assert_eq!(region(arn), None, "{arn}");
        }
    }
}
