//! Where predictions and dead letters go, and the envelope that they go in.
//!
//! The destination is chosen at run time, so this seam is an enum of real destinations. Those in AWS are cargo features.

use std::io;

use tokio::time::Instant;

#[cfg(any(feature = "firehose", feature = "kinesis", feature = "s3", feature = "sqs"))]
mod batch_put;

#[cfg(feature = "firehose")]
pub mod firehose;
#[cfg(feature = "kinesis")]
pub mod kinesis;
#[cfg(feature = "s3")]
pub mod s3;
mod setting;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod stdout;

pub use setting::DestinationSetting;

#[cfg(any(feature = "firehose", feature = "kinesis", feature = "s3", feature = "sqs"))]
use batch_put::{deliver, worth_a_delivery};
#[cfg(feature = "firehose")]
use firehose::Firehose;
#[cfg(feature = "kinesis")]
use kinesis::Kinesis;
#[cfg(feature = "s3")]
use s3::S3;
#[cfg(feature = "sqs")]
use sqs::Sqs;
use stdout::Lines;

/// Lines that are written together, where the destination does not say: a batch of 10,000 would take megabytes.
const LINES_AT_ONCE: usize = 500;

/// One destination, opened once for the process and shared by concurrent invocations.
#[derive(Debug)]
pub enum Output {
    /// JSON lines to a writer: standard output, or a buffer in a test.
    Stdout(Lines),
    /// A Kinesis data stream.
    #[cfg(feature = "kinesis")]
    Kinesis(Kinesis),
    /// A Firehose stream.
    #[cfg(feature = "firehose")]
    Firehose(Firehose),
    /// An SQS queue.
    #[cfg(feature = "sqs")]
    Sqs(Sqs),
    /// Objects in S3.
    #[cfg(feature = "s3")]
    S3(S3),
    /// Nowhere: the endpoint itself is what matters, or its data capture.
    None,
}

/// What a destination is handed for one user record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is delivered: one JSON object without a line break, or a model's answer alone.
    pub line: String,
    /// The partition key of the record that it is about.
    pub partition_key: String,
    /// What tells the record from all others, the same for every delivery of it: its place, and behind a space the rest.
    /// Empty where the destination makes nothing of it.
    pub id: String,
    /// When the stream took the record, in milliseconds since 1970; 0 where that is not known.
    pub arrival_ms: u64,
}

/// How far a delivery came.
#[derive(Debug, Default)]
pub struct Delivered {
    /// The indexes of the entries that have not arrived, as far as is known, in their order.
    pub left: Vec<usize>,
    /// Why these have not.
    pub error: Option<DeliveryError>,
}

/// Why entries have not arrived, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The destination did not take them.
    #[error("{destination} did not take the records: {reason}")]
    Refused {
        /// Which one.
        destination: &'static str,
        /// Why, in words that a log may show: nothing of a record.
        reason: String,
    },
    /// The deadline came first.
    #[error("the records were not taken before the deadline")]
    OutOfTime,
}

impl Output {
    /// Opens a destination. What is in AWS is reached as the SDK found in the `environment`.
    ///
    /// # Panics
    ///
    /// For a destination that this build leaves out: [`Config`](crate::config::Config) has none.
    pub fn open(destination: &DestinationSetting, environment: &aws_config::SdkConfig) -> Self {
        match destination {
            DestinationSetting::Stdout => Self::Stdout(Lines::new(Box::new(io::stdout()))),
            #[cfg(feature = "kinesis")]
            DestinationSetting::Kinesis(stream) => Self::Kinesis(Kinesis::new(environment, stream.clone())),
            #[cfg(feature = "firehose")]
            DestinationSetting::Firehose(stream) => Self::Firehose(Firehose::new(environment, stream.clone())),
            #[cfg(feature = "sqs")]
            DestinationSetting::Sqs(url) => Self::Sqs(Sqs::new(environment, url.clone())),
            #[cfg(feature = "s3")]
            DestinationSetting::S3 { bucket, prefix } => Self::S3(S3::new(environment, bucket.clone(), prefix.clone())),
            DestinationSetting::None => Self::None,
            #[cfg(not(all(feature = "firehose", feature = "kinesis", feature = "s3", feature = "sqs")))]
            _ => {
                _ = environment;
                unreachable!("the configuration has no destination that is not built")
            }
        }
    }

    /// The limit in bytes that the line is too long for, where the destination has one.
    pub fn exceeded(&self, line: &str) -> Option<usize> {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => Kinesis::exceeded(line),
            #[cfg(feature = "firehose")]
            Self::Firehose(_) => Firehose::exceeded(line),
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => Sqs::exceeded(line),
            #[cfg(feature = "s3")]
            Self::S3(_) => None,
            Self::Stdout(_) | Self::None => {
                _ = line;
                None
            }
        }
    }

    /// How many entries are worth a delivery of their own while more are to come.
    pub fn worth_a_delivery(&self) -> usize {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => worth_a_delivery(kinesis),
            #[cfg(feature = "firehose")]
            Self::Firehose(firehose) => worth_a_delivery(firehose),
            #[cfg(feature = "sqs")]
            Self::Sqs(sqs) => worth_a_delivery(sqs),
            #[cfg(feature = "s3")]
            Self::S3(s3) => worth_a_delivery(s3),
            Self::Stdout(_) | Self::None => LINES_AT_ONCE,
        }
    }

    /// Whether what is delivered here comes back with the events of this stream. Of an `account` that is not known,
    /// that is taken for granted.
    pub fn feeds(&self, stream_arn: &str, account: Option<&str>) -> bool {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => kinesis.is(stream_arn, account),
            #[cfg(feature = "firehose")]
            Self::Firehose(_) => false,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => false,
            #[cfg(feature = "s3")]
            Self::S3(_) => false,
            Self::Stdout(_) | Self::None => {
                _ = (stream_arn, account);
                false
            }
        }
    }

    /// Whether the destination makes something of an entry's identity.
    pub fn tells_by_id(&self) -> bool {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => false,
            #[cfg(feature = "firehose")]
            Self::Firehose(_) => false,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => true,
            #[cfg(feature = "s3")]
            Self::S3(_) => true,
            Self::Stdout(_) | Self::None => false,
        }
    }

    /// Delivers `entries` in their order, until `end` at the latest.
    pub async fn deliver(&self, entries: &[Entry], end: Instant) -> Delivered {
        match self {
            Self::None => Delivered::default(),
            _ if entries.is_empty() => Delivered::default(),
            // What is begun now may arrive, and then comes again for certain.
            _ if Instant::now() >= end => Delivered::none_of(entries.len(), DeliveryError::OutOfTime),
            Self::Stdout(lines) => match lines.deliver(entries, end).await {
                Ok(()) => Delivered::default(),
                Err(error) => Delivered::none_of(entries.len(), error),
            },
            // Boxed, since the SDK's work is deep and large, and these branches are the smaller part of what comes here.
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => Box::pin(deliver(kinesis, entries, end)).await,
            #[cfg(feature = "firehose")]
            Self::Firehose(firehose) => Box::pin(deliver(firehose, entries, end)).await,
            #[cfg(feature = "sqs")]
            Self::Sqs(sqs) => Box::pin(deliver(sqs, entries, end)).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => Box::pin(deliver(s3, entries, end)).await,
        }
    }
}

impl Delivered {
    fn none_of(count: usize, error: DeliveryError) -> Self {
        Self {
            left: (0..count).collect(),
            error: Some(error),
        }
    }
}
