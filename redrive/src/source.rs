//! The sources of dead letters: files and folders, objects in S3, queues.

use anyhow::{Result, ensure};
use instream_local::environment::Settings;

use super::letter::hash;

mod documents;
mod lines;
pub(crate) mod queue;

use documents::Documents;
use queue::Queue;

/// A line, an object or a message. It may hold dead letters.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its place: `dead-letters.jsonl:17`, `s3://bucket/key:1`, `message 3f0a… of a-queue`.
    pub(crate) location: String,
    /// The text, or the reason why it cannot be read.
    pub(crate) text: Result<String, String>,
    /// Its identity. A record that is rejected again leaves the same text, but in another message, in another line or
    /// in an object that was written later.
    pub(crate) key: u128,
}

/// A source that is being read.
pub(crate) struct Source {
    /// The source as it was named on the command line.
    pub(crate) name: String,
    kind: Kind,
}

enum Kind {
    Documents(Documents),
    Queue(Queue),
}

impl Item {
    /// Creates an item. `version` tells objects apart that overwrite each other.
    pub(crate) fn new(location: String, version: &str, text: Result<String, String>) -> Self {
        let key = hash(&format!(
            "{location}\n{version}\n{}",
            text.as_deref().unwrap_or_default()
        ));
        Self { location, text, key }
    }
}

impl Source {
    /// Opens a source: `s3://BUCKET/PREFIX`, `sqs:URL`, a file or a folder. One that does not exist is an error: a
    /// misspelt name must not look like success.
    pub(crate) async fn open(name: &str, settings: &Settings) -> Result<Self> {
        let kind = if let Some(place) = name.strip_prefix("s3:") {
            let place = place.trim_start_matches('/');
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            ensure!(!bucket.is_empty(), "expected an S3 source such as s3://BUCKET/PREFIX");
            Kind::Documents(Documents::in_bucket(settings, bucket, prefix).await?)
        } else if let Some(url) = name.strip_prefix("sqs:") {
            let example = "sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
            ensure!(url.starts_with("http"), "expected a queue such as {example}");
            Kind::Queue(Queue::open(settings, url).await)
        } else {
            Kind::Documents(Documents::on_disk(name)?)
        };
        let name = name.to_owned();
        Ok(Self { name, kind })
    }

    /// Returns the next item, or `None` at the end. A queue may have more once its messages in flight are deleted.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        match &mut self.kind {
            Kind::Documents(documents) => documents.next().await,
            Kind::Queue(queue) => queue.next().await,
        }
    }

    pub(crate) fn queue(&mut self) -> Option<&mut Queue> {
        match &mut self.kind {
            Kind::Documents(_) => None,
            Kind::Queue(queue) => Some(queue),
        }
    }
}
