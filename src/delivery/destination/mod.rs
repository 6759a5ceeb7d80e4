//! Destinations of predictions and dead letters.
//!
//! The destination is chosen at run time, so this seam is an enum of real destinations. Each AWS destination is a cargo
//! feature.

use std::io;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::format::lazy_json::member;

#[cfg(any(
    feature = "eventbridge",
    feature = "firehose",
    feature = "kinesis",
    feature = "s3",
    feature = "sqs"
))]
mod batch_put;

#[cfg(feature = "eventbridge")]
pub mod eventbridge;
#[cfg(feature = "firehose")]
pub mod firehose;
#[cfg(feature = "kinesis")]
pub mod kinesis;
mod output_line;
#[cfg(feature = "s3")]
pub mod s3;
mod setting;
#[cfg(feature = "sqs")]
pub mod sqs;
pub mod stdout;

pub use output_line::{DeliveryError, DeliveryResult, LineKind, OutputLine};
pub use setting::DestinationSetting;

#[cfg(feature = "eventbridge")]
use eventbridge::EventBridge;
#[cfg(feature = "firehose")]
use firehose::Firehose;
#[cfg(feature = "kinesis")]
use kinesis::Kinesis;
#[cfg(feature = "s3")]
use s3::S3;
#[cfg(feature = "sqs")]
use sqs::Sqs;
use stdout::StdoutLines;

/// The number of lines per delivery for a destination without request limits. The lines of a whole batch of 10,000
/// records would take megabytes of memory.
const DEFAULT_DELIVERY_LINES: usize = 500;
/// The maximum size of a line in bytes for a destination without a limit of its own. The largest answer has 25 MiB,
/// which is less than 34 MiB in base64.
const ANY_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

#[cfg(feature = "eventbridge")]
const NO_EVENT: &str = "it is not a JSON object, as the detail of an event must be";

/// One destination, opened once for the process and shared by concurrent invocations.
#[derive(Debug)]
pub enum Destination {
    /// Lines to a writer: standard output, or a buffer in a test.
    Stdout(StdoutLines),
    /// A Kinesis data stream.
    #[cfg(feature = "kinesis")]
    Kinesis(Kinesis),
    /// An event bus of Amazon `EventBridge`.
    #[cfg(feature = "eventbridge")]
    EventBridge(EventBridge),
    /// A Firehose stream.
    #[cfg(feature = "firehose")]
    Firehose(Firehose),
    /// An SQS queue.
    #[cfg(feature = "sqs")]
    Sqs(Sqs),
    /// Objects in S3.
    #[cfg(feature = "s3")]
    S3(S3),
    /// Discards the lines, for a function that needs only the calls or the endpoint's data capture.
    None,
}

