//! Kinesis records in, user records out: the units that the producers wrote.
//!
//! A plain Kinesis record holds one user record, its data. A record that the Kinesis Producer Library aggregated holds
//! many. Both kinds may be compressed as a whole, and so may each user record of an aggregate.

use std::sync::Arc;

use bytes::Bytes;

use super::decompress::DecompressBudget;
use super::split::{Around, SplitRules};
use super::{KinesisRecord, Pace, kpl};
use crate::outcome::{Failure, Outcome, Rejection, RejectionKind, catch_panic};

/// The maximum size of a decoded batch, in multiples of `DECOMPRESS_LIMIT_BYTES`. Larger batches are handled in parts:
/// the records beyond the maximum fail and are redelivered.
const BATCH_LIMIT_FACTOR: usize = 4;
/// The approximate memory of an aggregated user record, without its data.
const USER_RECORD_OVERHEAD_BYTES: usize = 512;

/// One unit that a producer wrote to the stream.
#[derive(Debug)]
pub struct UserRecord {
    /// The index in the batch of the Kinesis record that holds it.
    pub record_index: usize,
    /// The number of the user record in its Kinesis record, from 0.
    pub sub_sequence_number: u64,
    /// Its own partition key, if it was aggregated.
    pub partition_key: Option<Arc<str>>,
    /// Its own explicit hash key, if it was aggregated with one.
    pub explicit_hash_key: Option<Arc<str>>,
    /// Its bytes as the producer wrote them, compressed or not. `None` if the bytes cannot be read from the event.
    pub original: Option<Bytes>,
    /// The rest of its record, if it is an element of an array in it (`SPLIT_PATH`).
    pub around: Option<Arc<Around>>,
    /// Its decompressed bytes, or the outcome of the record if it has none.
    pub data: Result<Bytes, Outcome>,
}

/// The settings of decompression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecompressOptions {
    /// `COMPRESSION`: whether gzip, zstd and zlib data is decompressed.
    pub enabled: bool,
    /// `DECOMPRESS_LIMIT_BYTES`: the maximum number of bytes that one Kinesis record may decompress to, 1–268,435,456.
    pub limit_bytes: usize,
}

/// The rules by which Kinesis records become user records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeRules {
    /// The decompression.
    pub decompress: DecompressOptions,
    /// The splitting, and the records that are skipped.
    pub split: SplitRules,
}

/// A decoded batch.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'b> {
    /// The Kinesis records, in batch order.
    pub records: &'b [KinesisRecord<'b>],
    /// Their user records, in the same order.
    pub user_records: &'b [UserRecord],
    /// The ARN of the stream of the records. Empty if the event does not contain it.
    pub stream_arn: &'b str,
}

impl<'b> Batch<'b> {
    /// Returns the Kinesis record that holds the user record of this index.
    pub fn record_of(&self, index: usize) -> Option<&'b KinesisRecord<'b>> {
        self.records.get(self.user_records.get(index)?.record_index)
    }

    /// Returns an ID of the user record of this index that is unique in its stream, such as
    /// `shardId-000000000000:4959…-0`. Returns `None` if its Kinesis record has no [ID](Self::record_id).
    pub fn id(&self, index: usize) -> Option<String> {
        let user_record = self.user_records.get(index)?;
        let record_id = self.record_id(index)?;
        Some(format!("{record_id}-{}", user_record.sub_sequence_number))
    }

    /// Returns the event ID or the sequence number of the Kinesis record that holds the user record of this index.
    /// Returns `None` if it has neither, or was not decoded: the user record stands for all of its user records then,
    /// and must not be taken for the first.
    pub fn record_id(&self, index: usize) -> Option<&'b str> {
        let user_record = self.user_records.get(index)?;
        if let Err(Outcome::Failed(Failure::OutOfTime | Failure::BatchTooLarge)) = user_record.data {
            return None;
        }
        let record = self.record_of(index)?;
        record.event_id.as_deref().or(record.sequence_number.as_deref())
    }
}

