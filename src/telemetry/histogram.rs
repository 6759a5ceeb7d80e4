//! Many latencies in few numbers: the embedded metric format takes up to 100 values of a metric, each with how often it
//! came.

use metrique_writer_core::Observation;

/// How many values a metric may have.
const VALUES_MAX: usize = 100;
/// How exact values are, at first, in binary digits: within one part in 64.
const DIGITS: u32 = 7;

/// Latencies in microseconds, as values in milliseconds. Those that agree in their leading digits are one value, their
/// mean, so that sum and average stay true; the digits are as many as give few enough values.
pub(super) fn quantize(latencies_us: &[u32]) -> Vec<Observation> {
    let mut sorted = latencies_us.to_vec();
    sorted.sort_unstable();
    let groups = |digits: u32| sorted.chunk_by(move |one, next| leading(*one, digits) == leading(*next, digits));
    let few_enough = (1..=DIGITS).rev().find(|digits| groups(*digits).count() <= VALUES_MAX);
    groups(few_enough.unwrap_or(1)).map(observation).collect()
}

/// The number with all but its first `digits` binary digits cleared.
fn leading(number: u32, digits: u32) -> u32 {
    let cleared = (u32::BITS - number.leading_zeros()).saturating_sub(digits);
    number >> cleared << cleared
}

fn observation(latencies_us: &[u32]) -> Observation {
    let sum_us: u64 = latencies_us.iter().copied().map(u64::from).sum();
    let occurrences = u32::try_from(latencies_us.len()).unwrap_or(u32::MAX);
    // To the microsecond: more digits would only be paid for.
    let mean_us = u32::try_from(sum_us / u64::from(occurrences.max(1))).unwrap_or(u32::MAX);
    Observation::Repeated {
        total: f64::from(mean_us) / 1000.0 * f64::from(occurrences),
        occurrences: occurrences.into(),
    }
}
