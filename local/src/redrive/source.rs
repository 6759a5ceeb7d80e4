//! Where letters lie: files and folders, objects in S3, queues.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use super::aws::Services;
use super::bucket::Bucket;
use super::files::Files;
use super::letter::Origin;
use super::queue::Queue;

/// A place that was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of JSON lines, or a folder of such.
    Path(PathBuf),
    /// Objects in S3.
    Bucket {
        /// The bucket.
        bucket: String,
        /// What their keys begin with.
        prefix: String,
    },
    /// The queue of this URL.
    Queue(String),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(place) = text.strip_prefix("s3:") {
            let place = place.trim_start_matches('/');
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            if bucket.is_empty() {
                return Err("an S3 source is like s3://BUCKET/PREFIX".to_owned());
            }
            return Ok(Self::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            });
        }
        if let Some(url) = text.strip_prefix("sqs:") {
            return if url.starts_with("http") {
                Ok(Self::Queue(url.to_owned()))
            } else {
                Err("a queue is like sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME".to_owned())
            };
        }
        Ok(Self::Path(text.into()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Queue(url) => write!(f, "sqs:{url}"),
        }
    }
}

/// One piece of text that may hold letters.
#[derive(Debug)]
pub(super) enum Found {
    /// A line, an object or a message.
    Text { text: String, origin: Origin },
    /// Something that cannot be read: where, and why.
    Unreadable { place: String, why: String },
    /// Nothing as long as others are under way: a queue may hold more behind them.
    Pause,
}

/// All sources, one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    sources: VecDeque<(String, Open)>,
    /// Those that are read to their end, until what was taken from them is settled.
    read: Vec<(String, Open)>,
}

#[derive(Debug)]
enum Open {
    Files(Files),
    Bucket(Bucket),
    Queue(Queue),
}

impl Reader {
    /// Looks whether files and objects are there. In a dry run, messages come back at once.
    pub(super) async fn open(services: &Services, sources: &[Source], hidden_s: i32, is_dry: bool) -> Result<Self> {
        let mut open = VecDeque::new();
        for source in sources {
            let opened = match source {
                Source::Path(path) => Open::Files(files(path)?),
                Source::Bucket { bucket, prefix } => Open::Bucket(Bucket::open(services, bucket, prefix).await?),
                Source::Queue(url) => Open::Queue(Queue::open(services, url, hidden_s, is_dry).await),
            };
            open.push_back((source.to_string(), opened));
        }
        Ok(Self {
            sources: open,
            read: Vec::new(),
        })
    }

    /// The next piece; `None` at the end of all.
    pub(super) async fn next(&mut self) -> Option<Found> {
        while let Some((_, source)) = self.sources.front_mut() {
            let found = match source {
                Open::Files(files) => files.next().await,
                Open::Bucket(bucket) => bucket.next().await,
                Open::Queue(queue) => queue.next().await,
            };
            if found.is_some() {
                return found;
            }
            self.read.extend(self.sources.pop_front());
        }
        None
    }

    /// The source of what [`next`](Self::next) gave last, as it was named.
    pub(super) fn name(&self) -> &str {
        self.sources.front().map_or("", |(name, _)| name)
    }

    /// Deletes the messages whose records have gone through.
    pub(super) async fn settle(&mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for (_, source) in self.read.iter_mut().chain(&mut self.sources) {
            if let Open::Queue(queue) = source {
                failures.extend(queue.settle().await.err().map(|error| format!("{error:#}")));
            }
        }
        failures
    }

    /// As [`settle`](Self::settle), and shows all others again at once.
    pub(super) async fn finish(mut self) -> Vec<String> {
        let mut failures = self.settle().await;
        for (_, source) in self.read.iter_mut().chain(&mut self.sources) {
            if let Open::Queue(queue) = source {
                failures.extend(queue.show_again().await.err().map(|error| format!("{error:#}")));
            }
        }
        failures
    }
}

fn files(path: &Path) -> Result<Files> {
    let files = Files::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!files.is_empty(), "{} holds no files", path.display());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_a_destination_or_as_other_tools_write_it() {
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Source::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        assert_eq!("s3://dead/letters/2026".parse(), bucket("dead", "letters/2026"));
        assert_eq!("s3:dead/letters".parse(), bucket("dead", "letters"));
        assert_eq!("s3://dead".parse(), bucket("dead", ""));
        let url = "https://sqs.eu-west-1.amazonaws.com/1/dead";
        assert_eq!(format!("sqs:{url}").parse(), Ok(Source::Queue(url.to_owned())));
        assert_eq!("a/b.jsonl".parse(), Ok(Source::Path("a/b.jsonl".into())));
        assert!("s3://".parse::<Source>().is_err() && "sqs:dead".parse::<Source>().is_err());
    }
}
