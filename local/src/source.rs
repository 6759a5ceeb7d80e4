//! Where the records come from: the lines of a file, or a stream behind a Kinesis API.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::kinesis::KinesisStream;
use crate::stream::{Over, StreamRecord, place, shard_id};

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
    /// How many records may still be read.
    left: Cell<usize>,
    read: Cell<usize>,
}

#[derive(Debug)]
enum Content {
    /// The records of each shard.
    Lines(Vec<Vec<StreamRecord>>),
    /// A stream, and for each of its shards how many records may be read ahead of the function.
    Kinesis(KinesisStream, Vec<Semaphore>),
}

impl Source {
    /// Reads the file, or looks for the stream. No more than `limit` records will be read.
    pub(crate) async fn open(&self, limit: Option<usize>) -> Result<OpenSource> {
        let limit = limit.unwrap_or(usize::MAX);
        let content = match self {
            Self::File { path, shards } => Content::Lines(lines(path, *shards, limit)?),
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
    /// How many records there are, where that is known.
    pub(crate) fn expected(&self) -> Option<usize> {
        match &self.content {
            Content::Lines(shards) => Some(shards.iter().map(Vec::len).sum()),
            Content::Kinesis(..) => Some(self.left.get()).filter(|left| *left < usize::MAX),
        }
    }

    /// How many records have been read.
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
            Content::Lines(shards) => shards.len(),
            Content::Kinesis(stream, _) => stream.shards().len(),
        };
        let (senders, receivers) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        (receivers, self.read(senders))
    }

    /// So many records of a shard are done with: there is room for others.
    pub(crate) fn done(&self, shard: &str, records: usize) {
        if let Content::Kinesis(stream, ahead) = &self.content
            && let Some(number) = stream.shards().iter().position(|it| it == shard)
            && let Some(room) = ahead.get(number)
        {
            room.add_permits(records);
        }
    }

    /// The data of the record with this partition key, where keys are unique and records kept.
    pub(crate) fn data(&self, partition_key: &str) -> Option<&[u8]> {
        let Content::Lines(shards) = &self.content else {
            return None;
        };
        let record = shards.iter().flatten().find(|it| it.partition_key == partition_key)?;
        Some(&record.data)
    }

    async fn read(&self, senders: Vec<mpsc::UnboundedSender<StreamRecord>>) -> Result<()> {
        match &self.content {
            Content::Lines(shards) => {
                let entered = Instant::now();
                for (records, sender) in shards.iter().zip(senders) {
                    for record in records {
                        self.send(
                            StreamRecord {
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
        self.read.set(self.read.get() + 1);
        // Nobody listens when the run is over.
        _ = sender.send(record);
    }
}

/// The lines of a file as records that have just arrived, by shard. Empty lines are no records.
fn lines(path: &Path, shards: usize, limit: usize) -> Result<Vec<Vec<StreamRecord>>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let arrival_ms = now_ms();
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let records = (1..)
        .zip(lines)
        .filter(|(_, line)| !line.is_empty())
        .take(limit)
        .map(|(number, line)| StreamRecord::from_line(number, line, arrival_ms));
    let mut stream = vec![Vec::new(); shards.max(1)];
    for mut record in records {
        let number = place(&record.partition_key, Over::Shards, stream.len());
        record.shard = shard_id(number);
        if let Some(shard) = stream.get_mut(number) {
            shard.push(record);
        }
    }
    ensure!(
        stream.iter().any(|shard| !shard.is_empty()),
        "{} holds no records",
        path.display()
    );
    Ok(stream)
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_line_is_in_one_shard_in_the_order_of_the_file() {
        let path = std::env::temp_dir().join(format!("instream-source-{}", std::process::id()));
        let text: Vec<_> = (0..100).map(|line| format!("{line}\r\n\n")).collect();
        std::fs::write(&path, text.concat()).unwrap();
        let source = Source::File {
            path: path.clone(),
            shards: 3,
        };
        let source = source.open(Some(90)).await.unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(source.expected(), Some(90));
        let (shards, read) = source.channels();
        read.await.unwrap();
        assert_eq!(source.count_read(), 90);
        let mut all = Vec::new();
        for (number, mut shard) in shards.into_iter().enumerate() {
            let mut lines = Vec::new();
            while let Some(record) = shard.recv().await {
                assert_eq!(record.shard, shard_id(number));
                lines.push(String::from_utf8_lossy(&record.data).parse::<u64>().unwrap());
            }
            assert!(lines.is_sorted() && lines.len() > 10, "{lines:?}");
            all.extend(lines);
        }
        all.sort_unstable();
        assert_eq!(all, (0..90).collect::<Vec<_>>());
        assert_eq!(source.data("line-3"), Some(b"1".as_slice()), "empty lines are counted");
    }
}
