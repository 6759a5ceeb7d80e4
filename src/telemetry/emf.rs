//! Metrics in `CloudWatch`'s embedded metric format: one JSON object an invocation, on standard output, from which
//! `CloudWatch` takes them without a call:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//!
//! `CloudWatch` charges for each metric with each value of its dimensions, in each hour in which it has a value. So there is
//! one dimension, the function's name, and what seldom happens has a value only where it happens.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use metrique_writer_core::format::Format as _;
use metrique_writer_core::{Entry, EntryWriter};
use metrique_writer_format_emf::Emf;
use tokio::time::Instant;
use tracing::warn;

use super::invocation_stats::InvocationStats;
use super::metric::METRICS;
use crate::delivery::destination::stdout::StdoutLines;

/// How long an answer may wait for its metrics: where nobody reads standard output, they are not worth more.
const WRITE_MAX: Duration = Duration::from_secs(1);
/// The only dimension of all metrics.
const DIMENSION: &str = "FunctionName";

/// Where an invocation's metrics come from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// Lambda's name for the invocation.
    pub request_id: &'o str,
    /// The endpoint's name.
    pub endpoint: &'o str,
    /// When the metrics were taken.
    pub now: SystemTime,
}

struct Event<'e> {
    function_name: &'e str,
    origin: Origin<'e>,
    stats: &'e InvocationStats,
}

impl Entry for Event<'_> {
    fn write<'a>(&'a self, writer: &mut impl EntryWriter<'a>) {
        writer.timestamp(self.origin.now);
        writer.value(DIMENSION, self.function_name);
        writer.value("Endpoint", self.origin.endpoint);
        writer.value("RequestId", self.origin.request_id);
        for metric in &METRICS {
            if let Some(reading) = metric.read(self.stats) {
                writer.value(metric.name, &reading);
            }
        }
    }
}

/// Writes metrics. One for the process.
pub struct Metrics {
    lines: StdoutLines,
    emf: Mutex<Emf>,
    function_name: String,
}

impl Metrics {
    /// Metrics of this function in this namespace, to `lines`.
    pub fn new(lines: StdoutLines, namespace: &str, function_name: &str) -> Self {
        let dimensions = vec![vec![DIMENSION.to_owned()]];
        Self {
            lines,
            emf: Mutex::new(Emf::all_validations(namespace.to_owned(), dimensions)),
            function_name: function_name.to_owned(),
        }
    }

    /// Writes one invocation's figures, as one line. Waits a second for it at most, and not beyond `end`: no record depends on it.
    pub async fn write(&self, stats: &InvocationStats, origin: Origin<'_>, end: Instant) {
        let Some(line) = self.line(stats, origin) else { return };
        let end = end.min(Instant::now() + WRITE_MAX);
        if let Err(error) = self.lines.write(line, end).await {
            warn!(%error, "the metrics of this invocation may be lost");
        }
    }

    fn line(&self, stats: &InvocationStats, origin: Origin<'_>) -> Option<Vec<u8>> {
        let event = Event {
            function_name: &self.function_name,
            origin,
            stats,
        };
        let mut line = Vec::with_capacity(4096);
        let mut emf = self.emf.lock().unwrap_or_else(PoisonError::into_inner);
        match emf.format(&event, &mut line) {
            Ok(()) => Some(line),
            Err(error) => {
                warn!(?error, "the metrics of this invocation are lost");
                None
            }
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("function_name", &self.function_name)
            .finish_non_exhaustive()
    }
}
