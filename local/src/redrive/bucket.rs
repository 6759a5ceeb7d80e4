//! Objects in S3 whose keys begin alike, line by line. They are only read.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::aws::{Services, in_words};
use super::files::{is_document, piece};
use super::letter::{Origin, Version};
use super::source::Found;

/// The objects, a page of their list at a time.
pub(super) struct Bucket {
    client: Client,
    name: String,
    prefix: String,
    objects: VecDeque<Object>,
    /// Where the list goes on; none at its end.
    next_page: Option<String>,
    reading: Option<Reading>,
}

/// An object that is being read.
struct Reading {
    lines: Box<dyn AsyncBufRead + Unpin>,
    number: u64,
    origin: Origin,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// Lists the first objects.
    pub(super) async fn open(services: &Services, bucket: &str, prefix: &str) -> Result<Self> {
        let mut opened = Self {
            client: Client::new(&services.config("S3").await),
            name: bucket.to_owned(),
            prefix: prefix.to_owned(),
            objects: VecDeque::new(),
            next_page: None,
            reading: None,
        };
        opened.list().await?;
        Ok(opened)
    }

    pub(super) async fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.next_line().await {
                return Some(found);
            }
            self.reading = None;
            if self.objects.is_empty()
                && self.next_page.is_some()
                && let Err(error) = self.list().await
            {
                // Objects that are not listed are not read, and the run must not seem complete.
                self.next_page = None;
                return Some(Found::Unreadable {
                    place: format!("s3://{}/{}", self.name, self.prefix),
                    why: format!("{error:#}"),
                });
            }
            let object = self.objects.pop_front()?;
            let key = object.key().unwrap_or_default().to_owned();
            // A folder that the console made.
            if key.ends_with('/') && object.size() == Some(0) {
                continue;
            }
            match self.read(&object, &key).await {
                Ok(reading) => self.reading = Some(reading),
                Err(error) => {
                    return Some(Found::Unreadable {
                        place: format!("s3://{}/{key}", self.name),
                        why: format!("{error:#}"),
                    });
                }
            }
        }
    }

    async fn next_line(&mut self) -> Option<Found> {
        let reading = self.reading.as_mut()?;
        loop {
            let mut line = Vec::new();
            let mut read = reading.lines.read_until(b'\n', &mut line).await;
            reading.number += 1;
            if is_document(&line, reading.number) {
                read = reading.lines.read_to_end(&mut line).await;
            }
            match read {
                Ok(_) if line.is_empty() => return None,
                Ok(_) => {
                    let found = piece(line, &reading.origin.place, reading.number, Some(&reading.origin));
                    if found.is_some() {
                        return found;
                    }
                }
                Err(error) => {
                    let place = reading.origin.place.clone();
                    self.reading = None;
                    return Some(Found::Unreadable {
                        place,
                        why: format!("cut off: {error}"),
                    });
                }
            }
        }
    }

    async fn read(&self, object: &Object, key: &str) -> Result<Reading> {
        let request = self.client.get_object().bucket(&self.name).key(key);
        let answer = request.send().await.map_err(|error| in_words(&error))?;
        let place = format!("s3://{}/{key}", self.name);
        let written = object.last_modified().and_then(|time| time.to_millis().ok());
        let written_ms = written.and_then(|milliseconds| u64::try_from(milliseconds).ok());
        let written_ms = written_ms.unwrap_or_default();
        Ok(Reading {
            lines: Box::new(tokio::io::BufReader::new(answer.body.into_async_read())),
            number: 0,
            origin: Origin {
                // The function writes the same records to the same place again.
                version: Some(Version {
                    id: format!("{place} {written_ms}"),
                    written_ms,
                }),
                place,
                ticket: None,
            },
        })
    }

    async fn list(&mut self) -> Result<()> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(&self.prefix);
        let request = request.set_continuation_token(self.next_page.take());
        let page = request.send().await.map_err(|error| in_words(&error));
        let page = page.with_context(|| format!("cannot list s3://{}/{}", self.name, self.prefix))?;
        self.objects.extend(page.contents.unwrap_or_default());
        self.next_page = page.next_continuation_token;
        Ok(())
    }
}
