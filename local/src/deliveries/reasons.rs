//! How often something happened for which reason.

use std::cmp::Reverse;
use std::collections::HashMap;

/// The maximum length of a reason, in characters. Reasons that differ behind it count as the same.
const REASON_CHARS_MAX: usize = 200;
/// The maximum number of different reasons. Models can put the record into their message, so that each is different.
const REASONS_MAX: usize = 1000;

/// Counts reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(HashMap<String, u64>);

impl Reasons {
    /// Counts one more occurrence of a reason.
    pub fn add(&mut self, reason: &str) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        if self.0.len() < REASONS_MAX || self.0.contains_key(&reason) {
            *self.0.entry(reason).or_default() += 1;
        }
    }

    /// Returns the most frequent reason, or the first in alphabetical order of several that are equally frequent.
    pub fn most_frequent(&self) -> Option<&str> {
        let most = self.0.iter().max_by_key(|(reason, count)| (**count, Reverse(*reason)));
        most.map(|(reason, _)| reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_reason_is_found_among_many() {
        let mut reasons = Reasons::default();
        assert_eq!(reasons.most_frequent(), None);
        reasons.add("twice");
        for number in 0..2 * REASONS_MAX {
            reasons.add(&number.to_string());
        }
        assert_eq!(reasons.0.len(), REASONS_MAX);
        reasons.add("twice");
        assert_eq!(reasons.most_frequent(), Some("twice"));
    }
}
