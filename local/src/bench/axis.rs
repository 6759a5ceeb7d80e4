//! The axes of a plot, as coordinates for plotters.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::data::float::pretty_print_float;
use plotters::prelude::{IntoLogRange as _, LogCoord};

/// The scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
    /// Percentiles, in per cent. The distance from 90 to 99 equals the distance from 99 to 99.9.
    Percentile,
}

/// An axis from its lowest to its highest value. Values outside are drawn at its ends.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// The quantity on the axis, with its unit.
    pub(super) title: String,
    scale: Scale,
    range: Range<f64>,
}

/// Above this ratio of the highest value to the lowest, only a logarithmic axis shows all values.
const LINEAR_RATIO_MAX: f64 = 20.0;
/// Tolerance for the rounding error of a value that is exactly at its limit.
const ROUNDING_ERROR: f64 = 1e-9;
/// The percentiles that have a tick if the axis reaches them.
const PERCENTILES: [f64; 8] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];

impl Axis {
    /// Returns a linear axis from 0 to `to`.
    pub(super) fn linear(title: &str, to: f64) -> Self {
        Self::new(title, Scale::Linear, 0.0..if to > 0.0 { to } else { 1.0 })
    }

    /// Returns an axis that contains all `values`: from a power of ten to another if they are positive and far apart,
    /// otherwise linear from 0.
    pub(super) fn around(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, 0.0), |(low, high): (f64, f64), value| {
            (low.min(value), high.max(value))
        });
        if low > 0.0 && high > low * LINEAR_RATIO_MAX {
            let from = 10_f64.powf(low.log10().floor()) * (1.0 - ROUNDING_ERROR);
            let to = 10_f64.powf(high.log10().ceil()) * (1.0 + ROUNDING_ERROR);
            return Self::new(&format!("{title}, logarithmic"), Scale::Log, from..to);
        }
        // A little room above the highest value.
        Self::linear(title, 1.05 * high)
    }

    /// Returns a percentile axis. It ends at the highest percentile that `count` values can have.
    pub(super) fn percentiles(count: f64) -> Self {
        Self::new("percentile", Scale::Percentile, 0.0..100.0 * (1.0 - 1.0 / count))
    }

    fn new(title: &str, scale: Scale, range: Range<f64>) -> Self {
        let title = title.to_owned();
        Self { title, scale, range }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.ln(),
            Scale::Percentile => -(1.0 - value / 100.0).ln(),
        };
        RangedCoordf64::from(along(start)..along(end)).map(&along(value.clamp(start, end)), pixels)
    }

    /// Returns the values with a grid line. Only a logarithmic axis has light ones between those with a label.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let range = self.range.clone();
        match self.scale {
            Scale::Linear => RangedCoordf64::from(range).key_points(hint.bold_points()),
            Scale::Log => LogCoord::from(range.log_scale()).key_points(hint),
            Scale::Percentile => {
                let inside = |percent: &f64| *percent <= range.end + ROUNDING_ERROR;
                PERCENTILES.into_iter().filter(inside).collect()
            }
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        pretty_print_float(*value, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.key_points(7).iter().map(Axis::format).collect()
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_contains_the_highest_value() {
        let axis = Axis::around("ms", [10.0, 47.0].into_iter());
        assert_eq!(labels(&axis), ["0", "10", "20", "30", "40"]);
        assert!(axis.range().end > 47.0);
        let axis = Axis::linear("s", 0.3);
        assert_eq!(labels(&axis), ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]);
        assert_eq!([-1.0, 0.15, 9.0].map(|at| axis.map(&at, (0, 1000))), [0, 500, 1000]);
        assert!(labels(&Axis::around("none", std::iter::empty())).len() > 1);
    }

    #[test]
    fn values_that_are_far_apart_get_a_logarithmic_axis_with_a_label_at_each_power_of_ten() {
        let axis = Axis::around("ms", [20.0, 30_000.0].into_iter());
        assert_eq!(axis.title, "ms, logarithmic");
        assert_eq!(labels(&axis), ["10", "100", "1000", "10000", "100000"]);
        assert_eq!([1.0, 1000.0].map(|at| axis.map(&at, (0, 1000))), [0, 500]);
        let axis = Axis::around("ms", [0.001, 1.0].into_iter());
        assert_eq!(labels(&axis), ["0.001", "0.01", "0.1", "1"]);
    }

    #[test]
    fn a_percentile_axis_gives_each_nine_the_same_distance() {
        let axis = Axis::percentiles(1000.0);
        assert_eq!(labels(&axis), ["0", "50", "90", "99", "99.9"]);
        let at = [0.0, 90.0, 99.0, 99.9, 100.0].map(|percent| axis.map(&percent, (0, 900)));
        assert_eq!(at, [0, 300, 600, 900, 900]);
    }
}
