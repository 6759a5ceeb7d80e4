//! The payload of a dead letter that was too large for its destination, and was delivered with its position in the
//! stream instead.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use serde::Deserialize;

use super::dead_letter::sha256_hex;
use super::stream_reader::{StreamPosition, StreamReader};

mod user_records;

/// The place of a payload in its stream, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The number of bytes.
    pub(crate) bytes: usize,
    /// The SHA-256 of the bytes, as 64 lower-case hexadecimal digits.
    sha256: String,
    /// The same SHA-256, as the [`hash`](super::dead_letter::hash) of the bytes.
    pub(crate) content_hash: u128,
    pub(crate) position: StreamPosition,
}

/// The member `payload` of a dead letter.
#[derive(Deserialize)]
struct PayloadMember {
    bytes: usize,
    sha256: String,
    /// `None` if a part of it is unknown.
    #[serde(flatten)]
    position: Option<StreamPosition>,
}

impl Payload {
    /// Reads the member `payload` of a dead letter. Returns the reason if it does not identify a record.
    pub(super) fn parse(json: &str) -> Result<Self, &'static str> {
        let member: PayloadMember = serde_json::from_str(json).map_err(|_| "its payload has no bytes or no sha256")?;
        let mut position = member
            .position
            .ok_or("it has no payload, and its position in the stream is unknown")?;
        // A record that was redriven and rejected again has the number of the user record here as well.
        if let Some((sequence_number, _)) = position.sequence_number.split_once('#') {
            position.sequence_number = sequence_number.to_owned();
        }
        let sha256 = member.sha256.to_ascii_lowercase();
        let is_hash = sha256.len() == 64 && sha256.chars().all(|digit| digit.is_ascii_hexdigit());
        let half = sha256.get(..32).filter(|_| is_hash);
        let content_hash = half.and_then(|half| u128::from_str_radix(half, 16).ok());
        Ok(Self {
            bytes: member.bytes,
            content_hash: content_hash.ok_or("the sha256 of its payload is not 64 hexadecimal digits")?,
            sha256,
            position,
        })
    }

    /// Reads the payload from the stream. Returns `None` if its record is no longer there.
    pub(super) async fn read(&self, reader: &mut StreamReader) -> Result<Option<Bytes>> {
        let mut iterator = reader.iterator(&self.position).await?;
        while let Some(at) = iterator {
            let page = reader.page(&self.position.stream_arn, &at, Some(1)).await?;
            if let Some(record) = page.records.into_iter().next() {
                // An iterator at a record that has expired continues with the oldest record.
                if record.sequence_number != self.position.sequence_number {
                    return Ok(None);
                }
                return self.user_record(record.data.into_inner().into()).map(Some);
            }
            // A page without records can have others behind it.
            iterator = page
                .next_shard_iterator
                .filter(|_| page.millis_behind_latest != Some(0));
        }
        Ok(None)
    }

    /// Returns the user record in the data of a Kinesis record that is the payload.
    fn user_record(&self, data: Bytes) -> Result<Bytes> {
        let is_payload = |data: &[u8]| data.len() == self.bytes && sha256_hex(data) == self.sha256;
        user_records::find(data, self.bytes, &is_payload)?.ok_or_else(|| {
            anyhow!(
                "the record in the stream differs: it holds no user record of {} bytes with SHA-256 {}",
                self.bytes,
                self.sha256
            )
        })
    }
}

#[cfg(test)]
mod tests;
