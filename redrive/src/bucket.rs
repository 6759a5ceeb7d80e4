//! Reads the objects of S3 that share a key prefix, line by line. Never writes or deletes any.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;

use super::aws::{Services, error_with_causes};
use super::dead_letter::{Origin, Version};
use super::lines::Lines;
use super::source::SourceItem;

/// The objects of one bucket with one prefix. They are listed one page at a time.
pub(super) struct Bucket {
    client: Client,
    name: String,
    prefix: String,
    objects: VecDeque<Object>,
    /// The token of the next page of the list; `None` at its end.
    next_page: Option<String>,
    lines: Option<Lines>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// Lists the first objects. Fails if there are none.
    pub(super) async fn open(services: &Services, bucket: &str, prefix: &str) -> Result<Self> {
        let mut opened = Self {
            client: Client::new(&services.config("S3").await),
            name: bucket.to_owned(),
            prefix: prefix.to_owned(),
            objects: VecDeque::new(),
            next_page: None,
            lines: None,
        };
        opened.list().await?;
        while opened.objects.is_empty() && opened.next_page.is_some() {
            opened.list().await?;
        }
        // A misspelt prefix must not look like success.
        ensure!(!opened.objects.is_empty(), "s3://{bucket}/{prefix} holds no objects");
        Ok(opened)
    }

    pub(super) async fn next(&mut self) -> Option<SourceItem> {
        loop {
            if let Some(lines) = &mut self.lines
                && let Some(found) = lines.next().await
            {
                return Some(found);
            }
            self.lines = None;
            // An empty page need not be the last.
            while self.objects.is_empty() && self.next_page.is_some() {
                // The missing objects must be reported, so that the run does not look complete.
                if let Err(error) = self.list().await {
                    self.next_page = None;
                    return Some(SourceItem::Unreadable {
                        location: format!("s3://{}/{}", self.name, self.prefix),
                        why: format!("{error:#}"),
                    });
                }
            }
            let object = self.objects.pop_front()?;
            let key = object.key().unwrap_or_default().to_owned();
            if has_predictions(&key) {
                return Some(SourceItem::Predictions);
            }
            match self.read(&object, &key).await {
                Ok(lines) => self.lines = Some(lines),
                Err(error) => {
                    return Some(SourceItem::Unreadable {
                        location: format!("s3://{}/{key}", self.name),
                        why: format!("{error:#}"),
                    });
                }
            }
        }
    }

    async fn read(&self, object: &Object, key: &str) -> Result<Lines> {
        let request = self.client.get_object().bucket(&self.name).key(key);
        let response = request.send().await.map_err(|error| error_with_causes(&error))?;
        let location = format!("s3://{}/{key}", self.name);
        let written = object.last_modified().and_then(|time| time.to_millis().ok());
        let written_ms = written.and_then(|milliseconds| u64::try_from(milliseconds).ok());
        let written_ms = written_ms.unwrap_or_default();
        let origin = Origin {
            // A later rejection of the same records overwrites the same key, so the time belongs to the version.
            version: Some(Version {
                id: format!("{location} {written_ms}"),
                written_ms,
            }),
            location,
            held_message: None,
        };
        let reader = tokio::io::BufReader::new(response.body.into_async_read());
        Ok(Lines::new(reader, origin))
    }

    async fn list(&mut self) -> Result<()> {
        let request = self.client.list_objects_v2().bucket(&self.name).prefix(&self.prefix);
        let request = request.set_continuation_token(self.next_page.take());
        let page = request.send().await.map_err(|error| error_with_causes(&error));
        let page = page.with_context(|| format!("cannot list s3://{}/{}", self.name, self.prefix))?;
        // The S3 console creates folders as empty objects.
        let is_folder =
            |object: &Object| object.size() == Some(0) && object.key().is_some_and(|key| key.ends_with('/'));
        let objects = page.contents.unwrap_or_default().into_iter();
        self.objects.extend(objects.filter(|object| !is_folder(object)));
        self.next_page = page.next_continuation_token;
        Ok(())
    }
}

/// Returns `true` if the function has named the object for predictions:
/// `PREFIX/YYYY/MM/DD/HH/prediction-ID-HASH.jsonl`.
fn has_predictions(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    name.starts_with("prediction-")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use instream_local::environment::Settings;
    use instream_local::server::Server;

    use super::*;

    #[tokio::test]
    async fn a_prefix_without_objects_is_an_error_that_names_it() {
        let list = "<ListBucketResult><Contents><Key>letters/</Key><Size>0</Size></Contents></ListBucketResult>";
        let router = Router::new().fallback(get(move || async move { list }));
        let server = Server::start(0, router).await.unwrap();
        let url = format!("http://{}", server.address);
        let services = Services::new(Settings::from([("AWS_ENDPOINT_URL_S3".to_owned(), url)]));
        let error = Bucket::open(&services, "dead", "letters/").await.unwrap_err();
        assert_eq!(format!("{error:#}"), "s3://dead/letters/ holds no objects");
    }

    #[tokio::test]
    async fn objects_of_predictions_are_skipped_without_being_read() {
        let keys = ["a/prediction-1-x.jsonl", "a/dead-letter-1-x.jsonl", "prediction-/older"];
        let entries: String = keys
            .map(|key| format!("<Contents><Key>{key}</Key></Contents>"))
            .concat();
        let list = format!("<ListBucketResult>{entries}</ListBucketResult>");
        let answer = move |uri: http::Uri| {
            let path = uri.path().to_owned();
            let list = list.clone();
            async move { if path == "/dead/" { list } else { path } }
        };
        let server = Server::start(0, Router::new().fallback(get(answer))).await.unwrap();
        // By its IP address, S3 gets the bucket in the path.
        let url = format!("http://{}", server.address);
        let services = Services::new(Settings::from([("AWS_ENDPOINT_URL_S3".to_owned(), url)]));
        let mut bucket = Bucket::open(&services, "dead", "").await.unwrap();
        let mut found = Vec::new();
        while let Some(next) = bucket.next().await {
            found.push(match next {
                SourceItem::Text { text, .. } => text,
                SourceItem::Predictions | SourceItem::Pause | SourceItem::Unreadable { .. } => format!("{next:?}"),
            });
        }
        assert_eq!(
            found,
            [
                "Predictions",
                "/dead/a/dead-letter-1-x.jsonl",
                "/dead/prediction-/older"
            ]
        );
    }
}
