//! Axes: where a value lies on them, and where their ticks are.

/// How the values lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Percentiles, in per cent: from 90 to 99 it is as far as from 99 to 99.9.
    Percentile,
}

/// An axis from its lowest to its highest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) title: String,
    scale: Scale,
    from: f64,
    to: f64,
}

/// About how many ticks an axis has at most.
const TICKS: f64 = 6.0;
/// A logarithmic axis with more round numbers than this has ticks at powers of ten only.
const LOG_TICKS: usize = 8;
/// Where values spread over more than this, only a logarithmic axis shows them all.
const WIDE: f64 = 20.0;
/// What rounding may add to a value that is exactly at its limit.
const NEARLY: f64 = 1e-9;

impl Axis {
    /// From 0 to `to`.
    pub(super) fn linear(title: &str, to: f64) -> Self {
        Self::new(title, Scale::Linear, 0.0, to)
    }

    /// From 0 to beyond the highest of `values`, or, where these are positive and far apart, logarithmic around them.
    pub(super) fn around(title: &str, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.clone().fold(f64::MAX, f64::min);
        if low > 0.0 && high > low * WIDE {
            let from = round_numbers()
                .map(|(number, _)| number)
                .filter(|number| *number <= low);
            let to = round_numbers().map(|(number, _)| number).find(|number| *number >= high);
            let title = format!("{title}, logarithmic");
            return Self::new(&title, Scale::Log, from.last().unwrap_or(low), to.unwrap_or(high));
        }
        Self::linear_around(title, values)
    }

    /// From 0 to beyond the highest of `values`.
    pub(super) fn linear_around(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        let (step, _) = step(high);
        let steps = (high / step - NEARLY).ceil().max(1.0);
        Self::new(title, Scale::Linear, 0.0, steps * step)
    }

    /// Percentiles up to the highest that so many values have.
    pub(super) fn percentiles(title: &str, values: f64) -> Self {
        let highest = 100.0 * (1.0 - 1.0 / values.max(10.0));
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

    /// Where on the axis a value lies: 0 at its beginning, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.from).ln(),
            Scale::Percentile => -(1.0 - value.min(self.to) / 100.0).ln(),
        };
        let (from, to) = (along(self.from), along(self.to));
        ((along(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// The value at a place, from 0 to 1, of a percentile axis.
    pub(super) fn percentile_at(&self, place: f64) -> f64 {
        100.0 * (1.0 - (1.0 - self.to / 100.0).powf(place))
    }

    /// Values with a tick, and what stands there.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let label = |(value, decimals): (f64, usize)| (value, format!("{value:.decimals$}"));
        match self.scale {
            Scale::Linear => {
                let (step, decimals) = step(self.to);
                let values = (0_u32..).map(|number| (f64::from(number) * step, decimals));
                values
                    .take_while(|(value, _)| *value <= self.to * (1.0 + NEARLY))
                    .map(label)
                    .collect()
            }
            Scale::Log => {
                let inside = |(number, _): &(f64, usize)| (self.from..=self.to).contains(number);
                let all = round_numbers().filter(inside);
                let is_power = |(number, _): &(f64, usize)| number.log10().fract().abs() < NEARLY;
                if all.clone().count() > LOG_TICKS {
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
                let inside = all.into_iter().filter(|(value, _)| *value <= self.to + NEARLY);
                inside.map(label).collect()
            }
        }
    }
}

/// The distance of the ticks between 0 and `to`, and how many digits behind the point it takes.
fn step(to: f64) -> (f64, usize) {
    round_numbers()
        .find(|(step, _)| to / step <= TICKS + NEARLY)
        .unwrap_or((to, 0))
}

/// 1, 2, 5, 10, 20 and so on, from a millionth to a billion, and how many digits behind the point each takes.
fn round_numbers() -> impl Iterator<Item = (f64, usize)> + Clone {
    (-6_i32..=9).flat_map(|power| {
        let decimals = usize::try_from(-power).unwrap_or_default();
        // Divided, as 10⁻³ has no exact value in binary, but 10³ has.
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
    fn a_linear_axis_begins_at_nothing_and_ends_at_or_beyond_the_highest_value() {
        let axis = Axis::around("ms", [10.0, 47.0].into_iter());
        assert_eq!(labels(&axis), ["0", "10", "20", "30", "40", "50"]);
        assert!((axis.place(25.0) - 0.5).abs() < 1e-9);
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
    fn values_far_apart_are_shown_on_a_logarithmic_axis() {
        let axis = Axis::around("ms", [20.0, 30_000.0].into_iter());
        assert_eq!(axis.title, "ms, logarithmic");
        assert_eq!(labels(&axis), ["100", "1000", "10000"]);
        assert_eq!((axis.place(20.0), axis.place(50_000.0)), (0.0, 1.0));
        let axis = Axis::around("ms", [0.9, 40.0].into_iter());
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5", "10", "20", "50"]);
    }

    #[test]
    fn percentiles_have_the_same_way_to_go_for_each_nine() {
        let axis = Axis::percentiles("percentile", 1000.0);
        assert_eq!(labels(&axis), ["0", "50", "90", "99", "99.9"]);
        for (place, value) in [(1.0 / 3.0, 90.0), (2.0 / 3.0, 99.0), (1.0, 99.9)] {
            assert!((axis.place(value) - place).abs() < 1e-9, "{value}");
            assert!((axis.percentile_at(place) - value).abs() < 1e-9, "{value}");
        }
    }
}
