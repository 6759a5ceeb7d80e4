//! Where the records come from: the lines of a file, or a stream behind a Kinesis API.

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
use crate::stream::{Over, StreamRecord, place, shard_id, user_records};

/// How many records of a shard are read ahead of the function.
const AHEAD_MAX: usize = 20_000;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file with a record a line, which a stream with so many shards holds when the run begins.
    File {
        /// The file.
        path: PathBuf,
        /// 1–100.
        shards: usize,
        /// What its producer does to the lines.
        packing: Packing,
    },
    /// A stream, from its oldest record on.
    Kinesis {
        /// The API.
        url: String,
        /// The stream's name.
        stream: String,
    },
}

/// A source that is there, and how far it is read.
#[derive(Debug)]
pub(crate) struct OpenSource {
    content: Content,
    /// How many Kinesis records may still be read.
    left: Cell<usize>,
    /// How many user records have been read.
    read: Cell<usize>,
}

#[derive(Debug)]
enum Content {
    /// A file's text, and the records of each shard.
    Lines(Bytes, Vec<Vec<StreamRecord>>),
    /// A stream, and for each of its shards how many records may be read ahead of the function.
    Kinesis(KinesisStream, Vec<Semaphore>),
}

impl Source {
    /// Reads the file, or looks for the stream. No more than `limit` records will be read.
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
                let ahead = stream.shards().iter().map(|_| Semaphore::new(AHEAD_MAX)).collect();
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
    /// How many user records there are, where that is known.
    pub(crate) fn expected(&self) -> Option<usize> {
        match &self.content {
            Content::Lines(_, shards) => Some(user_records(shards.iter().flatten())),
            Content::Kinesis(..) => Some(self.left.get()).filter(|left| *left < usize::MAX),
        }
    }

    /// How many user records have been read.
    pub(crate) fn count_read(&self) -> usize {
        self.read.get()
    }

    /// The records of each shard, and what reads them into there.
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

    /// So many Kinesis records of a shard are done with: there is room for others.
    pub(crate) fn done(&self, shard: &str, records: usize) {
        if let Content::Kinesis(stream, ahead) = &self.content
            && let Some(number) = stream.shards().iter().position(|it| it == shard)
            && let Some(room) = ahead.get(number)
        {
            room.add_permits(records);
        }
    }

    /// The line that is the user record with this partition key, where the source is a file.
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
                // The function may have been built since the lines were read.
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
        let mut position = stream.start_of(shard).await?;
        while self.left.get() > 0 {
            let Some(records) = position.next(self.left.get()).await? else {
                break;
            };
            for record in records {
                // Other shards may have used up the limit meanwhile.
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
        // Nobody listens when the run is over.
        _ = sender.send(record);
    }
}

/// The lines of a text with their numbers, from 1. Empty lines are no records.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// The first `limit` lines as records that have just arrived, by shard.
fn by_shard(text: &Bytes, shards: usize, limit: usize) -> Vec<Vec<StreamRecord>> {
    let arrival_ms = now_ms();
    let mut stream = vec![Vec::new(); shards.max(1)];
    for (number, line) in lines(text).take(limit) {
        let record = StreamRecord {
            data: text.slice_ref(line),
            ..StreamRecord::from_line(number, b"", arrival_ms)
        };
        let place = place(&record.partition_key, Over::Shards, stream.len());
        if let Some(shard) = stream.get_mut(place) {
            shard.push(StreamRecord {
                shard: shard_id(place),
                ..record
            });
        }
    }
    stream
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 90 of 100 lines, which hold 0, 1 and so on with an empty line after each, in three shards.
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

    /// All records of each shard.
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
    async fn each_line_is_in_one_shard_in_the_order_of_the_file() {
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
    async fn lines_that_share_a_record_are_of_one_shard_and_each_is_counted_and_found() {
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
        assert_eq!(source.line("line-3"), Some(b"1".as_slice()), "as it is in the file");
        assert_eq!([source.line("line-2"), source.line("key")], [None; 2]);
    }
}
