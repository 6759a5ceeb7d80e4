//! Event patterns in the syntax of Amazon `EventBridge`:
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>.
//!
//! A pattern names fields of a JSON object. A field matches if one of its values meets one of the conditions. All
//! fields of a pattern must match, and one alternative of each `$or`. If a field holds an array, one element must
//! match. If it holds an array of objects, one object must match all that the pattern says about it.

use super::lazy_json::{elements, members, text};

mod condition;
mod parse;
#[cfg(test)]
mod tests;

use condition::Condition;
pub use parse::PatternError;

/// The maximum depth of a pattern, and of arrays in the arrays of an event. Deeper arrays match nothing.
const DEPTH_MAX: usize = 32;

/// A parsed event pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPattern(FieldPattern);

/// The conditions on the fields of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ObjectPattern {
    /// Each field must match.
    fields: Vec<(String, FieldPattern)>,
    /// The alternatives of `$or`, of which one must match. Empty without `$or`.
    alternatives: Vec<ObjectPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldPattern {
    Object(ObjectPattern),
    /// One of these must be met.
    Values(Vec<Condition>),
}

impl EventPattern {
    /// Returns whether a JSON document matches. A document that is no object has no fields. The text must be JSON
    /// without white space before it, as the text of a `RawValue` is.
    pub fn matches(&self, json: &str) -> bool {
        self.0.matches(Some(json), 0)
    }

    /// Returns the pattern of the field at the end of these names. An alternative of `$or` is not one.
    pub fn part<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut part = &self.0;
        for name in names {
            let FieldPattern::Object(pattern) = part else {
                return None;
            };
            part = &pattern.fields.iter().find(|(own, _)| own == name)?.1;
        }
        Some(Self(part.clone()))
    }
}

impl FieldPattern {
    /// Returns whether the value of a field matches, or its absence.
    fn matches(&self, value: Option<&str>, depth: usize) -> bool {
        match self {
            Self::Object(pattern) => pattern.matches(value, depth),
            Self::Values(conditions) => has_value(value, conditions, depth),
        }
    }
}

impl ObjectPattern {
    /// Returns whether a value matches. An array matches if one of its elements does.
    fn matches(&self, value: Option<&str>, depth: usize) -> bool {
        match value {
            Some(array) if array.starts_with('[') => {
                let mut elements = elements(array).peekable();
                if elements.peek().is_none() {
                    return self.matches_members(&[], depth);
                }
                depth < DEPTH_MAX && elements.any(|element| self.matches(Some(element), depth + 1))
            }
            value => self.matches_members(&self.members(value.unwrap_or_default()), depth),
        }
    }

    fn matches_members(&self, members: &[(&str, &str)], depth: usize) -> bool {
        let is_met = |(name, pattern): &(String, FieldPattern)| {
            // If several members have the same name, the last one is used.
            let member = members.iter().rev().find(|(own, _)| own == name);
            pattern.matches(member.map(|(_, value)| *value), depth + 1)
        };
        let mut alternatives = self.alternatives.iter();
        self.fields.iter().all(is_met)
            && (self.alternatives.is_empty() || alternatives.any(|pattern| pattern.matches_members(members, depth)))
    }

    /// Returns the members of an object that the pattern names.
    fn members<'p, 'j>(&'p self, object: &'j str) -> Vec<(&'p str, &'j str)> {
        let named = members(object).filter_map(|(name, value)| Some((self.name(&text(name)?)?, value)));
        named.collect()
    }

    /// Returns the pattern's own copy of a name, if it or one of its alternatives has a field of this name.
    fn name(&self, name: &str) -> Option<&str> {
        let own = self.fields.iter().find(|(own, _)| own == name);
        own.map(|(own, _)| own.as_str())
            .or_else(|| self.alternatives.iter().find_map(|pattern| pattern.name(name)))
    }
}

/// Returns whether a field has a value that meets one of the conditions. Only strings, numbers, booleans and null are
/// values.
fn has_value(field: Option<&str>, conditions: &[Condition], depth: usize) -> bool {
    let mut has_values = false;
    let has_match = field.is_some_and(|field| {
        any_value(field, depth, &mut |value| {
            has_values = true;
            conditions.iter().any(|condition| condition.is_met_by(value))
        })
    });
    has_match || !has_values && conditions.contains(&Condition::Exists(false))
}

/// Calls `is_match` with the value, or with the values of an array, until it returns `true`.
fn any_value(field: &str, depth: usize, is_match: &mut dyn FnMut(&str) -> bool) -> bool {
    match field.as_bytes().first() {
        Some(b'{') => false,
        Some(b'[') => depth < DEPTH_MAX && elements(field).any(|element| any_value(element, depth + 1, is_match)),
        _ => is_match(field),
    }
}
