//! The value of a metric: one or more numbers, and their unit.

use std::time::Duration;

use metrique_writer_core::unit::NegativeScale;
use metrique_writer_core::value::MetricFlags;
use metrique_writer_core::{Observation, Unit, Value, ValueWriter};

use super::histogram::quantize;

/// The value of a metric in one invocation.
#[derive(Debug)]
pub(super) enum MetricValue<'s> {
    Count(usize),
    /// Rounded to hundredths.
    Number(f64),
    Time(Option<Duration>),
    /// In microseconds.
    Times(&'s [u32]),
}

impl MetricValue<'_> {
    pub(super) fn unit(&self) -> Unit {
        match self {
            Self::Count(_) | Self::Number(_) => Unit::Count,
            Self::Time(_) | Self::Times(_) => Unit::Second(NegativeScale::Milli),
        }
    }

    pub(super) fn is_zero_or_empty(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::Number(_) => false,
            Self::Time(time) => time.is_none(),
            Self::Times(times) => times.is_empty(),
        }
    }

    fn observations(&self) -> Vec<Observation> {
        match self {
            Self::Count(count) => vec![Observation::Unsigned(*count as u64)],
            Self::Number(number) => vec![Observation::Floating((number * 100.0).round() / 100.0)],
            Self::Time(time) => time
                .iter()
                .map(|time| Observation::Floating(milliseconds(*time)))
                .collect(),
            Self::Times(times) => quantize(times),
        }
    }
}

/// Returns the milliseconds, rounded to tenths.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

impl Value for MetricValue<'_> {
    fn write(&self, writer: impl ValueWriter) {
        writer.metric(self.observations(), self.unit(), [], MetricFlags::empty());
    }
}
