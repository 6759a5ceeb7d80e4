//! The sources of dead letters: files and folders, objects in S3, queues.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use super::aws::Services;
use super::bucket::Bucket;
use super::dead_letter::Origin;
use super::files::Files;
use super::queue::Queue;

/// A source that was named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file of JSON lines, or a folder of such files.
    Path(PathBuf),
    /// Objects in S3.
    Bucket {
        /// The name of the bucket.
        bucket: String,
        /// The prefix of their keys.
        prefix: String,
    },
    /// The URL of a queue.
    Queue(String),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("s3:") {
            let path = path.trim_start_matches('/');
            let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
            if bucket.is_empty() {
                return Err("expected an S3 source such as s3://BUCKET/PREFIX".to_owned());
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
                Err("expected a queue such as sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME".to_owned())
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

/// The next item of a source.
#[derive(Debug)]
pub(super) enum SourceItem {
    /// The text of a line, an object or a message. It may hold dead letters.
    Text { text: String, origin: Origin },
    /// An item that cannot be read, with its location and the cause.
    Unreadable { location: String, why: String },
    /// An object that contains only predictions.
    Predictions,
    /// Nothing for now. The queue may hold more messages once those in flight are settled.
    Pause,
}

/// Reads all sources, one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    sources: VecDeque<(String, OpenSource)>,
    /// The sources that were read to the end. Their messages may still be in flight.
    finished: Vec<(String, OpenSource)>,
}

#[derive(Debug)]
enum OpenSource {
    Files(Files),
    Bucket(Bucket),
    Queue(Queue),
}

impl Reader {
    /// Opens the sources, and checks that files and objects exist. A dry run deletes no messages.
    pub(super) async fn open(
        services: &Services,
        sources: &[Source],
        visibility_timeout_s: i32,
        is_dry: bool,
    ) -> Result<Self> {
        let mut open = VecDeque::new();
        for source in sources {
            let opened = match source {
                Source::Path(path) => OpenSource::Files(files(path)?),
                Source::Bucket { bucket, prefix } => OpenSource::Bucket(Bucket::open(services, bucket, prefix).await?),
                Source::Queue(url) => OpenSource::Queue(Queue::open(services, url, visibility_timeout_s, is_dry).await),
            };
            open.push_back((source.to_string(), opened));
        }
        Ok(Self {
            sources: open,
            finished: Vec::new(),
        })
    }

    /// Returns the next item, or `None` at the end of all sources.
    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        while let Some((_, source)) = self.sources.front_mut() {
            let found = match source {
                OpenSource::Files(files) => files.next().await,
                OpenSource::Bucket(bucket) => bucket.next().await,
                OpenSource::Queue(queue) => queue.next().await,
            };
            if found.is_some() {
                return found;
            }
            self.finished.extend(self.sources.pop_front());
        }
        None
    }

    /// Returns the source of the latest item, as it was named on the command line.
    pub(super) fn name(&self) -> &str {
        self.sources.front().map_or("", |(name, _)| name)
    }

    /// Deletes the messages whose records have all succeeded. Returns the failures.
    pub(super) async fn delete_done(&mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for (_, source) in self.finished.iter_mut().chain(&mut self.sources) {
            if let OpenSource::Queue(queue) = source {
                failures.extend(queue.delete_done().await.err().map(|error| format!("{error:#}")));
            }
        }
        failures
    }

    /// Deletes the messages whose records have all succeeded, and makes all others visible again. Returns the failures.
    pub(super) async fn finish(mut self) -> Vec<String> {
        let mut failures = self.delete_done().await;
        for (_, source) in self.finished.iter_mut().chain(&mut self.sources) {
            if let OpenSource::Queue(queue) = source {
                failures.extend(queue.release().await.err().map(|error| format!("{error:#}")));
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
    fn a_source_is_parsed_from_a_destination_setting_or_an_s3_url() {
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
