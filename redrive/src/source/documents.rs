//! Reads files and the objects of an S3 bucket line by line. Never writes or deletes any.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::Object;
use instream_local::environment::Settings;
use tokio::io::{AsyncReadExt as _, BufReader};

use super::Item;
use super::lines::Lines;
use crate::aws::config;

/// The size of the read buffer of a file. It is large because each read runs on another thread.
const BUFFER_BYTES: usize = 256 * 1024;

/// The files or objects of a source, in the order of their names.
pub(super) struct Documents {
    /// `None` for files.
    bucket: Option<(Client, String)>,
    /// The paths, or the keys that were listed at the start: what the run adds is not read.
    names: std::vec::IntoIter<String>,
    lines: Option<Lines>,
}

impl Documents {
    /// Opens one file, or all files in a folder and its subfolders except hidden ones.
    pub(super) fn on_disk(path: &str) -> Result<Self> {
        let cannot_read = || format!("cannot read {path}");
        let mut names = vec![path.to_owned()];
        if fs::metadata(path).with_context(cannot_read)?.is_dir() {
            names.clear();
            collect(Path::new(path), &mut names).with_context(cannot_read)?;
            names.sort();
        }
        ensure!(!names.is_empty(), "{path} holds no files");
        Ok(Self {
            bucket: None,
            names: names.into_iter(),
            lines: None,
        })
    }

    /// Lists the objects whose keys have this prefix.
    pub(super) async fn in_bucket(settings: &Settings, bucket: &str, prefix: &str) -> Result<Self> {
        let client = Client::new(&config(settings, "S3").await);
        let request = client.list_objects_v2().bucket(bucket).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("cannot list s3://{bucket}/{prefix}"))?;
            let objects = page.contents.unwrap_or_default().into_iter().filter(may_have_letters);
            keys.extend(objects.filter_map(|object| object.key));
        }
        ensure!(!keys.is_empty(), "s3://{bucket}/{prefix} holds no objects");
        Ok(Self {
            bucket: Some((client, bucket.to_owned())),
            names: keys.into_iter(),
            lines: None,
        })
    }

    pub(super) async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(lines) = &mut self.lines
                && let Some(found) = lines.next().await
            {
                return Some(found);
            }
            let name = self.names.next()?;
            let (location, lines) = match &self.bucket {
                None => (name.clone(), read_file(&name).map_err(Into::into)),
                Some((client, bucket)) => {
                    let location = format!("s3://{bucket}/{name}");
                    let lines = read_object(client, bucket, &name, &location).await;
                    (location, lines)
                }
            };
            match lines {
                Ok(lines) => self.lines = Some(lines),
                Err(error) => return Some(Item::new(location, "", Err(format!("{error:#}")))),
            }
        }
    }
}

/// Opens a file up to its current end. Lines that are added later, perhaps by this run, are not read.
fn read_file(path: &str) -> io::Result<Lines> {
    let metadata = fs::metadata(path)?;
    // Opening a pipe could wait forever.
    if !metadata.is_file() {
        return Err(io::Error::other("skipped: it is not a regular file"));
    }
    let file = BufReader::with_capacity(BUFFER_BYTES, tokio::fs::File::from_std(File::open(path)?));
    Ok(Lines::new(file.take(metadata.len()), path, String::new()))
}

async fn read_object(client: &Client, bucket: &str, key: &str, location: &str) -> Result<Lines> {
    let request = client.get_object().bucket(bucket).key(key);
    let object = request.send().await?;
    let written = object.last_modified.map(|time| time.to_string());
    let reader = BufReader::new(object.body.into_async_read());
    Ok(Lines::new(reader, location, written.unwrap_or_default()))
}

/// Collects everything in a folder and its subfolders. A link to a folder counts as a file, because links can form a
/// circle.
fn collect(folder: &Path, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), paths)?;
        } else {
            paths.push(entry.path().display().to_string());
        }
    }
    Ok(())
}

