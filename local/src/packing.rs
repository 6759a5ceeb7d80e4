//! How a producer packs the lines of a file into Kinesis records.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::aggregate::{Put, aggregate};
use crate::stream::StreamRecord;

/// An aggregate holds no more than this of data and keys, so that it fits into a Kinesis record, unless one line is more.
const AGGREGATE_BYTES_MAX: usize = 1_000_000;
/// What a user record takes in an aggregate beside its data and its key, at most.
const ENTRY_BYTES: usize = 24;

/// What is done to the lines; by default nothing, so that each is a Kinesis record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packing {
    /// Each line is compressed by gzip.
    pub gzip: bool,
    /// So many lines of a shard at most, one after the other, share a Kinesis record: 1–10,000.
    pub aggregate: Option<usize>,
}

impl Packing {
    /// Packs the lines of one shard, which come as a record each.
    pub(crate) fn pack(self, mut records: Vec<StreamRecord>) -> Vec<StreamRecord> {
        if self.gzip {
            for record in &mut records {
                record.data = Bytes::from(gzip(&record.data));
            }
        }
        match self.aggregate {
            Some(lines) => groups(records, lines).iter().filter_map(|group| join(group)).collect(),
            None => records,
        }
    }
}

/// `data`, compressed by gzip; the same bytes for the same data.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish())
        .expect("memory takes everything")
}

fn groups(records: Vec<StreamRecord>, lines: usize) -> Vec<Vec<StreamRecord>> {
    let mut groups: Vec<Vec<StreamRecord>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let more = record.data.len() + record.partition_key.len() + ENTRY_BYTES;
        bytes += more;
        match groups.last_mut() {
            Some(group) if group.len() < lines && bytes <= AGGREGATE_BYTES_MAX => group.push(record),
            Some(_) | None => {
                bytes = more;
                groups.push(vec![record]);
            }
        }
    }
    groups
}

/// A Kinesis record in the place of the group's first; none of no records.
fn join(group: &[StreamRecord]) -> Option<StreamRecord> {
    let puts = group.iter().map(|record| Put {
        partition_key: &record.partition_key,
        explicit_hash_key: None,
        data: &record.data,
    });
    let puts: Vec<_> = puts.collect();
    Some(StreamRecord {
        data: aggregate(&puts),
        user_records: group.len(),
        ..group.first()?.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::aggregate::user_records;

    fn lines(numbers: impl IntoIterator<Item = u64>, data: &[u8]) -> Vec<StreamRecord> {
        let numbers = numbers.into_iter();
        numbers.map(|number| StreamRecord::from_line(number, data, 0)).collect()
    }

    fn counts(records: &[StreamRecord]) -> Vec<usize> {
        let same = |record: &StreamRecord| record.user_records == user_records(&record.data);
        assert!(records.iter().all(same));
        records.iter().map(|record| record.user_records).collect()
    }

    #[test]
    fn so_many_lines_share_a_record_in_the_place_of_their_first() {
        let packing = Packing {
            aggregate: Some(3),
            ..Packing::default()
        };
        let lines = lines([1, 2, 5, 7, 8, 9, 12], b"x");
        let packed = packing.pack(lines.clone());
        assert_eq!(counts(&packed), [3, 3, 1]);
        for (record, first) in packed.iter().zip(lines.iter().step_by(3)) {
            assert_eq!(record.partition_key, first.partition_key);
            assert_eq!(record.sequence_number, first.sequence_number);
        }
        let put = |key| Put {
            partition_key: key,
            explicit_hash_key: None,
            data: b"x",
        };
        assert_eq!(packed[1].data, aggregate(&["line-7", "line-8", "line-9"].map(put)));
        let alone = Packing {
            aggregate: Some(1),
            ..packing
        };
        assert_eq!(counts(&alone.pack(lines.clone())), [1; 7]);
        assert_eq!(Packing::default().pack(lines.clone()), lines);
    }

    #[test]
    fn an_aggregate_fits_into_a_kinesis_record() {
        let packing = Packing {
            aggregate: Some(10_000),
            ..Packing::default()
        };
        let packed = packing.pack(lines(1..=7, &vec![b'x'; 300_000]));
        assert_eq!(counts(&packed), [3, 3, 1]);
        let many = packing.pack(lines(1..=20_000, b""));
        assert_eq!(counts(&many), [10_000, 10_000]);
        let size = |count| packing.pack(lines(1..=count, b"x"))[0].data.len();
        assert!(size(1000) < 1000 * (ENTRY_BYTES + "line-1".len()), "{}", size(1000));
        assert_eq!(
            packing.pack(lines([1], &vec![b'x'; 2_000_000])).len(),
            1,
            "too large alone"
        );
    }

    #[test]
    fn each_line_is_compressed_before_lines_are_put_together() {
        let packing = Packing {
            gzip: true,
            aggregate: None,
        };
        let compressed = packing.pack(lines(1..=2, b"text"));
        let mut text = String::new();
        GzDecoder::new(&*compressed[1].data).read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), compressed.len()), ("text", 2));
        let packing = Packing {
            aggregate: Some(2),
            ..packing
        };
        let together = packing.pack(lines(1..=2, b"text"));
        let puts = [&compressed[0], &compressed[1]].map(|record| Put {
            partition_key: &record.partition_key,
            explicit_hash_key: None,
            data: &record.data,
        });
        assert_eq!(together[0].data, aggregate(&puts));
    }
}
