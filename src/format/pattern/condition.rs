//! A condition on one value of an event.

use std::net::IpAddr;

use crate::format::lazy_json::text;

/// A condition on a string, a number, a boolean or null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// This string.
    Equals(String),
    /// This number, boolean or null, character by character: `300` is not `300.0`.
    Literal(Box<str>),
    Text(TextCondition),
    Numeric(Vec<(Comparison, f64)>),
    Cidr {
        network: IpAddr,
        prefix_bits: u32,
    },
    Exists(bool),
    /// None of these is met.
    AnythingBut(Vec<Condition>),
}

// A JSON number is never NaN.
impl Eq for Condition {}

/// A condition on a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextCondition {
    Prefix(String),
    Suffix(String),
    /// The texts of the other conditions on case are in lowercase.
    PrefixIgnoreCase(String),
    SuffixIgnoreCase(String),
    EqualsIgnoreCase(String),
    /// The texts between the wildcards.
    Wildcard(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Condition {
    /// Returns whether a JSON value meets the condition.
    pub(super) fn is_met_by(&self, value: &str) -> bool {
        match self {
            Self::Equals(expected) => text(value).is_some_and(|found| found == expected.as_str()),
            Self::Literal(expected) => value == &**expected,
            Self::Text(condition) => text(value).is_some_and(|found| condition.is_met_by(&found)),
            Self::Numeric(bounds) => {
                // The number nearest to the text. That of serde_json may be the next one to it.
                let number: Option<f64> = value.parse().ok();
                number.is_some_and(|number| {
                    bounds
                        .iter()
                        .all(|(comparison, bound)| comparison.holds(number, *bound))
                })
            }
            Self::Cidr { network, prefix_bits } => {
                let address = text(value).and_then(|found| found.parse().ok());
                address.is_some_and(|address| has_prefix(address, *network, *prefix_bits))
            }
            Self::Exists(exists) => *exists,
            Self::AnythingBut(conditions) => !conditions.iter().any(|condition| condition.is_met_by(value)),
        }
    }
}

impl TextCondition {
    fn is_met_by(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::PrefixIgnoreCase(prefix) => lowercase(text).starts_with(prefix),
            Self::SuffixIgnoreCase(suffix) => lowercase(text).ends_with(suffix),
            Self::EqualsIgnoreCase(expected) => lowercase(text) == *expected,
            Self::Wildcard(parts) => matches_wildcard(text, parts),
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            #[expect(
                clippy::float_cmp,
                reason = "`=` compares numbers that were written in decimal, not computed ones"
            )]
            Self::Equal => number == bound,
            Self::GreaterOrEqual => number >= bound,
            Self::Greater => number > bound,
        }
    }
}

/// Returns the text in lowercase, character by character. So a prefix of the text stays one, unlike with
/// [`str::to_lowercase`], for which the end of a word matters.
pub(super) fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Returns whether the text consists of the parts, with any text between them.
fn matches_wildcard(text: &str, parts: &[String]) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| text == only);
    };
    let Some(mut rest) = text
        .strip_prefix(first.as_str())
        .and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    middle.iter().all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn has_prefix(address: IpAddr, network: IpAddr, prefix_bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix_bits
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix_bits
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}
