//! The source of the records: the lines of a file, or a stream behind a Kinesis API.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::kinesis::KinesisStream;
use crate::packing::Packing;
use crate::stream::{Partitions, StreamRecord, partition_index, shard_id, user_records};

/// The maximum number of records of a shard that are read but not yet finished.
const READ_AHEAD_MAX: usize = 20_000;

/// The source to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file with one record per line. All its records are in the stream when the run begins.
    File {
        /// The file.
        path: PathBuf,
        /// The number of shards of the stream, 1–100.
        shards: usize,
        /// How the producer aggregates and compresses the lines.
        packing: Packing,
    },
    /// A stream, read from its oldest record.
    Kinesis {
        /// The URL of the Kinesis API.
        url: String,
        /// The stream's name.
        stream: String,
    },
}

/// An open source, with counts of the records read and still to be read.
#[derive(Debug)]
pub(crate) struct OpenSource {
    content: Content,
    /// The number of Kinesis records that may still be read.
    left: Cell<usize>,
    /// The number of user records read so far.
    read: Cell<usize>,
}

#[derive(Debug)]
enum Content {
    /// A file's text, and the records of each shard.
    Lines(Bytes, Vec<Vec<StreamRecord>>),
    /// A stream, and for each of its shards a permit for each further record that may be read ahead.
    Kinesis(KinesisStream, Vec<Semaphore>),
}

impl Source {
    /// Reads the file or finds the stream. At most `limit` records will be read.
    pub(crate) async fn open(&self, limit: Option<usize>) -> Result<OpenSource> {
        let limit = limit.unwrap_or(usize::MAX);
        let content = match self {
            Self::File { path, shards, packing } => {
                let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let text = Bytes::from(text);
                let shards = by_shard(&text, *shards, limit);
                let is_empty = shards.iter().all(Vec::is_empty);
                ensure!(!is_empty, "{} holds no records", path.display());
                let packed = shards.into_iter().map(|records| packing.pack(records));
                Content::Lines(text, packed.collect())
            }
            Self::Kinesis { url, stream } => {
                let stream = KinesisStream::open(url, stream).await?;
                let ahead = stream.shards().iter().map(|_| Semaphore::new(READ_AHEAD_MAX)).collect();
                Content::Kinesis(stream, ahead)
            }
        };
        Ok(OpenSource {
            content,
            left: Cell::new(limit),
            read: Cell::new(0),
        })
    }
}

impl OpenSource {
    /// Returns how many user records a file holds, or the limit on the Kinesis records to read from a stream. Returns
    /// `None` for a stream without a limit.
    pub(crate) fn expected(&self) -> Option<usize> {
        match &self.content {
            Content::Lines(_, shards) => Some(user_records(shards.iter().flatten())),
            Content::Kinesis(..) => Some(self.left.get()).filter(|left| *left < usize::MAX),
        }
    }

    /// Returns the number of user records read so far.
    pub(crate) fn count_read(&self) -> usize {
        self.read.get()
    }

    /// Returns a channel for the records of each shard, and the future that reads the source into the channels.
    pub(crate) fn channels(
        &self,
    ) -> (
        Vec<mpsc::UnboundedReceiver<StreamRecord>>,
        impl Future<Output = Result<()>> + '_,
    ) {
        let shards = match &self.content {
            Content::Lines(_, shards) => shards.len(),
            Content::Kinesis(stream, _) => stream.shards().len(),
        };
        let (senders, receivers) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        (receivers, self.read(senders))
    }

    /// Counts `records` Kinesis records of a shard as finished, so that as many others can be read.
    pub(crate) fn mark_finished(&self, shard: &str, records: usize) {
        if let Content::Kinesis(stream, ahead) = &self.content
            && let Some(number) = stream.shards().iter().position(|it| it == shard)
            && let Some(permits) = ahead.get(number)
        {
            permits.add_permits(records);
        }
    }

    /// Returns the line of the user record with this partition key, if the source is a file.
    pub(crate) fn line(&self, partition_key: &str) -> Option<&[u8]> {
        let Content::Lines(text, _) = &self.content else {
            return None;
        };
        let wanted = partition_key.strip_prefix("line-")?.parse::<u64>().ok()?;
        lines(text).find(|(number, _)| *number == wanted).map(|(_, line)| line)
    }

    async fn read(&self, senders: Vec<mpsc::UnboundedSender<StreamRecord>>) -> Result<()> {
        match &self.content {
            Content::Lines(_, shards) => {
                // The records arrive now: building the function may have taken time since the lines were read.
                let (entered, arrival_ms) = (Instant::now(), now_ms());
                for (records, sender) in shards.iter().zip(senders) {
                    for record in records {
                        self.send(
                            StreamRecord {
                                arrival_ms,
                                entered,
                                ..record.clone()
                            },
                            &sender,
                        );
                    }
                }
                Ok(())
            }
            Content::Kinesis(stream, ahead) => {
                let shards = stream.shards().iter().zip(ahead).zip(senders);
                let reads = shards.map(|((shard, ahead), sender)| self.read_shard(stream, shard, ahead, sender));
                try_join_all(reads).await.map(|_| ())
            }
        }
    }

