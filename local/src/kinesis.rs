//! A stream behind a real Kinesis API: its shards, and the records of each from the oldest.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::get_records::{GetRecordsError, GetRecordsOutput};
use aws_sdk_kinesis::operation::list_shards::ListShardsError;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use axum::http::Uri;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::aggregate::count_user_records;
use crate::stream::StreamRecord;

/// The pause after a response without records. A shard takes five reads a second.
const EMPTY_PAUSE: Duration = Duration::from_millis(200);
/// The pause after the service has throttled a read. Its limits are per second.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);

/// A stream.
#[derive(Debug)]
pub struct KinesisStream {
    client: Client,
    arn: Arc<str>,
    shards: Vec<String>,
}

/// Reads the records of a shard in order.
#[derive(Debug)]
pub struct ShardReader<'s> {
    stream: &'s KinesisStream,
    shard: &'s str,
    /// The iterator for the next read. `None` when the shard is closed and read to its end.
    iterator: Option<String>,
    /// The sequence number of the last record read.
    last: Option<String>,
}

impl KinesisStream {
    /// Finds the stream `name` of the Kinesis API at `url`. An API on this machine gets dummy credentials, any other
    /// API the credentials of this machine.
    ///
    /// # Errors
    ///
    /// If nothing answers at `url`, or there is no such stream.
    pub async fn open(url: &str, name: &str) -> Result<Self> {
        let client = client(url).await?;
        let shards = shards(&client, name)
            .await
            .with_context(|| format!("cannot read the stream {name:?} at {url}"))?;
        // Permission to read a stream does not include permission to describe it.
        let described = client.describe_stream_summary().stream_name(name).send().await.ok();
        let summary = described.and_then(|described| described.stream_description_summary);
        let arn = summary.map_or_else(
            || format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}"),
            |summary| summary.stream_arn,
        );
        Ok(Self {
            client,
            arn: Arc::from(arn),
            shards,
        })
    }

    /// Returns the names of the stream's shards.
    pub fn shards(&self) -> &[String] {
        &self.shards
    }

    /// Returns a reader at the beginning of `shard`.
    ///
    /// # Errors
    ///
    /// The service's error.
    pub async fn shard_reader<'s>(&'s self, shard: &'s str) -> Result<ShardReader<'s>> {
        let mut reader = ShardReader {
            stream: self,
            shard,
            iterator: None,
            last: None,
        };
        reader.renew_iterator().await?;
        Ok(reader)
    }

    fn record(&self, shard: &str, record: Record) -> StreamRecord {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let arrival = record
            .approximate_arrival_timestamp
            .and_then(|time| time.to_millis().ok());
        let arrival = arrival.and_then(|milliseconds| u64::try_from(milliseconds).ok());
        let arrival = arrival.map_or(now, Duration::from_millis);
        let entered = Instant::now();
        let data = Bytes::from(record.data.into_inner());
        StreamRecord {
            stream_arn: Arc::clone(&self.arn),
            shard: shard.to_owned(),
            sequence_number: record.sequence_number,
            partition_key: record.partition_key.unwrap_or_default(),
            user_records: count_user_records(&data),
            data,
            arrival_ms: u64::try_from(arrival.as_millis()).unwrap_or_default(),
            // `Instant` may not reach back before the machine was started.
            entered: entered.checked_sub(now.saturating_sub(arrival)).unwrap_or(entered),
        }
    }
}

impl ShardReader<'_> {
    /// Returns the next records, at most `limit` and at most 10,000. May return none, after a pause. Returns `None` at
    /// the end of a closed shard.
    ///
    /// # Errors
    ///
    /// The service's error, except throttling, after which the read is retried.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Vec<StreamRecord>>> {
        let limit = i32::try_from(limit.clamp(1, 10_000)).unwrap_or(i32::MAX);
        while let Some(iterator) = self.iterator.clone() {
            let request = self.stream.client.get_records().shard_iterator(iterator).limit(limit);
            match request.send().await {
                Ok(response) => {
                    let records = self.take_records(response);
                    if records.is_empty() && self.iterator.is_some() {
                        sleep(EMPTY_PAUSE).await;
                    }
                    return Ok(Some(records));
                }
                Err(error) if is_throttling(&error) => sleep(THROTTLED_PAUSE).await,
                // An iterator expires after five minutes without a call: the previous records waited for the function.
                Err(error) if is_expired(&error) => self.renew_iterator().await?,
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.shard)),
            }
        }
        Ok(None)
    }

    fn take_records(&mut self, response: GetRecordsOutput) -> Vec<StreamRecord> {
        self.iterator = response.next_shard_iterator;
        let records = response.records.into_iter();
        let records: Vec<_> = records.map(|record| self.stream.record(self.shard, record)).collect();
        if let Some(last) = records.last() {
            self.last = Some(last.sequence_number.clone());
        }
        records
    }

    async fn renew_iterator(&mut self) -> Result<()> {
        let request = self.stream.client.get_shard_iterator().stream_arn(&*self.stream.arn);
        let request = request.shard_id(self.shard);
        let request = match &self.last {
            None => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Some(last) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(last),
        };
        let response = request.send().await;
        let response = response.with_context(|| format!("cannot read {}", self.shard))?;
        self.iterator = response.shard_iterator;
        Ok(())
    }
}

async fn client(url: &str) -> Result<Client> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    let host = uri.host().filter(|_| uri.scheme().is_some());
    let host = host.with_context(|| format!("{url:?} is not like http://127.0.0.1:4567"))?;
    let config = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(url);
    let config = if is_loopback(host) {
        config
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
    } else {
        config
    };
    Ok(Client::new(&config.load().await))
}

/// Returns whether `host` is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn shards(client: &Client, name: &str) -> Result<Vec<String>> {
    let (mut shards, mut next) = (Vec::new(), None);
    loop {
        let request = match next {
            // The token replaces the stream's name.
            Some(token) => client.list_shards().next_token(token),
            None => client.list_shards().stream_name(name),
        };
        let page = match request.send().await {
            Err(error) if is_missing(&error) => bail!("there is no stream of that name"),
            page => page?,
        };
        shards.extend(page.shards.unwrap_or_default().into_iter().map(|shard| shard.shard_id));
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    ensure!(!shards.is_empty(), "it has no shards");
    Ok(shards)
}

fn is_missing(error: &SdkError<ListShardsError>) -> bool {
    let error = error.as_service_error();
    error.is_some_and(ListShardsError::is_resource_not_found_exception)
}

fn is_throttling(error: &SdkError<GetRecordsError>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_provisioned_throughput_exceeded_exception()
            || error.is_kms_throttling_exception()
            || ["ThrottlingException", "LimitExceededException"].contains(&error.meta().code().unwrap_or_default())
    })
}

fn is_expired(error: &SdkError<GetRecordsError>) -> bool {
    let error = error.as_service_error();
    error.is_some_and(GetRecordsError::is_expired_iterator_exception)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.3.2.1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["kinesis.us-east-1.amazonaws.com", "10.0.0.1", "localhost.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
