//! Reads event patterns.

use std::borrow::Cow;
use std::collections::HashSet;
use std::iter;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::value::RawValue;

use super::condition::{Comparison, Condition, TextCondition, lowercase};
use super::{DEPTH_MAX, EventPattern, FieldPattern, ObjectPattern};
use crate::format::lazy_json::{elements, members, text};

/// A text is not an event pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{reason}", if path.is_empty() { "" } else { ": " })]
pub struct PatternError {
    /// The path of the wrong part, such as `detail.state`. Empty for the whole pattern.
    path: String,
    reason: String,
}

type Result<T> = std::result::Result<T, PatternError>;

impl FromStr for EventPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self> {
        let json: &RawValue = serde_json::from_str(text).map_err(|error| wrong("", format!("not JSON: {error}")))?;
        object_pattern(json.get(), "", 0).map(|pattern| Self(FieldPattern::Object(pattern)))
    }
}

fn object_pattern(json: &str, path: &str, depth: usize) -> Result<ObjectPattern> {
    if !json.starts_with('{') {
        return Err(wrong(path, r#"a pattern is an object, such as {"state":["running"]}"#));
    }
    if depth == DEPTH_MAX {
        return Err(wrong(path, format!("the pattern has more than {DEPTH_MAX} levels")));
    }
    let mut names = HashSet::new();
    let (mut fields, mut alternatives) = (Vec::new(), Vec::new());
    for (name, value) in members(json) {
        let name = text(name).ok_or_else(|| wrong(path, "a name is not Unicode"))?;
        let path = if path.is_empty() {
            name.to_string()
        } else {
            format!("{path}.{name}")
        };
        match value.as_bytes().first() {
            Some(b'[') if name == "$or" => alternatives = self::alternatives(value, &path, depth)?,
            Some(b'[') => fields.push((name.to_string(), FieldPattern::Values(conditions(value, &path)?))),
            Some(b'{') => {
                let pattern = object_pattern(value, &path, depth + 1)?;
                fields.push((name.to_string(), FieldPattern::Object(pattern)));
            }
            _ => return Err(wrong(&path, format!("the values to match are an array: [{value}]"))),
        }
        if !names.insert(name) {
            return Err(wrong(&path, "the pattern names this field twice"));
        }
    }
    if names.is_empty() {
        return Err(wrong(path, "a pattern names at least one field"));
    }
    Ok(ObjectPattern { fields, alternatives })
}

/// Reads the patterns of a `$or`.
fn alternatives(array: &str, path: &str, depth: usize) -> Result<Vec<ObjectPattern>> {
    let patterns = elements(array).map(|json| object_pattern(json, path, depth + 1));
    let patterns: Vec<_> = patterns.collect::<Result<_>>()?;
    if patterns.len() < 2 {
        return Err(wrong(path, "$or takes at least two patterns"));
    }
    Ok(patterns)
}

/// Reads the values of a field, of which one must match.
fn conditions(array: &str, path: &str) -> Result<Vec<Condition>> {
    let conditions: Vec<_> = elements(array)
        .map(|value| condition(value, path))
        .collect::<Result<_>>()?;
    if conditions.is_empty() {
        return Err(wrong(path, "an empty array matches nothing"));
    }
    Ok(conditions)
}

fn condition(value: &str, path: &str) -> Result<Condition> {
    match value.as_bytes().first() {
        Some(b'{') => {
            let (operator, operand) = single_member(value)
                .ok_or_else(|| wrong(path, r#"a comparison has one operator, such as {"prefix":"us-"}"#))?;
            comparison(&operator, operand, path)
        }
        Some(b'[') => Err(wrong(path, "the values to match are not arrays")),
        _ => Ok(literal(value)),
    }
}

fn single_member(object: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut members = members(object);
    let (name, value) = members.next()?;
    members.next().is_none().then_some((text(name)?, value))
}

fn literal(value: &str) -> Condition {
    match text(value) {
        Some(text) => Condition::Equals(text.into_owned()),
        None => Condition::Literal(value.into()),
    }
}

fn comparison(operator: &str, operand: &str, path: &str) -> Result<Condition> {
    match operator {
        "numeric" => numeric(operand, path),
        "cidr" => cidr(operand, path),
        "exists" => match operand {
            "true" => Ok(Condition::Exists(true)),
            "false" => Ok(Condition::Exists(false)),
            _ => Err(wrong(path, "exists takes true or false")),
        },
        "anything-but" => anything_but(operand, path).map(Condition::AnythingBut),
        _ => text_condition(operator, operand, path).map(Condition::Text),
    }
}

fn text_condition(operator: &str, operand: &str, path: &str) -> Result<TextCondition> {
    let string = |json: &str| {
        let string = text(json).map(Cow::into_owned);
        string.ok_or_else(|| wrong(path, format!("{operator} takes a string")))
    };
    let ignoring_case = || match single_member(operand) {
        Some((name, value)) if name == "equals-ignore-case" => string(value).map(|text| lowercase(&text)),
        _ => Err(wrong(
            path,
            format!(r#"{operator} takes a string or {{"equals-ignore-case":"…"}}"#),
        )),
    };
    let is_object = operand.starts_with('{');
    Ok(match operator {
        "prefix" if is_object => TextCondition::PrefixIgnoreCase(ignoring_case()?),
        "suffix" if is_object => TextCondition::SuffixIgnoreCase(ignoring_case()?),
        "prefix" => TextCondition::Prefix(string(operand)?),
        "suffix" => TextCondition::Suffix(string(operand)?),
        "equals-ignore-case" => TextCondition::EqualsIgnoreCase(lowercase(&string(operand)?)),
        "wildcard" => TextCondition::Wildcard(wildcard(&string(operand)?, path)?),
        _ => {
            let allowed = "anything-but, cidr, equals-ignore-case, exists, numeric, prefix, suffix, wildcard";
            return Err(wrong(
                path,
                format!("{operator:?} is not a comparison; allowed: {allowed}"),
            ));
        }
    })
}

/// Reads the operand of `anything-but`: one or several strings or numbers, or a comparison with one or several strings.
fn anything_but(operand: &str, path: &str) -> Result<Vec<Condition>> {
    let conditions: Result<Vec<_>> = match single_member(operand) {
        Some((operator, operand)) => one_or_more(operand)
            .map(|operand| text_condition(&operator, operand, path).map(Condition::Text))
            .collect(),
        None if one_or_more(operand).all(is_text_or_number) => Ok(one_or_more(operand).map(literal).collect()),
        None => Ok(Vec::new()),
    };
    let allowed = "anything-but takes strings, numbers, or one comparison of strings";
    conditions.and_then(|conditions| {
        (!conditions.is_empty())
            .then_some(conditions)
            .ok_or_else(|| wrong(path, allowed))
    })
}

/// Returns the elements of an array, or the value itself.
fn one_or_more(json: &str) -> impl Iterator<Item = &str> {
    elements(json).chain((!json.starts_with('[')).then_some(json))
}

fn is_text_or_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

fn numeric(operand: &str, path: &str) -> Result<Condition> {
    let mut parts = elements(operand);
    let bounds = iter::from_fn(|| {
        let comparison = match parts.next()? {
            r#""<""# => Comparison::Less,
            r#""<=""# => Comparison::LessOrEqual,
            r#""=""# => Comparison::Equal,
            r#"">=""# => Comparison::GreaterOrEqual,
            r#"">""# => Comparison::Greater,
            _ => return Some(None),
        };
        let bound = parts.next().and_then(|number| number.parse().ok());
        Some(bound.map(|bound| (comparison, bound)))
    });
    match bounds.collect::<Option<Vec<_>>>() {
        Some(bounds) if (1..=2).contains(&bounds.len()) => Ok(Condition::Numeric(bounds)),
        _ => Err(wrong(
            path,
            r#"numeric takes one or two pairs of an operator (<, <=, =, >=, >) and a number, such as [">",0,"<=",5]"#,
        )),
    }
}

fn cidr(operand: &str, path: &str) -> Result<Condition> {
    let parse = || {
        let block = text(operand)?;
        let (address, bits) = block.split_once('/')?;
        let network: IpAddr = address.parse().ok()?;
        let prefix_bits = bits.parse().ok()?;
        let bits_max = if network.is_ipv4() { 32 } else { 128 };
        (prefix_bits <= bits_max).then_some(Condition::Cidr { network, prefix_bits })
    };
    parse().ok_or_else(|| wrong(path, r#"cidr takes a block of addresses, such as "10.0.0.0/24""#))
}

/// Returns the texts between the wildcards. A backslash escapes an asterisk or a backslash.
fn wildcard(text: &str, path: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut is_after_wildcard = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '*' if is_after_wildcard => return Err(wrong(path, "wildcard takes no two asterisks in a row")),
            '*' => None,
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => Some(escaped),
                _ => {
                    return Err(wrong(
                        path,
                        "a backslash in wildcard escapes an asterisk or a backslash only",
                    ));
                }
            },
            other => Some(other),
        };
        is_after_wildcard = literal.is_none();
        match literal {
            Some(literal) => parts.last_mut().expect("the first part is there").push(literal),
            None => parts.push(String::new()),
        }
    }
    Ok(parts)
}

fn wrong(path: &str, reason: impl Into<String>) -> PatternError {
    PatternError {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
