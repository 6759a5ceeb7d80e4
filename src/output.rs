//! Where predictions and dead letters go, and the envelope that they go in.
//!
//! The destination is chosen at run time, so this seam is an enum of real destinations.

use std::io;

use tokio::time::Instant;

use crate::config::Destination;

pub mod envelope;
pub mod kinesis;
pub mod stdout;

use kinesis::Kinesis;
use stdout::Lines;

/// One destination, opened once for the process and shared by concurrent invocations.
#[derive(Debug)]
pub enum Output {
    /// JSON lines to a writer: standard output, or a buffer in a test.
    Stdout(Lines),
    /// A Kinesis data stream.
    Kinesis(Kinesis),
    /// Nowhere: the endpoint itself is what matters, or its data capture.
    None,
}

/// What a destination is handed for one user record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One JSON object, without a line break.
    pub line: String,
    /// The partition key of the record that it is about.
    pub partition_key: String,
}

/// How far a delivery came.
#[derive(Debug)]
pub struct Delivered {
    /// So many entries, from the first on, have arrived. Some behind them may have.
    pub count: usize,
    /// Why not all have, where that is so.
    pub error: Option<DeliveryError>,
}

impl Delivered {
    fn up_to(count: usize, error: DeliveryError) -> Self {
        Self {
            count,
            error: Some(error),
        }
    }
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
    pub fn open(destination: &Destination, environment: &aws_config::SdkConfig) -> Self {
        match destination {
            Destination::Stdout => Self::Stdout(Lines::new(Box::new(io::stdout()))),
            Destination::Kinesis(stream) => Self::Kinesis(Kinesis::new(environment, stream.clone())),
            Destination::None => Self::None,
        }
    }

    /// How long a line may be, in bytes, where the destination has a limit.
    pub fn line_bytes_max(&self) -> Option<usize> {
        match self {
            Self::Kinesis(_) => Some(Kinesis::LINE_BYTES_MAX),
            Self::Stdout(_) | Self::None => None,
        }
    }

    /// Whether what is delivered here comes back with the events of this stream. Of an `account` that is not known,
    /// that is taken for granted.
    pub fn feeds(&self, stream_arn: &str, account: Option<&str>) -> bool {
        match self {
            Self::Kinesis(kinesis) => kinesis.is(stream_arn, account),
            Self::Stdout(_) | Self::None => false,
        }
    }

    /// Delivers `entries` in their order, until `end` at the latest.
    pub async fn deliver(&self, entries: &[Entry], end: Instant) -> Delivered {
        let all = Delivered {
            count: entries.len(),
            error: None,
        };
        match self {
            Self::None => all,
            _ if entries.is_empty() => all,
            // What is begun now may arrive, and then comes again for certain.
            _ if Instant::now() >= end => Delivered::up_to(0, DeliveryError::OutOfTime),
            Self::Stdout(lines) => match lines.deliver(entries, end).await {
                Ok(()) => all,
                Err(error) => Delivered::up_to(0, error),
            },
            // Boxed, since the SDK's work is deep and large, and this branch is the smaller part of what comes here.
            Self::Kinesis(kinesis) => Box::pin(kinesis.deliver(entries, end)).await,
        }
    }
}
