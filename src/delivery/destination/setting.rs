//! The destination settings OUTPUT and `DEAD_LETTER`, parsed.

/// A parsed destination setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationSetting {
    /// `stdout:`, standard output.
    Stdout,
    /// `kinesis:STREAM`, the data stream of this name in the function's account and region.
    Kinesis(String),
    /// `eventbridge:BUS`, the event bus of this name in the function's account and region.
    EventBridge(String),
    /// `firehose:STREAM`, the Firehose stream of this name in the function's account and region.
    Firehose(String),
    /// `sqs:URL`, the queue behind this URL. A FIFO queue's name ends with `.fifo`.
    Sqs(String),
    /// `s3:BUCKET/PREFIX`, objects whose keys begin with the prefix, which may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The key prefix, without leading or trailing slashes.
        prefix: String,
    },
    /// `none:`, no destination: the lines are discarded.
    None,
}

impl DestinationSetting {
    /// Parses a setting such as `kinesis:STREAM`. Returns `None` if any part of it is invalid.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (kind, rest) = value.split_once(':')?;
        match (kind, rest) {
            ("stdout", "") => Some(Self::Stdout),
            ("none", "") => Some(Self::None),
            ("kinesis", stream) if is_name(stream, 1..=128) => Some(Self::Kinesis(stream.to_owned())),
            ("eventbridge", bus) if is_bus(bus) => Some(Self::EventBridge(bus.to_owned())),
            ("firehose", stream) if is_name(stream, 1..=64) => Some(Self::Firehose(stream.to_owned())),
            ("sqs", url) if is_queue_url(url) => Some(Self::Sqs(url.to_owned())),
            ("s3", location) => s3(location),
            _ => None,
        }
    }

    /// Returns the cargo feature that the destination needs, if this build lacks it.
    pub(crate) fn missing_feature(&self) -> Option<&'static str> {
        let (feature, is_built) = match self {
            Self::Stdout | Self::None => return None,
            Self::Kinesis(_) => ("kinesis", cfg!(feature = "kinesis")),
            Self::EventBridge(_) => ("eventbridge", cfg!(feature = "eventbridge")),
            Self::Firehose(_) => ("firehose", cfg!(feature = "firehose")),
            Self::Sqs(_) => ("sqs", cfg!(feature = "sqs")),
            Self::S3 { .. } => ("s3", cfg!(feature = "s3")),
        };
        (!is_built).then_some(feature)
    }
}

/// Returns `true` if a stream may have this name. The same characters are allowed in
/// [Kinesis](https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html) and
/// [Firehose](https://docs.aws.amazon.com/firehose/latest/APIReference/API_CreateDeliveryStream.html).
fn is_name(name: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    lengths.contains(&name.len()) && name.bytes().all(allowed)
}

/// Returns `true` if an event bus may have this name:
/// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateEventBus.html>.
fn is_bus(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte);
    (1..=256).contains(&name.len()) && name.bytes().all(allowed)
}

/// Returns `true` for a queue URL: `https://HOST/ACCOUNT/NAME`. `http` is allowed for a queue on this machine.
fn is_queue_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or(url.strip_prefix("http://")) else {
        return false;
    };
    let parts: Vec<_> = rest.split('/').collect();
    let is_plain = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    parts.len() == 3 && parts.iter().all(is_plain)
}

/// Parses a bucket and a prefix. Bucket names follow
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>. The prefix leaves room for the rest
/// of the key, which may have 1,024 bytes.
fn s3(location: &str) -> Option<DestinationSetting> {
    let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let prefix = prefix.trim_matches('/');
    let fits = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(allowed)
        && prefix.len() <= 512
        && prefix.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| DestinationSetting::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_with_any_invalid_part_is_not_parsed() {
        let s3 = |bucket: &str, prefix: &str| DestinationSetting::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        for (value, expected) in [
            ("stdout:", DestinationSetting::Stdout),
            ("none:", DestinationSetting::None),
            (
                "kinesis:fraud_scores.v2-eu",
                DestinationSetting::Kinesis("fraud_scores.v2-eu".to_owned()),
            ),
            ("firehose:scores", DestinationSetting::Firehose("scores".to_owned())),
            (
                "sqs:https://sqs.eu-central-1.amazonaws.com/123456789012/scores.fifo",
                DestinationSetting::Sqs("https://sqs.eu-central-1.amazonaws.com/123456789012/scores.fifo".to_owned()),
            ),
            (
                "sqs:http://127.0.0.1:5000/123456789012/scores",
                DestinationSetting::Sqs("http://127.0.0.1:5000/123456789012/scores".to_owned()),
            ),
            ("s3:my-bucket", s3("my-bucket", "")),
            ("s3:my-bucket/", s3("my-bucket", "")),
            ("s3:my-bucket/fraud/dead/", s3("my-bucket", "fraud/dead")),
        ] {
            assert_eq!(DestinationSetting::parse(value), Some(expected), "{value}");
        }
        for value in [
            "",
            "stdout",
            "stdout:x",
            "none:x",
            "kinesis:",
            "kinesis:a/b",
            &format!("kinesis:{}", "a".repeat(129)),
            "kinesis:arn:aws:kinesis:eu-central-1:123456789012:stream/a",
            &format!("firehose:{}", "a".repeat(65)),
            "sqs:scores",
            "sqs:https://sqs.eu-central-1.amazonaws.com/scores",
            "sqs:https://sqs.eu-central-1.amazonaws.com/123456789012/",
            "s3:",
            "s3:No",
            "s3://my-bucket/prefix",
            "s3:my-bucket/pre fix",
        ] {
            assert_eq!(DestinationSetting::parse(value), None, "{value}");
        }
    }
}