/// Returns `false` for a folder, which the S3 console creates as an empty object, and for predictions, which the
/// function names `PREFIX/YYYY/MM/DD/HH/prediction-ID-HASH.jsonl`.
fn may_have_letters(object: &Object) -> bool {
    let key = object.key().unwrap_or_default();
    let is_folder = object.size() == Some(0) && key.ends_with('/');
    let name = key.rsplit('/').next().unwrap_or_default();
    !is_folder && !name.starts_with("prediction-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use axum::Router;
    use axum::routing::get;
    use instream_local::server::Server;

    use super::*;

    /// Returns the location and the text of each item, or the reason why it is not readable.
    async fn read_all(mut documents: Documents) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while let Some(next) = documents.next().await {
            found.push((next.location, next.text.unwrap_or_else(|why| why)));
        }
        found
    }

    /// A folder of one test, deleted at its end.
    struct Folder(String);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("instream-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path.display().to_string())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[tokio::test]
    async fn pipes_devices_and_links_to_folders_are_reported_and_links_to_files_are_read() {
        let folder = Folder::new("special-files");
        let path = |name: &str| format!("{}/{name}", folder.0);
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        symlink(&folder.0, path("circle")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        fs::write(path("regular"), "one").unwrap();
        symlink(path("regular"), path("link")).unwrap();
        let found = read_all(Documents::on_disk(&folder.0).unwrap()).await;
        let skipped = "skipped: it is not a regular file".to_owned();
        let expected = BTreeMap::from([
            (path("circle"), skipped.clone()),
            (path("pipe"), skipped.clone()),
            (path("zero"), skipped),
            (path("regular:1"), "one".to_owned()),
            (path("link:1"), "one".to_owned()),
        ]);
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }

    #[tokio::test]
    async fn a_folder_is_read_line_by_line_in_the_order_of_its_files() {
        let folder = Folder::new("files");
        fs::create_dir_all(format!("{}/b/c", folder.0)).unwrap();
        for (name, text) in [
            ("a.jsonl", &b"one\n\r\n\xff\r\ntwo"[..]),
            ("b/c/d", b"{\n  \"three\": 3\n}\n"),
            (".hidden", b"four"),
        ] {
            fs::write(format!("{}/{name}", folder.0), text).unwrap();
        }
        let found = read_all(Documents::on_disk(&folder.0).unwrap()).await;
        let expected = [
            ("a.jsonl:1", "one"),
            ("a.jsonl:3", "it is not UTF-8"),
            ("a.jsonl:4", "two"),
            ("b/c/d:1", "{\n  \"three\": 3\n}"),
        ];
        let expected = expected.map(|(location, text)| (format!("{}/{location}", folder.0), text.to_owned()));
        assert_eq!(found, expected);
    }

    /// Opens a bucket whose list has these entries. An object holds its own path.
    async fn bucket(prefix: &str, entries: &str) -> (Server, Result<Documents>) {
        let list = format!("<ListBucketResult>{entries}</ListBucketResult>");
        let answer = move |uri: http::Uri| {
            let path = uri.path().to_owned();
            let list = list.clone();
            async move { if path == "/dead/" { list } else { path } }
        };
        let server = Server::start(0, Router::new().fallback(get(answer))).await.unwrap();
        // By its IP address, S3 gets the bucket in the path.
        let url = format!("http://{}", server.address);
        let settings = Settings::from([("AWS_ENDPOINT_URL_S3".to_owned(), url)]);
        let documents = Documents::in_bucket(&settings, "dead", prefix).await;
        (server, documents)
    }

    #[tokio::test]
    async fn a_prefix_without_objects_is_an_error_that_names_it() {
        let entry = "<Contents><Key>letters/</Key><Size>0</Size></Contents>";
        let (_server, opened) = bucket("letters/", entry).await;
        let error = opened.err().unwrap();
        assert_eq!(format!("{error:#}"), "s3://dead/letters/ holds no objects");
    }

    #[tokio::test]
    async fn objects_of_predictions_are_skipped_without_being_read() {
        let keys = ["a/prediction-1-x.jsonl", "a/dead-letter-1-x.jsonl", "prediction-/older"];
        let entries = keys.map(|key| format!("<Contents><Key>{key}</Key></Contents>"));
        let (_server, opened) = bucket("", &entries.concat()).await;
        let texts = read_all(opened.unwrap()).await.into_iter().map(|(_, text)| text);
        assert_eq!(
            texts.collect::<Vec<_>>(),
            ["/dead/a/dead-letter-1-x.jsonl", "/dead/prediction-/older"]
        );
    }
}