/// Decodes each Kinesis record into its user records, in batch order. A record that cannot be read becomes one user
/// record with an outcome, because it needs an outcome too. So does each record after the end of the `pace`.
pub async fn decode(records: &[KinesisRecord<'_>], rules: &DecodeRules, pace: Pace) -> Vec<UserRecord> {
    decode_with(records, rules, pace, decode_record).await
}

type DecodeRecord = fn(usize, &KinesisRecord<'_>, &mut Unpacking<'_>, &mut Vec<UserRecord>) -> Result<(), Rejection>;

/// The unpacking of one Kinesis record.
struct Unpacking<'r> {
    /// The bytes that it may decompress to. `None` if nothing is decompressed.
    budget: Option<DecompressBudget>,
    rules: &'r SplitRules,
}

async fn decode_with(
    records: &[KinesisRecord<'_>],
    rules: &DecodeRules,
    mut pace: Pace,
    decode_record: DecodeRecord,
) -> Vec<UserRecord> {
    let mut decoded = Vec::with_capacity(records.len());
    let limit_bytes = rules.decompress.limit_bytes;
    let mut remaining = limit_bytes.saturating_mul(BATCH_LIMIT_FACTOR);
    let mut is_over = false;
    for (record_index, record) in records.iter().enumerate() {
        let before = decoded.len();
        let mut unpacking = Unpacking {
            budget: rules.decompress.enabled.then(|| DecompressBudget::new(limit_bytes)),
            rules: &rules.split,
        };
        let result = if is_over {
            Err(Outcome::Failed(Failure::OutOfTime))
        } else if remaining == 0 {
            Err(Outcome::Failed(Failure::BatchTooLarge))
        } else {
            let result = catch_panic(|| decode_record(record_index, record, &mut unpacking, &mut decoded));
            result.and_then(|result| result.map_err(Outcome::from))
        };
        if let Err(outcome) = result {
            decoded.truncate(before);
            decoded.push(UserRecord::not_aggregated(record_index, record, Err(outcome)));
        }
        let others = decoded.len().saturating_sub(before + 1);
        let unpacked = unpacking.budget.map_or(0, |budget| budget.used());
        remaining = remaining.saturating_sub(unpacked + others * USER_RECORD_OVERHEAD_BYTES);
        let packed = record.data.as_ref().map_or(0, Bytes::len);
        is_over = is_over || pace.is_check_due(packed + unpacked) && pace.is_over().await;
    }
    decoded
}

/// Appends the user records of one Kinesis record to `decoded`.
fn decode_record(
    record_index: usize,
    record: &KinesisRecord<'_>,
    unpacking: &mut Unpacking<'_>,
    decoded: &mut Vec<UserRecord>,
) -> Result<(), Rejection> {
    let data = unpacking.decompress(record.data.as_ref().map_err(Clone::clone)?)?;
    let first = decoded.len();
    let mut push = |mut user_record: UserRecord| {
        let sub_sequence_number = decoded.len() - first;
        if sub_sequence_number == kpl::USER_RECORDS_MAX {
            return Err(Rejection {
                kind: RejectionKind::UnpackedTooLarge,
                message: format!(
                    "the Kinesis record holds more than {} user records",
                    kpl::USER_RECORDS_MAX
                ),
            });
        }
        user_record.sub_sequence_number = sub_sequence_number as u64;
        decoded.push(user_record);
        Ok(())
    };
    let Some(kpl_records) = kpl::deaggregate(&data)? else {
        let whole = UserRecord::not_aggregated(record_index, record, Ok(data));
        return unpacking.rules.split(whole, &mut push);
    };
    for it in kpl_records {
        let user_record = UserRecord {
            record_index,
            sub_sequence_number: 0,
            partition_key: Some(it.partition_key),
            explicit_hash_key: it.explicit_hash_key,
            data: unpacking.decompress(&it.data).map_err(Outcome::from),
            original: Some(it.data),
            around: None,
        };
        unpacking.rules.split(user_record, &mut push)?;
    }
    Ok(())
}

impl Unpacking<'_> {
    fn decompress(&mut self, data: &Bytes) -> Result<Bytes, Rejection> {
        let decompressed = self.budget.as_mut().map(|budget| budget.decompress(data)).transpose()?;
        Ok(decompressed.flatten().unwrap_or_else(|| data.clone()))
    }
}

impl UserRecord {
    /// Creates the user record of a Kinesis record that is not aggregated, from its bytes or its outcome.
    pub fn not_aggregated(record_index: usize, record: &KinesisRecord<'_>, data: Result<Bytes, Outcome>) -> Self {
        Self {
            record_index,
            sub_sequence_number: 0,
            partition_key: None,
            explicit_hash_key: None,
            original: record.data.as_ref().ok().cloned(),
            around: None,
            data,
        }
    }