    async fn read_shard(
        &self,
        stream: &KinesisStream,
        shard: &str,
        ahead: &Semaphore,
        sender: mpsc::UnboundedSender<StreamRecord>,
    ) -> Result<()> {
        let mut reader = stream.shard_reader(shard).await?;
        while self.left.get() > 0 {
            let Some(records) = reader.next(self.left.get()).await? else {
                break;
            };
            for record in records {
                // Other shards may have reached the limit in the meantime.
                if self.left.get() == 0 {
                    break;
                }
                ahead.acquire().await.context("the semaphore is never closed")?.forget();
                self.send(record, &sender);
            }
        }
        Ok(())
    }

    fn send(&self, record: StreamRecord, sender: &mpsc::UnboundedSender<StreamRecord>) {
        self.left.set(self.left.get().saturating_sub(1));
        self.read.set(self.read.get() + record.user_records);
        // The channel is closed when the run is over.
        _ = sender.send(record);
    }
}

/// Returns the non-empty lines of a text with their numbers, from 1. Empty lines count, but they are not records.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// Returns the first `limit` lines as records that arrive now, by shard.
fn by_shard(text: &Bytes, shards: usize, limit: usize) -> Vec<Vec<StreamRecord>> {
    let arrival_ms = now_ms();
    let mut stream = vec![Vec::new(); shards.max(1)];
    for (number, line) in lines(text).take(limit) {
        let record = StreamRecord {
            data: text.slice_ref(line),
            ..StreamRecord::from_line(number, b"", arrival_ms)
        };
        let index = partition_index(&record.partition_key, Partitions::Shards, stream.len());
        if let Some(shard) = stream.get_mut(index) {
            shard.push(StreamRecord {
                shard: shard_id(index),
                ..record
            });
        }
    }
    stream
}

/// Returns the current time, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a file of 100 lines as a stream of three shards, with a limit of 90 records. The lines hold 0, 1 and so
    /// on. An empty line follows each.
    async fn open(name: &str, packing: Packing) -> OpenSource {
        let path = std::env::temp_dir().join(format!("instream-source-{name}-{}", std::process::id()));
        let text: Vec<_> = (0..100).map(|line| format!("{line}\r\n\n")).collect();
        std::fs::write(&path, text.concat()).unwrap();
        let source = Source::File {
            path: path.clone(),
            shards: 3,
            packing,
        };
        let source = source.open(Some(90)).await.unwrap();
        std::fs::remove_file(path).unwrap();
        source
    }

    /// Returns all records of each shard.
    async fn read(source: &OpenSource) -> Vec<Vec<StreamRecord>> {
        let (shards, read) = source.channels();
        read.await.unwrap();
        let mut all = Vec::new();
        for mut shard in shards {
            let mut records = Vec::new();
            while let Some(record) = shard.recv().await {
                assert_eq!(record.shard, shard_id(all.len()));
                records.push(record);
            }
            all.push(records);
        }
        all
    }

    #[tokio::test]
    async fn each_line_is_in_one_shard_in_file_order() {
        let source = open("plain", Packing::default()).await;
        assert_eq!(source.expected(), Some(90));
        let mut all = Vec::new();
        for records in read(&source).await {
            let number = |record: &StreamRecord| String::from_utf8_lossy(&record.data).parse::<u64>().unwrap();
            let lines: Vec<_> = records.iter().map(number).collect();
            assert!(lines.is_sorted() && lines.len() > 10, "{lines:?}");
            all.extend(lines);
        }
        all.sort_unstable();
        assert_eq!(all, (0..90).collect::<Vec<_>>());
        assert_eq!(source.count_read(), 90);
        assert_eq!(source.line("line-3"), Some(b"1".as_slice()), "empty lines are counted");
    }

    #[tokio::test]
    async fn aggregated_lines_are_of_one_shard_and_each_is_counted_and_found() {
        let packing = Packing {
            aggregate: Some(4),
            gzip: true,
        };
        let source = open("packed", packing).await;
        assert_eq!(source.expected(), Some(90));
        let plain = read(&open("unpacked", Packing::default()).await).await;
        for (packed, lines) in read(&source).await.iter().zip(&plain) {
            assert_eq!(packed.len(), lines.len().div_ceil(4));
            assert_eq!(user_records(packed), lines.len());
            for (record, group) in packed.iter().zip(lines.chunks(4)) {
                assert_eq!(record.sequence_number, group[0].sequence_number);
                assert_eq!(record.partition_key, group[0].partition_key);
            }
        }
        assert_eq!(source.count_read(), 90);
        assert_eq!(source.line("line-3"), Some(b"1".as_slice()), "the line of the file");
        assert_eq!([source.line("line-2"), source.line("key")], [None; 2]);
    }
}
