//! Reads records from Kinesis streams again, at the rate that a shard allows.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_config::Region;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_kinesis::{Client, config};
use instream_local::esm::retry_backoff;
use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::aws::{Services, error_with_causes};

/// The maximum number of retries of a throttled page.
const PAGE_RETRIES_MAX: usize = 10;
/// The time between two pages. A shard allows five reads a second, shared with the mapping and all other consumers.
const PAGE_INTERVAL: Duration = Duration::from_millis(250);

/// The position of a record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamPosition {
    pub(crate) stream_arn: String,
    pub(crate) shard_id: String,
    pub(crate) sequence_number: String,
}

/// Reads the streams of all regions.
#[derive(Debug)]
pub(super) struct StreamReader {
    services: Services,
    /// The clients by region.
    clients: HashMap<String, Client>,
    /// The time of the last request for a page.
    last_request: Option<Instant>,
}

impl StreamReader {
    pub(super) fn new(services: Services) -> Self {
        Self {
            services,
            clients: HashMap::new(),
            last_request: None,
        }
    }

    /// Returns the client for the region of a stream.
    async fn client(&mut self, stream_arn: &str) -> Result<Client> {
        let region = region(stream_arn).ok_or_else(|| anyhow!("{stream_arn} is not the ARN of a stream"))?;
        if let Some(client) = self.clients.get(region) {
            return Ok(client.clone());
        }
        let config = config::Builder::from(&self.services.config("KINESIS").await);
        let client = Client::from_conf(config.region(Region::new(region.to_owned())).build());
        self.clients.insert(region.to_owned(), client.clone());
        Ok(client)
    }

    /// Returns an iterator at a position, or `None` if the stream or the shard no longer exists or the position has
    /// expired.
    pub(super) async fn iterator(&mut self, position: &StreamPosition) -> Result<Option<String>> {
        let client = self.client(&position.stream_arn).await?;
        let request = client.get_shard_iterator().stream_arn(&position.stream_arn);
        let request = request
            .shard_id(&position.shard_id)
            .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
            .starting_sequence_number(&position.sequence_number);
        match request.send().await {
            Ok(response) => Ok(response.shard_iterator),
            Err(error) if is_gone(error.code()) => Ok(None),
            Err(error) => Err(failure(&error, &position.stream_arn)),
        }
    }

    /// Reads one page of up to `limit` records.
    pub(super) async fn page(
        &mut self,
        stream_arn: &str,
        iterator: &str,
        limit: Option<i32>,
    ) -> Result<GetRecordsOutput> {
        let client = self.client(stream_arn).await?;
        let mut attempts = 0;
        loop {
            if let Some(last) = self.last_request {
                sleep_until(last + PAGE_INTERVAL).await;
            }
            self.last_request = Some(Instant::now());
            let request = client.get_records().shard_iterator(iterator).stream_arn(stream_arn);
            let error = match request.set_limit(limit).send().await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let is_throttled = error.code().is_some_and(|code| code.contains("Throughput"));
            if !is_throttled || attempts == PAGE_RETRIES_MAX {
                return Err(failure(&error, stream_arn));
            }
            attempts += 1;
            sleep(retry_backoff(attempts)).await;
        }
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

fn is_gone(code: Option<&str>) -> bool {
    code.is_some_and(|code| ["ResourceNotFoundException", "InvalidArgumentException"].contains(&code))
}

/// Returns the error with its causes. If access is denied, names the permissions that are needed.
fn failure(error: &(impl ProvideErrorMetadata + Error + 'static), stream_arn: &str) -> anyhow::Error {
    let causes = error_with_causes(error);
    if error.code().is_some_and(|code| code.contains("AccessDenied")) {
        let permissions = "kinesis:GetShardIterator and kinesis:GetRecords, and kms:Decrypt if a key of yours encrypts";
        return causes.context(format!("reading needs the permissions {permissions} {stream_arn}"));
    }
    causes
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