    /// Returns the length of the [payload](Self::payload), in bytes.
    pub fn payload_bytes(&self) -> usize {
        let around_bytes = self.around.as_ref().map_or(0, |around| around.bytes());
        self.original
            .as_ref()
            .map_or(0, |original| around_bytes + original.len())
    }

    /// Returns the bytes that hold this user record alone and are decoded to it: what a producer would write. Returns
    /// `None` if the bytes cannot be read from the event.
    pub fn payload(&self) -> Option<Bytes> {
        let original = self.original.as_ref()?;
        Some(match &self.around {
            Some(around) => around.with_element(original),
            None => original.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use instream_local::aggregate::KplUserRecord;
    use instream_local::packing::gzip;

    use super::*;
    use crate::event::pace::{advance_at_work, on_a_paused_clock};
    use crate::event::{self, Split};

    const DECOMPRESS: DecompressOptions = DecompressOptions {
        enabled: true,
        limit_bytes: 1000,
    };

    fn rules(decompress: DecompressOptions) -> DecodeRules {
        let split = SplitRules::default();
        DecodeRules { decompress, split }
    }

    /// Decodes records without a limit of time.
    fn decode(records: &[KinesisRecord<'_>], options: DecompressOptions) -> Vec<UserRecord> {
        decode_by(records, options, Duration::from_mins(15), decode_record)
    }

    fn decode_by(
        records: &[KinesisRecord<'_>],
        options: DecompressOptions,
        left_for_calls: Duration,
        decode_record: DecodeRecord,
    ) -> Vec<UserRecord> {
        let rules = rules(options);
        on_a_paused_clock(async { decode_with(records, &rules, Pace::start(left_for_calls), decode_record).await })
    }

    /// Reads an event whose records, numbered from 1, hold this data, and passes the records to `check`.
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
        let user_record = |data| KplUserRecord {
            partition_key,
            explicit_hash_key,
            data,
        };
        instream_local::aggregate::aggregate(&data.iter().copied().map(user_record).collect::<Vec<_>>())
    }

    /// Returns the record index, the number and the data or the outcome of each user record.
    fn shown(user_records: &[UserRecord]) -> Vec<String> {
        let shown = |it: &UserRecord| {
            let data = match &it.data {
                Ok(data) => String::from_utf8_lossy(data).into_owned(),
                Err(Outcome::Rejected(rejection)) => format!("{:?}", rejection.kind),
                Err(Outcome::Failed(failure)) => failure.to_string(),
                Err(Outcome::Skipped) => "Skipped".to_owned(),
                Err(other) => panic!("{other:?}"),
            };
            format!("{}-{} {data}", it.record_index, it.sub_sequence_number)
        };
        user_records.iter().map(shown).collect()
    }

    #[test]
    fn records_are_decompressed_before_and_after_de_aggregation() {
        let inner = aggregate(&[b"plain", &gzip(b"packed"), b""]);
        let twice = gzip(&gzip(b"twice"));
        with_records(&[b"alone", &gzip(&inner), &twice], |records| {
            let user_records = decode(records, DECOMPRESS);
            let shown = shown(&user_records);
            assert_eq!(shown[..4], ["0-0 alone", "1-0 plain", "1-1 packed", "1-2 Skipped"]);
            assert_eq!(
                user_records[4].data.as_ref().unwrap(),
                &gzip(b"twice"),
                "a record that is not aggregated is decompressed once"
            );
            assert_eq!(user_records[2].original.as_ref().unwrap(), &gzip(b"packed"));
            assert_eq!(user_records[2].partition_key.as_deref(), Some("key"));
            let disabled = DecompressOptions {
                enabled: false,
                ..DECOMPRESS
            };
            let compressed = decode(records, disabled);
            assert_eq!(compressed.len(), 3);
            assert_eq!(compressed[2].data.as_ref().unwrap(), &twice);
        });
    }

    #[test]
    fn a_broken_user_record_of_an_aggregate_is_rejected_alone_and_keeps_its_bytes() {
        let (large, truncated) = (gzip(&[7; 1001]), &gzip(b"cut")[..12]);
        let aggregate = aggregate(&[b"good", truncated, &large, b"too"]);
        with_records(&[&aggregate], |records| {
            let user_records = decode(records, DECOMPRESS);
            let expected = ["0-0 good", "0-1 BrokenRecord", "0-2 UnpackedTooLarge", "0-3 too"];
            assert_eq!(shown(&user_records), expected);
            assert_eq!(user_records[1].original.as_deref(), Some(truncated));
        });
    }

    #[test]
    fn a_batch_that_decompresses_to_too_much_is_handled_in_parts() {
        let compressed = gzip(&[b'x'; 1000]);
        with_records(&[&compressed[..]; 6], |records| {
            let decoded = decode(records, DECOMPRESS);
            let shown = shown(&decoded);
            let too_large = "the batch decompresses to more than one invocation may hold";
            let ends: Vec<_> = shown.iter().map(|it| it.ends_with(too_large)).collect();
            assert_eq!(ends, [false, false, false, false, true, true]);
        });
    }

    #[test]
    fn a_batch_that_takes_longer_than_an_invocation_is_decoded_over_several_deliveries() {
        let long = [b'1'].repeat(64 * 1024);
        with_records(&[&long[..]; 5], |records| {
            let in_1_s: DecodeRecord = |record_index, record, unpacking, decoded| {
                advance_at_work(Duration::from_secs(1));
                decode_record(record_index, record, unpacking, decoded)
            };
            let in_time = |records: &[KinesisRecord<'_>], left_for_calls: u64| {
                let decoded = decode_by(records, DECOMPRESS, Duration::from_secs(left_for_calls), in_1_s);
                assert_eq!(decoded.len(), records.len(), "each Kinesis record has an outcome");
                let (in_time, late) = decoded.split_at(decoded.iter().take_while(|it| it.data.is_ok()).count());
                let out_of_time = |it: &UserRecord| matches!(it.data, Err(Outcome::Failed(Failure::OutOfTime)));
                assert!(late.iter().all(out_of_time));
                in_time.len()
            };
            assert_eq!(in_time(records, 4), 2, "half of the time is left for calls");
            assert_eq!(in_time(&records[2..], 4), 2);
            assert_eq!(in_time(&records[4..], 4), 1);
            assert_eq!(in_time(records, 0), 1, "one record is decoded in any case");
            assert_eq!(in_time(records, 10), 5);
        });
    }

    #[test]
    fn a_kinesis_record_with_too_many_lines_is_rejected() {
        let rules = DecodeRules {
            split: SplitRules::new(Some(Split::Lines), None),
            ..rules(DECOMPRESS)
        };
        let lines = b"1\n".repeat(kpl::USER_RECORDS_MAX);
        with_records(&[&[&lines[..], b"2"].concat(), &lines], |records| {
            let pace = Pace::start(Duration::from_mins(15));
            let user_records = on_a_paused_clock(async { super::decode(records, &rules, pace).await });
            let (first, others) = user_records.split_first().unwrap();
            assert_eq!(shown(std::slice::from_ref(first)), ["0-0 UnpackedTooLarge"]);
            assert!(others.len() == kpl::USER_RECORDS_MAX && others.iter().all(|it| it.data.is_ok()));
        });
    }

    #[test]
    fn a_record_that_was_not_decoded_is_not_taken_for_its_first_user_record() {
        let long = [b'1'].repeat(64 * 1024);
        with_records(&[&long[..]; 2], |records| {
            let user_records = decode_by(records, DECOMPRESS, Duration::ZERO, decode_record);
            let batch = Batch {
                records,
                user_records: &user_records,
                stream_arn: "",
            };
            assert_eq!([batch.id(0), batch.id(1)], [Some("1-0".to_owned()), None]);
        });
    }

    #[test]
    fn a_panic_while_decoding_a_record_fails_only_that_record() {
        with_records(&[&b"hi"[..]; 3], |records| {
            let left_for_calls = Duration::from_mins(15);
            let user_records = decode_by(
                records,
                DECOMPRESS,
                left_for_calls,
                |record_index, record, _, decoded| {
                    decoded.push(UserRecord::not_aggregated(
                        record_index,
                        record,
                        record.data.clone().map_err(Outcome::from),
                    ));
                    assert_ne!(record_index, 1, "a defect in decoding");
                    Ok(())
                },
            );
            let expected = ["0-0 hi", "1-0 Suspect: handling the record panicked", "2-0 hi"];
            assert_eq!(shown(&user_records), expected);
        });
    }
}
