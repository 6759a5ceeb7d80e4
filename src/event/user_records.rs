//! Kinesis records in, user records out: what the producers put in.
//!
//! A plain Kinesis record holds one user record, its data. One that the Kinesis Producer Library aggregated holds many.
//! Either may be compressed as a whole, and so may each user record of an aggregate.

use std::sync::Arc;

use bytes::Bytes;

use super::decompress::Allowance;
use super::{KinesisRecord, kpl};
use crate::outcome::{Failure, Outcome, Rejection, catch_panic};

/// How many times `DECOMPRESS_LIMIT_BYTES` a batch may take, unpacked. One that takes more is handled in parts: what lies
/// behind comes again.
const LIMITS_IN_A_BATCH: usize = 4;
/// What a user record of an aggregate takes beside its data, about.
const USER_RECORD_BYTES: usize = 512;

/// What a producer put into the stream.
#[derive(Debug)]
pub struct UserRecord {
    /// Position of the Kinesis record that held it.
    pub position: usize,
    /// Tells apart the user records of one Kinesis record, from 0.
    pub sub_sequence_number: u64,
    /// Its own partition key, where it was aggregated.
    pub partition_key: Option<Arc<str>>,
    /// What its producer had in place of the key's hash, where it was aggregated with that.
    pub explicit_hash_key: Option<Arc<str>>,
    /// Its bytes as they were put in, compressed or not; `None` where the event has none that can be read.
    pub original: Option<Bytes>,
    /// Its bytes, unpacked, or what became of the record because there are none.
    pub data: Result<Bytes, Outcome>,
}

/// How records are unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacking {
    /// `COMPRESSION`: whether what begins like gzip or zstd is unpacked.
    pub decompress: bool,
    /// `DECOMPRESS_LIMIT_BYTES`: bytes that one Kinesis record may unpack to, 1–268,435,456.
    pub limit_bytes: usize,
}

/// A batch, unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'b> {
    /// Its Kinesis records, in its order.
    pub records: &'b [KinesisRecord<'b>],
    /// Their user records, in the same order.
    pub user_records: &'b [UserRecord],
    /// The ARN of the stream that they come from; empty where the event does not tell.
    pub stream_arn: &'b str,
}

impl<'b> Batch<'b> {
    /// The Kinesis record that holds the user record of this index.
    pub fn record_of(&self, index: usize) -> Option<&'b KinesisRecord<'b>> {
        self.records.get(self.user_records.get(index)?.position)
    }

    /// What tells the user record of this index from all others of its stream: `shardId-000000000000:4959…-0`. `None` for
    /// a record without any identity.
    pub fn id(&self, index: usize) -> Option<String> {
        let user_record = self.user_records.get(index)?;
        let record = self.record_of(index)?;
        let place = record.event_id.as_deref().or(record.sequence_number.as_deref())?;
        Some(format!("{place}-{}", user_record.sub_sequence_number))
    }
}

