//! The axes of a plot: the position of each value, and the ticks.

/// The scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Percentiles, in per cent. The distance from 90 to 99 equals the distance from 99 to 99.9.
    Percentile,
}

/// An axis from its lowest to its highest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// The quantity on the axis, with its unit.
    pub(super) title: String,
    scale: Scale,
    from: f64,
    to: f64,
}

/// The maximum number of steps between the ticks of a linear axis.
const STEPS_MAX: f64 = 6.0;
/// A logarithmic axis with more round numbers than this has ticks only at powers of ten.
const LOG_TICKS_MAX: usize = 8;
/// Above this ratio of the highest value to the lowest, only a logarithmic axis shows all values.
const LINEAR_RATIO_MAX: f64 = 20.0;
/// Tolerance for the rounding error of a value that is exactly at its limit.
const ROUNDING_ERROR: f64 = 1e-9;

impl Axis {
    /// Returns a linear axis from 0 to `to`.
    pub(super) fn linear(title: &str, to: f64) -> Self {
        Self::new(title, Scale::Linear, 0.0, to)
    }

    /// Returns an axis that contains all `values`: logarithmic if they are positive and far apart, otherwise linear
    /// from 0.
    pub(super) fn around(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.clone().fold(f64::MAX, f64::min);
        if low > 0.0 && high > low * LINEAR_RATIO_MAX {
            let from = round_numbers()
                .map(|(number, _)| number)
                .filter(|number| *number <= low);
            let to = round_numbers().map(|(number, _)| number).find(|number| *number >= high);
            let title = format!("{title}, logarithmic");
            return Self::new(&title, Scale::Log, from.last().unwrap_or(low), to.unwrap_or(high));
        }
        Self::linear_around(title, values)
    }

    /// Returns a linear axis from 0 to the first tick that is not below the highest of `values`.
    pub(super) fn linear_around(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        let (step, _) = step(high);
        let steps = (high / step - ROUNDING_ERROR).ceil().max(1.0);
        Self::new(title, Scale::Linear, 0.0, steps * step)
    }

    /// Returns a percentile axis. It ends at the highest percentile that `count` values can have.
    pub(super) fn percentiles(title: &str, count: f64) -> Self {
        let highest = 100.0 * (1.0 - 1.0 / count.max(10.0));
        Self::new(title, Scale::Percentile, 0.0, highest)
    }

    fn new(title: &str, scale: Scale, from: f64, to: f64) -> Self {
        Self {
            title: title.to_owned(),
            scale,
            from,
            to: if to > from { to } else { from + 1.0 },
        }
    }

    /// Returns the position of a value on the axis, from 0 (the start) to 1 (the end).
    pub(super) fn position(&self, value: f64) -> f64 {
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.from).ln(),
            Scale::Percentile => -(1.0 - value.min(self.to) / 100.0).ln(),
        };
        let (from, to) = (along(self.from), along(self.to));
        ((along(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// Returns the value at a position, from 0 to 1, of a percentile axis.
    pub(super) fn percentile_at(&self, position: f64) -> f64 {
        100.0 * (1.0 - (1.0 - self.to / 100.0).powf(position))
    }

    /// Returns the values that have a tick, each with its label.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let label = |(value, decimals): (f64, usize)| (value, format!("{value:.decimals$}"));
        match self.scale {
            Scale::Linear => {
                let (step, decimals) = step(self.to);
                let values = (0_u32..).map(|number| (f64::from(number) * step, decimals));
                values
                    .take_while(|(value, _)| *value <= self.to * (1.0 + ROUNDING_ERROR))
                    .map(label)
                    .collect()
            }
            Scale::Log => {
                let inside = |(number, _): &(f64, usize)| (self.from..=self.to).contains(number);
                let all = round_numbers().filter(inside);
                let is_power = |(number, _): &(f64, usize)| number.log10().fract().abs() < ROUNDING_ERROR;
                if all.clone().count() > LOG_TICKS_MAX {
                    all.filter(is_power).map(label).collect()
                } else {
                    all.map(label).collect()
                }
            }
            Scale::Percentile => {
                let all = [
                    (0.0, 0),
                    (50.0, 0),
                    (90.0, 0),
                    (99.0, 0),
                    (99.9, 1),
                    (99.99, 2),
                    (99.999, 3),
                ];
                let inside = all.into_iter().filter(|(value, _)| *value <= self.to + ROUNDING_ERROR);
                inside.map(label).collect()
            }
        }
    }
}

/// Returns the distance between the ticks from 0 to `to`, and the number of its decimals.
fn step(to: f64) -> (f64, usize) {
    round_numbers()
        .find(|(step, _)| to / step <= STEPS_MAX + ROUNDING_ERROR)
        .unwrap_or((to, 0))
}

/// Returns 1, 2 and 5 times each power of ten from 10⁻⁶ to 10⁹, each with the number of its decimals.
fn round_numbers() -> impl Iterator<Item = (f64, usize)> + Clone {
    (-6_i32..=9).flat_map(|power| {
        let decimals = usize::try_from(-power).unwrap_or_default();
        // Negative powers divide: 10⁻³ has no exact binary value, but 10³ has.
        let scaled = move |digit: f64| {
            if power < 0 {
                digit / 10_f64.powi(-power)
            } else {
                digit * 10_f64.powi(power)
            }
        };
        [1.0, 2.0, 5.0].map(|digit| (scaled(digit), decimals))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn a_linear_axis_starts_at_zero_and_contains_the_highest_value() {
        let axis = Axis::around("ms", [10.0, 47.0].into_iter());
        assert_eq!(labels(&axis), ["0", "10", "20", "30", "40", "50"]);
        assert!((axis.position(25.0) - 0.5).abs() < 1e-9);
        assert_eq!(
            labels(&Axis::around("s", [0.11, 0.3].into_iter())),
            ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]
        );
        assert_eq!(
            labels(&Axis::linear("s", 2.5)),
            ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]
        );
        assert!(labels(&Axis::around("none", std::iter::empty())).len() > 1);
    }

    #[test]
    fn values_that_are_far_apart_get_a_logarithmic_axis() {
        let axis = Axis::around("ms", [20.0, 30_000.0].into_iter());
        assert_eq!(axis.title, "ms, logarithmic");
        assert_eq!(labels(&axis), ["100", "1000", "10000"]);
        assert_eq!((axis.position(20.0), axis.position(50_000.0)), (0.0, 1.0));
        let axis = Axis::around("ms", [0.9, 40.0].into_iter());
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5", "10", "20", "50"]);
    }

    #[test]
    fn a_percentile_axis_gives_each_nine_the_same_distance() {
        let axis = Axis::percentiles("percentile", 1000.0);
        assert_eq!(labels(&axis), ["0", "50", "90", "99", "99.9"]);
        for (position, value) in [(1.0 / 3.0, 90.0), (2.0 / 3.0, 99.0), (1.0, 99.9)] {
            assert!((axis.position(value) - position).abs() < 1e-9, "{value}");
            assert!((axis.percentile_at(position) - value).abs() < 1e-9, "{value}");
        }
    }
}
