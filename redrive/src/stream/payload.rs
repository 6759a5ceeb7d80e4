//! The payload of a dead letter that was too large for its destination, and was delivered with its position in the
//! stream instead.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::Deserialize;

use super::{StreamReader, user_records};
use crate::letter::sha256_hex;

/// The member `payload` of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payload {
    bytes: usize,
    /// The SHA-256 of the bytes, as hexadecimal digits.
    pub(crate) sha256: String,
    pub(crate) stream_arn: String,
    shard_id: String,
    sequence_number: String,
}

impl Payload {
    /// Reads the payload from the stream. Returns `None` if its record is no longer there.
    pub(crate) async fn read(&self, reader: &mut StreamReader) -> Result<Option<Bytes>> {
        // A record that was redriven and rejected again has the number of the user record here as well.
        let number = self.sequence_number.split('#').next().unwrap_or_default();
        let records = reader.records(&self.stream_arn, &self.shard_id, number, number).await?;
        let Some(record) = records.into_iter().next() else {
            return Ok(None);
        };
        let is_payload = |data: &[u8]| data.len() == self.bytes && sha256_hex(data) == self.sha256;
        let found = user_records::find(record.data.into_inner().into(), self.bytes, &is_payload)?;
        let Self { bytes, sha256, .. } = self;
        let found = found.with_context(|| {
            format!("the record in the stream differs: it holds no user record of {bytes} bytes with SHA-256 {sha256}")
        })?;
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests;