/// Unpacks each Kinesis record into its user records, in batch order. A record that cannot be read becomes one user
/// record that says so: it, too, needs an outcome.
pub fn decode(records: &[KinesisRecord<'_>], unpacking: Unpacking) -> Vec<UserRecord> {
    decode_by(records, unpacking, unpack)
}

type Unpack = fn(usize, &KinesisRecord<'_>, Option<&mut Allowance>, &mut Vec<UserRecord>) -> Result<(), Rejection>;

fn decode_by(records: &[KinesisRecord<'_>], unpacking: Unpacking, unpack: Unpack) -> Vec<UserRecord> {
    let mut decoded = Vec::with_capacity(records.len());
    let mut left = unpacking.limit_bytes.saturating_mul(LIMITS_IN_A_BATCH);
    for (position, record) in records.iter().enumerate() {
        let before = decoded.len();
        let mut allowance = Allowance::new(unpacking.limit_bytes);
        let allowed = unpacking.decompress.then_some(&mut allowance);
        let unpacked = if left == 0 {
            Err(Outcome::Failed(Failure::TooMuchAtOnce))
        } else {
            let unpacked = catch_panic(|| unpack(position, record, allowed, &mut decoded));
            unpacked.and_then(|unpacked| unpacked.map_err(Outcome::from))
        };
        if let Err(outcome) = unpacked {
            decoded.truncate(before);
            decoded.push(UserRecord::whole(position, record, Err(outcome)));
        }
        let others = decoded.len().saturating_sub(before + 1);
        left = left.saturating_sub(allowance.used() + others * USER_RECORD_BYTES);
    }
    decoded
}

/// Adds the user records of one Kinesis record to those that are `decoded`, decompressed as far as that is allowed.
fn unpack(
    position: usize,
    record: &KinesisRecord<'_>,
    mut allowed: Option<&mut Allowance>,
    decoded: &mut Vec<UserRecord>,
) -> Result<(), Rejection> {
    let original = record.data.clone()?;
    let mut decompress = |data: &Bytes| {
        let unpacked = allowed.as_mut().map(|allowance| allowance.unpack(data)).transpose()?;
        Ok(unpacked.flatten().unwrap_or_else(|| data.clone()))
    };
    let data = decompress(&original)?;
    let Some(puts) = kpl::deaggregate(&data)? else {
        decoded.push(UserRecord::whole(position, record, Ok(data)));
        return Ok(());
    };
    for (sub_sequence_number, put) in (0..).zip(puts) {
        decoded.push(UserRecord {
            position,
            sub_sequence_number,
            partition_key: Some(put.partition_key),
            explicit_hash_key: put.explicit_hash_key,
            data: decompress(&put.data).map_err(Outcome::from),
            original: Some(put.data),
        });
    }
    Ok(())
}

impl UserRecord {
    /// The only user record of a Kinesis record: its bytes, or what became of it.
    pub fn whole(position: usize, record: &KinesisRecord<'_>, data: Result<Bytes, Outcome>) -> Self {
        Self {
            position,
            sub_sequence_number: 0,
            partition_key: None,
            explicit_hash_key: None,
            original: record.data.as_ref().ok().cloned(),
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use instream_local::aggregate::KplUserRecord;
    use instream_local::packing::gzip;

    use super::*;
    use crate::event;

    const UNPACKING: Unpacking = Unpacking {
        decompress: true,
        limit_bytes: 1000,
    };

    /// Decodes a batch whose records, 1 and up, hold this data.
    fn with_records(data: &[&[u8]], check: impl FnOnce(&[KinesisRecord<'_>])) {
        let entry = |(number, data): (usize, &&[u8])| {
            let data = BASE64.encode(data);
            format!(r#"{{"kinesis":{{"sequenceNumber":"{number}","data":"{data}"}}}}"#)
        };
        let entries: Vec<_> = (1..).zip(data).map(entry).collect();
        let payload = format!(r#"{{"Records":[{}]}}"#, entries.join(","));
        check(&event::read(payload.as_bytes()).unwrap().records);
    }

    fn aggregate(data: &[&[u8]]) -> Bytes {
        let (partition_key, explicit_hash_key) = ("key", None);
        let put = |data| KplUserRecord {
            partition_key,
            explicit_hash_key,
            data,
        };
        instream_local::aggregate::aggregate(&data.iter().copied().map(put).collect::<Vec<_>>())
    }

    /// Each user record's place, and its data or how it ended.
    fn shown(user_records: &[UserRecord]) -> Vec<String> {
        let shown = |it: &UserRecord| {
            let data = match &it.data {
                Ok(data) => String::from_utf8_lossy(data).into_owned(),
                Err(Outcome::Rejected(rejection)) => format!("{:?}", rejection.kind),
                Err(Outcome::Failed(failure)) => failure.to_string(),
                Err(other) => panic!("{other:?}"),
            };
            format!("{}-{} {data}", it.position, it.sub_sequence_number)
        };
        user_records.iter().map(shown).collect()
    }

    #[test]
    fn compression_is_undone_before_aggregation_and_once_more_after_it() {
        let inner = aggregate(&[b"plain", &gzip(b"packed"), b""]);
        let twice = gzip(&gzip(b"twice"));
        with_records(&[b"alone", &gzip(&inner), &twice], |records| {
            let user_records = decode(records, UNPACKING);
            let shown = shown(&user_records);
            assert_eq!(shown[..4], ["0-0 alone", "1-0 plain", "1-1 packed", "1-2 "]);
            assert_eq!(
                user_records[4].data.as_ref().unwrap(),
                &gzip(b"twice"),
                "a plain record is packed once"
            );
            assert_eq!(user_records[2].original.as_ref().unwrap(), &gzip(b"packed"));
            assert_eq!(user_records[2].partition_key.as_deref(), Some("key"));
            let none = Unpacking {
                decompress: false,
                ..UNPACKING
            };
            let as_it_came = decode(records, none);
            assert_eq!(as_it_came.len(), 3);
            assert_eq!(as_it_came[2].data.as_ref().unwrap(), &twice);
        });
    }

    #[test]
    fn what_is_broken_inside_an_aggregate_is_rejected_alone_and_keeps_its_bytes() {
        let (large, cut) = (gzip(&[7; 1001]), &gzip(b"cut")[..12]);
        let aggregate = aggregate(&[b"good", cut, &large, b"too"]);
        with_records(&[&aggregate], |records| {
            let user_records = decode(records, UNPACKING);
            let expected = ["0-0 good", "0-1 BrokenRecord", "0-2 UnpackedTooLarge", "0-3 too"];
            assert_eq!(shown(&user_records), expected);
            assert_eq!(user_records[1].original.as_deref(), Some(cut));
        });
    }

    #[test]
    fn a_batch_that_unpacks_to_too_much_is_handled_in_parts() {
        let packed = gzip(&[b'x'; 1000]);
        with_records(&[&packed[..]; 6], |records| {
            let shown = shown(&decode(records, UNPACKING));
            let comes_again = "the batch unpacks to more than one invocation may hold";
            let ends: Vec<_> = shown.iter().map(|it| it.ends_with(comes_again)).collect();
            assert_eq!(ends, [false, false, false, false, true, true]);
        });
    }

    #[test]
    fn a_panic_while_unpacking_fails_that_record_alone() {
        with_records(&[&b"hi"[..]; 3], |records| {
            let user_records = decode_by(records, UNPACKING, |position, record, _, decoded| {
                decoded.push(UserRecord::whole(
                    position,
                    record,
                    record.data.clone().map_err(Outcome::from),
                ));
                assert_ne!(position, 1, "a defect in unpacking");
                Ok(())
            });
            let expected = ["0-0 hi", "1-0 Suspect: handling the record panicked", "2-0 hi"];
            assert_eq!(shown(&user_records), expected);
        });
    }
}
