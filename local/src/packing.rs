//! Packs the lines of a file into Kinesis records, as a producer does.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::aggregate::{KplUserRecord, aggregate};
use crate::stream::StreamRecord;

/// The maximum size of an aggregate, so that it fits into a Kinesis record. An aggregate of a single line can be
/// larger.
const AGGREGATE_BYTES_MAX: usize = 1_000_000;
/// The maximum size of a user record in an aggregate, without its data and its key.
const ENTRY_OVERHEAD_BYTES: usize = 24;

/// The packing of the lines. By default, each line is a Kinesis record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packing {
    /// Whether each line is compressed with gzip.
    pub gzip: bool,
    /// The maximum number of consecutive lines of a shard in one Kinesis record, 1–10,000. `None` aggregates nothing.
    pub aggregate: Option<usize>,
}

impl Packing {
    /// Packs the lines of one shard. Each of the given records is one line.
    pub(crate) fn pack(self, mut records: Vec<StreamRecord>) -> Vec<StreamRecord> {
        if self.gzip {
            for record in &mut records {
                record.data = Bytes::from(gzip(&record.data));
            }
        }
        match self.aggregate {
            Some(lines) => groups(records, lines)
                .iter()
                .filter_map(|group| aggregate_group(group))
                .collect(),
            None => records,
        }
    }
}

/// Returns `data` compressed with gzip. The same data gives the same bytes.
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
        let entry_bytes = record.data.len() + record.partition_key.len() + ENTRY_OVERHEAD_BYTES;
        bytes += entry_bytes;
        match groups.last_mut() {
            Some(group) if group.len() < lines && bytes <= AGGREGATE_BYTES_MAX => group.push(record),
            Some(_) | None => {
                bytes = entry_bytes;
                groups.push(vec![record]);
            }
        }
    }
    groups
}

/// Returns one Kinesis record for the group, with the keys and the position of its first record. Returns `None` for an
/// empty group.
fn aggregate_group(group: &[StreamRecord]) -> Option<StreamRecord> {
    let puts = group.iter().map(|record| KplUserRecord {
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
    use crate::aggregate::count_user_records;

    fn lines(numbers: impl IntoIterator<Item = u64>, data: &[u8]) -> Vec<StreamRecord> {
        let numbers = numbers.into_iter();
        numbers.map(|number| StreamRecord::from_line(number, data, 0)).collect()
    }

    fn counts(records: &[StreamRecord]) -> Vec<usize> {
        let same = |record: &StreamRecord| record.user_records == count_user_records(&record.data);
        assert!(records.iter().all(same));
        records.iter().map(|record| record.user_records).collect()
    }

    #[test]
    fn an_aggregate_of_several_lines_has_the_key_and_sequence_number_of_the_first() {
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
        let put = |key| KplUserRecord {
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
        assert!(
            size(1000) < 1000 * (ENTRY_OVERHEAD_BYTES + "line-1".len()),
            "{}",
            size(1000)
        );
        assert_eq!(
            packing.pack(lines([1], &vec![b'x'; 2_000_000])).len(),
            1,
            "too large alone"
        );
    }

    #[test]
    fn each_line_is_compressed_before_lines_are_aggregated() {
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
        let puts = [&compressed[0], &compressed[1]].map(|record| KplUserRecord {
            partition_key: &record.partition_key,
            explicit_hash_key: None,
            data: &record.data,
        });
        assert_eq!(together[0].data, aggregate(&puts));
    }
}
