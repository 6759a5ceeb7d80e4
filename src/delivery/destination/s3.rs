//! `s3:BUCKET/PREFIX`: one object of JSON lines for each delivery, of any size.
//!
//! An object's key depends only on its lines: `PREFIX/YYYY/MM/DD/HH/KIND-FIRST_RECORD-HASH.jsonl`, with the hour at
//! which the first record arrived in the stream, `prediction` or `dead-letter`, and a hash of the IDs of all lines. So
//! a second delivery of the same lines overwrites their object, and other lines never do.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat};

use super::OutputLine;
use super::batch_put::{BatchLimits, LastAccepted, PutError, Service, client_config};
use crate::inference::sha256;

/// One request holds the whole delivery, because an object may have 5 GB and a batch has at most 6 MB.
const LIMITS: BatchLimits = BatchLimits {
    lines: usize::MAX,
    bytes: usize::MAX,
    concurrent_requests: 1,
};
/// The number of hash digits in a key.
const HASH_DIGITS: usize = 16;

/// A key prefix in a bucket.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    prefix: String,
    last_accepted: LastAccepted,
}

impl S3 {
    /// Creates a destination for objects in `bucket` whose keys begin with `prefix`.
    pub fn new(environment: &aws_config::SdkConfig, bucket: String, prefix: String) -> Self {
        Self {
            client: Client::new(&client_config(environment)),
            bucket,
            prefix,
            last_accepted: LastAccepted::default(),
        }
    }
}

impl Service for S3 {
    const NAME: &'static str = "s3:";

    fn limits(&self) -> BatchLimits {
        LIMITS
    }

    fn last_accepted(&self) -> &LastAccepted {
        &self.last_accepted
    }

    fn size(_: &OutputLine) -> usize {
        0
    }

    async fn put(&self, lines: &[&OutputLine]) -> Result<Vec<Option<PutError>>, PutError> {
        let mut body = String::with_capacity(lines.iter().map(|line| line.text.len() + 1).sum());
        for line in lines {
            body.push_str(&line.text);
            body.push('\n');
        }
        let request = self.client.put_object().bucket(&self.bucket);
        let request = request.key(key(&self.prefix, lines)).content_type("application/jsonl");
        let response = request.body(ByteStream::from(body.into_bytes())).send().await;
        response.map_err(|error| PutError::from_sdk_error(&error))?;
        Ok(vec![None; lines.len()])
    }
}

fn key(prefix: &str, lines: &[&OutputLine]) -> String {
    let ids: Vec<_> = lines.iter().map(|line| &*line.id).collect();
    let hash = sha256(ids.join("\n"));
    let hash = hash.get(..HASH_DIGITS).unwrap_or(&hash);
    let first = lines.first();
    let (id, arrival_ms) = first.map_or(("", 0), |line| (&*line.id, line.arrival_ms));
    let kind = first.map_or("", |line| line.kind.name());
    // S3 allows any character in a key, but only these characters are safe in every tool.
    let to_safe = |character: char| {
        if character.is_ascii_alphanumeric() {
            character
        } else {
            '-'
        }
    };
    let record_id = id.split(' ').next().unwrap_or_default();
    let id: String = record_id.chars().take(128).map(to_safe).collect();
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{slash}{}/{kind}-{id}-{hash}.jsonl", hour(arrival_ms))
}

/// Returns the UTC hour, such as `2026/11/25/20`.
fn hour(milliseconds: u64) -> String {
    let time = DateTime::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    let time = time.fmt(DateTimeFormat::DateTime).unwrap_or_default();
    let hour = time.get(..13).unwrap_or("1970-01-01T00");
    hour.replace(['-', 'T'], "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::destination::LineKind;

    fn key_of(prefix: &str, ids: &[&str], arrival_ms: u64) -> String {
        let line = |id: &&str| OutputLine {
            kind: LineKind::Prediction,
            text: "{}".to_owned(),
            partition_key: String::new(),
            id: (*id).to_owned(),
            arrival_ms,
        };
        let lines: Vec<_> = ids.iter().map(line).collect();
        key(prefix, &lines.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_key_depends_only_on_its_records() {
        let one = key_of("fraud/dead", &["shardId-0:7-0", "shardId-0:8-0"], 1_795_419_096_520);
        let (start, hash) = one.rsplit_once('-').unwrap();
        assert_eq!(start, "fraud/dead/2026/11/23/07/prediction-shardId-0-7-0");
        assert_eq!(hash.len(), HASH_DIGITS + ".jsonl".len());
        assert_eq!(
            one,
            key_of("fraud/dead", &["shardId-0:7-0", "shardId-0:8-0"], 1_795_419_096_520)
        );
        for others in [
            &["shardId-0:7-0"][..],
            &["shardId-0:7-0", "shardId-0:9-0"],
            &["shardId-0:7-0 other", "shardId-0:8-0"],
            &["shardId-0:7-0shardId-0:8-0"],
        ] {
            assert_ne!(one, key_of("fraud/dead", others, 1_795_419_096_520), "{others:?}");
        }
        assert!(key_of("", &["a"], 0).starts_with("1970/01/01/00/prediction-a-"));
        assert!(
            key_of("", &["../x,y"], u64::MAX).contains("/prediction----x-y-"),
            "{}",
            key_of("", &["../x,y"], u64::MAX)
        );
    }
}
