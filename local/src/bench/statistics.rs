//! Medians, spreads and percentiles.

use std::time::Duration;

/// The median and the range of a quantity over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median. Of an even number of values, the mean of the two in the middle.
    pub median: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
}

impl Spread {
    /// Returns the spread of the values, or `None` if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let sorted = sorted(values);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) {
            *sorted.get(middle - 1)?
        } else {
            upper
        };
        Some(Self {
            median: f64::midpoint(lower, upper),
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}

/// Returns the values from the lowest to the highest.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// Returns a percentile of the sorted values by the nearest-rank method, so the result is always one of the values.
/// Returns `None` if there are no values.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is neither negative nor more than the length"
)]
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    // In binary, 99.9 % of 1000 is slightly more than 999.
    let rank = (percent / 100.0 * number(sorted.len() as u64) - 1e-6).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Converts a count to a floating-point number.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Converts a duration to milliseconds, without rounding.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_lowest_the_median_and_the_highest_value() {
        let of = |values: &[f64]| {
            let spread = Spread::of(values.iter().copied())?;
            Some([spread.min, spread.median, spread.max])
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some([3.0; 3]));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some([1.0, 2.0, 9.0]));
        assert_eq!(of(&[9.0, 1.0, 3.0, 2.0]), Some([1.0, 2.5, 9.0]));
    }

    #[test]
    fn a_percentile_is_the_value_of_the_nearest_rank() {
        let values: Vec<_> = (1..=1000).map(number).collect();
        for (percent, expected) in [
            (0.0, 1.0),
            (50.0, 500.0),
            (90.0, 900.0),
            (99.9, 999.0),
            (99.95, 1000.0),
            (100.0, 1000.0),
        ] {
            assert_eq!(percentile(&values, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile(&[7.0], 50.0), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50.0), Some(2.0));
        assert_eq!(percentile(&[], 50.0), None);
    }
}
