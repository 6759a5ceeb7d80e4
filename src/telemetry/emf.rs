//! Writes metrics in `CloudWatch`'s embedded metric format: one JSON object per invocation, on standard output.
//! `CloudWatch` extracts the metrics from the log, so no call is needed:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//!
//! `CloudWatch` charges for each metric and each combination of dimension values, in each hour in which it has a value.
//! So the function's name is the only dimension, and metrics of rare events have a value only if the event happened.

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

/// The maximum time for which a response waits for its metrics to be written. If nobody reads standard output, they are
/// lost.
const WRITE_MAX: Duration = Duration::from_secs(1);
/// The only dimension of the metrics.
const DIMENSION: &str = "FunctionName";

/// The origin of an invocation's metrics.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'o> {
    /// Lambda's identifier of the invocation.
    pub request_id: &'o str,
    /// The endpoint's name.
    pub endpoint: &'o str,
    /// The time of the measurement.
    pub now: SystemTime,
}

struct MetricsLine<'m> {
    function_name: &'m str,
    origin: Origin<'m>,
    stats: &'m InvocationStats,
}

impl Entry for MetricsLine<'_> {
    fn write<'a>(&'a self, writer: &mut impl EntryWriter<'a>) {
        writer.timestamp(self.origin.now);
        writer.value(DIMENSION, self.function_name);
        writer.value("Endpoint", self.origin.endpoint);
        writer.value("RequestId", self.origin.request_id);
        for metric in &METRICS {
            if let Some(value) = metric.value(self.stats) {
                writer.value(metric.name, &value);
            }
        }
    }
}

/// The writer of metrics. One per process.
pub struct Metrics {
    lines: StdoutLines,
    emf: Mutex<Emf>,
    function_name: String,
}

impl Metrics {
    /// Creates the writer for this function and namespace. It writes to `lines`.
    pub fn new(lines: StdoutLines, namespace: &str, function_name: &str) -> Self {
        let dimensions = vec![vec![DIMENSION.to_owned()]];
        Self {
            lines,
            emf: Mutex::new(Emf::all_validations(namespace.to_owned(), dimensions)),
            function_name: function_name.to_owned(),
        }
    }

    /// Writes the metrics of one invocation as one line. Waits for at most one second and never past `end`, because no
    /// record depends on the metrics.
    pub async fn write(&self, stats: &InvocationStats, origin: Origin<'_>, end: Instant) {
        let Some(line) = self.line(stats, origin) else { return };
        let end = end.min(Instant::now() + WRITE_MAX);
        if let Err(error) = self.lines.write(line, end).await {
            warn!(%error, "the metrics of this invocation may be lost");
        }
    }

    fn line(&self, stats: &InvocationStats, origin: Origin<'_>) -> Option<Vec<u8>> {
        let content = MetricsLine {
            function_name: &self.function_name,
            origin,
            stats,
        };
        let mut line = Vec::with_capacity(4096);
        let mut emf = self.emf.lock().unwrap_or_else(PoisonError::into_inner);
        match emf.format(&content, &mut line) {
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