impl Destination {
    /// Opens a destination. AWS destinations use the region, credentials and connections of `environment`.
    ///
    /// # Panics
    ///
    /// Panics for a destination that this build leaves out. The configuration never holds one.
    pub fn open(setting: &DestinationSetting, environment: &aws_config::SdkConfig) -> Self {
        match setting {
            DestinationSetting::Stdout => Self::Stdout(StdoutLines::new(Box::new(io::stdout()))),
            #[cfg(feature = "kinesis")]
            DestinationSetting::Kinesis(stream) => Self::Kinesis(Kinesis::new(environment, stream.clone())),
            #[cfg(feature = "eventbridge")]
            DestinationSetting::EventBridge(bus) => Self::EventBridge(EventBridge::new(environment, bus.clone())),
            #[cfg(feature = "firehose")]
            DestinationSetting::Firehose(stream) => Self::Firehose(Firehose::new(environment, stream.clone())),
            #[cfg(feature = "sqs")]
            DestinationSetting::Sqs(url) => Self::Sqs(Sqs::new(environment, url.clone())),
            #[cfg(feature = "s3")]
            DestinationSetting::S3 { bucket, prefix } => Self::S3(S3::new(environment, bucket.clone(), prefix.clone())),
            DestinationSetting::None => Self::None,
            #[cfg(not(all(
                feature = "eventbridge",
                feature = "firehose",
                feature = "kinesis",
                feature = "s3",
                feature = "sqs"
            )))]
            _ => {
                _ = environment;
                unreachable!("the configuration has no destination that is not built")
            }
        }
    }

    /// Returns the maximum size of a line, in bytes.
    pub fn line_bytes_max(&self) -> usize {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => Kinesis::LINE_BYTES_MAX,
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(_) => EventBridge::LINE_BYTES_MAX,
            #[cfg(feature = "firehose")]
            Self::Firehose(_) => Firehose::LINE_BYTES_MAX,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => sqs::BYTES_MAX,
            #[cfg(feature = "s3")]
            Self::S3(_) => ANY_LINE_BYTES_MAX,
            Self::Stdout(_) | Self::None => ANY_LINE_BYTES_MAX,
        }
    }

    /// Returns the reason why the destination cannot carry this text as one line, if there is one.
    pub fn text_refusal(&self, text: &str) -> Option<&'static str> {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => None,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => (!Sqs::allows(text)).then_some("it is empty or has characters that SQS does not allow"),
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(_) => {
                let json = serde_json::from_str::<&RawValue>(text).ok();
                json.map_or(Some(NO_EVENT), |json| self.json_refusal(json))
            }
            Self::None => None,
            _ if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() => {
                Some("it has line breaks, and the destination separates records by line breaks")
            }
            _ => serde_json::from_str(text).ok().and_then(|json| self.json_refusal(json)),
        }
    }

    /// Returns the reason why the destination cannot carry this JSON on one line, if there is one.
    pub fn json_refusal(&self, json: &RawValue) -> Option<&'static str> {
        #[cfg(feature = "eventbridge")]
        if matches!(self, Self::EventBridge(_)) {
            return (!json.get().starts_with('{')).then_some(NO_EVENT);
        }
        let is_log = matches!(self, Self::Stdout(_));
        // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
        let is_metrics = || member(json.get(), "_aws").is_some();
        (is_log && is_metrics()).then_some("CloudWatch would read it as metrics, because it has the member _aws")
    }

    /// Returns the number of lines to wait for before a delivery starts, while more outcomes are expected.
    pub fn full_request_lines(&self) -> usize {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => batch_put::full_request_lines(kinesis),
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(bus) => batch_put::full_request_lines(bus),
            #[cfg(feature = "firehose")]
            Self::Firehose(firehose) => batch_put::full_request_lines(firehose),
            #[cfg(feature = "sqs")]
            Self::Sqs(sqs) => batch_put::full_request_lines(sqs),
            #[cfg(feature = "s3")]
            Self::S3(s3) => batch_put::full_request_lines(s3),
            Self::Stdout(_) | Self::None => DEFAULT_DELIVERY_LINES,
        }
    }

    /// Returns `true` if this destination is the stream with this ARN. If `account` is unknown, the accounts are
    /// assumed to be the same.
    pub fn is_source_stream(&self, stream_arn: &str, account: Option<&str>) -> bool {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => kinesis.is_source_stream(stream_arn, account),
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(_) => false,
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

    /// Returns `true` if the destination uses [`OutputLine::id`].
    pub fn has_line_ids(&self) -> bool {
        match self {
            #[cfg(feature = "kinesis")]
            Self::Kinesis(_) => false,
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(_) => false,
            #[cfg(feature = "firehose")]
            Self::Firehose(_) => false,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => true,
            #[cfg(feature = "s3")]
            Self::S3(_) => true,
            Self::Stdout(_) | Self::None => false,
        }
    }

    /// Delivers `lines` in order. Stops at `end` at the latest.
    pub async fn deliver(&self, lines: &[OutputLine], end: Instant) -> DeliveryResult {
        match self {
            Self::None => DeliveryResult::default(),
            _ if lines.is_empty() => DeliveryResult::default(),
            // A delivery that starts now could succeed after the end of the wait for its result. Its records would
            // count as undelivered and be delivered again.
            _ if Instant::now() >= end => DeliveryResult::none_delivered(lines.len(), DeliveryError::OutOfTime),
            Self::Stdout(stdout) => match stdout.deliver(lines, end).await {
                Ok(()) => DeliveryResult::default(),
                Err(error) => DeliveryResult::none_delivered(lines.len(), error),
            },
            // Boxed, because the SDK's futures are large and most calls do not take these branches.
            #[cfg(feature = "kinesis")]
            Self::Kinesis(kinesis) => Box::pin(batch_put::deliver(kinesis, lines, end)).await,
            #[cfg(feature = "eventbridge")]
            Self::EventBridge(bus) => Box::pin(batch_put::deliver(bus, lines, end)).await,
            #[cfg(feature = "firehose")]
            Self::Firehose(firehose) => Box::pin(batch_put::deliver(firehose, lines, end)).await,
            #[cfg(feature = "sqs")]
            Self::Sqs(sqs) => Box::pin(batch_put::deliver(sqs, lines, end)).await,
            #[cfg(feature = "s3")]
            Self::S3(s3) => Box::pin(batch_put::deliver(s3, lines, end)).await,
        }
    }
}
