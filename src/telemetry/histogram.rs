//! Reduces many latencies to few values with counts. The embedded metric format allows up to 100 values of a metric,
//! each with its number of occurrences.

use metrique_writer_core::Observation;

/// The maximum number of values of a metric.
const VALUES_MAX: usize = 100;
/// The initial precision of values, in binary digits. Values differ by less than one part in 64 from the latencies.
const DIGITS_MAX: u32 = 7;

/// Returns values in milliseconds for latencies in microseconds. Latencies with the same leading binary digits become
/// one value, their mean, so that sum and average stay exact. Uses the highest precision that gives at most
/// [`VALUES_MAX`] values.
pub(super) fn quantize(latencies_us: &[u32]) -> Vec<Observation> {
    let mut sorted = latencies_us.to_vec();
    sorted.sort_unstable();
    let groups = |digits: u32| sorted.chunk_by(move |one, next| leading(*one, digits) == leading(*next, digits));
    let few_enough = (1..=DIGITS_MAX)
        .rev()
        .find(|digits| groups(*digits).count() <= VALUES_MAX);
    groups(few_enough.unwrap_or(1)).map(observation).collect()
}

/// Returns the number with all but its first `digits` binary digits cleared.
fn leading(number: u32, digits: u32) -> u32 {
    let cleared = (u32::BITS - number.leading_zeros()).saturating_sub(digits);
    number >> cleared << cleared
}

fn observation(latencies_us: &[u32]) -> Observation {
    let sum_us: u64 = latencies_us.iter().copied().map(u64::from).sum();
    let occurrences = u32::try_from(latencies_us.len()).unwrap_or(u32::MAX);
    // Rounded to microseconds: more digits would only make the line longer, which costs money.
    let mean_us = u32::try_from(sum_us / u64::from(occurrences.max(1))).unwrap_or(u32::MAX);
    Observation::Repeated {
        total: f64::from(mean_us) / 1000.0 * f64::from(occurrences),
        occurrences: occurrences.into(),
    }
}
