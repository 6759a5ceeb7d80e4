//! Event patterns and documents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use instream::format::pattern::EventPattern;
use memchr::memchr;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The comparisons that take a string and a string value. `""` is the string itself.
const TEXT_OPERATORS: [&str; 5] = ["", "prefix", "suffix", "equals-ignore-case", "wildcard"];

/// Matches a document with a pattern, and compares the result with that of a simple interpreter of patterns. Bytes 0
/// separate the pattern from the document, and the operand of a comparison from its value.
pub(crate) fn check(data: &[u8]) {
    let (mode, data) = data.split_first().unwrap_or((&0, data));
    let (pattern, document) = data.split_at(memchr(0, data).unwrap_or(data.len()));
    let [pattern, document] = [pattern, document.get(1..).unwrap_or_default()].map(String::from_utf8_lossy);
    match TEXT_OPERATORS.get(usize::from(*mode)) {
        Some(operator) => check_complement(operator, &pattern, &document),
        None => {
            matches(&pattern, &document);
        }
    }
}

/// Checks that a text matches exactly one of a comparison and its `anything-but`.
fn check_complement(operator: &str, operand: &str, text: &str) {
    let condition = match operator {
        "" => json!(operand),
        operator => json!({ operator: operand }),
    };
    let document = json!({ "a": text }).to_string();
    let matches = |condition: &Value| matches(&json!({ "a": [condition] }).to_string(), &document);
    let other = matches(&json!({ "anything-but": condition }));
    assert_eq!(matches(&condition), other.map(|is_match| !is_match));
    if matches(&json!({ "prefix": operand })).unwrap() {
        assert_eq!(
            matches(&json!({ "prefix": { "equals-ignore-case": operand } })),
            Some(true)
        );
    }
}

/// Returns whether the document matches. Returns `None` if one of the texts is not valid.
fn matches(pattern: &str, document: &str) -> Option<bool> {
    let document: &RawValue = serde_json::from_str(document).ok()?;
    let parsed: EventPattern = pattern.parse().ok()?;
    let is_match = parsed.matches(document.get());
    let trees = Tree::read(pattern.trim_ascii(), 0).zip(Tree::read(document.get(), 0));
    if let Some((pattern, document)) = trees {
        assert_eq!(is_match, is_object_match(&pattern, Some(&document)));
    }
    Some(is_match)
}

/// A JSON value. Numbers are as they were written.
#[derive(PartialEq)]
enum Tree {
    Object(BTreeMap<String, Tree>),
    Array(Vec<Tree>),
    Text(String),
    Other(String),
}

impl Tree {
    /// The depth at which patterns stop is not a property that is compared.
    const DEPTH_MAX: usize = 30;

    fn read(json: &str, depth: usize) -> Option<Self> {
        if depth == Self::DEPTH_MAX {
            return None;
        }
        let read = |value: &RawValue| Self::read(value.get(), depth + 1);
        match json.as_bytes().first()? {
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
                let members = members.into_iter().map(|(name, value)| Some((name, read(value)?)));
                members.collect::<Option<_>>().map(Self::Object)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
                elements.into_iter().map(read).collect::<Option<_>>().map(Self::Array)
            }
            b'"' => serde_json::from_str(json).ok().map(Self::Text),
            _ => Some(Self::Other(json.to_owned())),
        }
    }

    /// Returns the value, or the values of an array and of the arrays in it.
    fn values(&self) -> Vec<&Self> {
        match self {
            Self::Object(_) => Vec::new(),
            Self::Array(elements) => elements.iter().flat_map(Self::values).collect(),
            Self::Text(_) | Self::Other(_) => vec![self],
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(_) | Self::Array(_) | Self::Other(_) => None,
        }
    }

    fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            Self::Object(_) | Self::Text(_) | Self::Other(_) => std::slice::from_ref(self),
        }
    }

    /// Returns the only member of an object.
    fn comparison(&self) -> Option<(&str, &Self)> {
        let Self::Object(members) = self else { return None };
        members.iter().next().map(|(name, value)| (name.as_str(), value))
    }
}

fn is_object_match(pattern: &Tree, value: Option<&Tree>) -> bool {
    let member = |name: &str| match value {
        Some(Tree::Object(members)) => members.get(name),
        _ => None,
    };
    match (pattern, value) {
        (_, Some(Tree::Array(elements))) if !elements.is_empty() => {
            elements.iter().any(|element| is_object_match(pattern, Some(element)))
        }
        (Tree::Object(fields), _) => fields.iter().all(|(name, field)| match field {
            Tree::Array(patterns) if name == "$or" => patterns.iter().any(|pattern| is_object_match(pattern, value)),
            Tree::Array(conditions) => {
                let values = member(name).map(Tree::values).unwrap_or_default();
                let is_absent = |it: &Tree| {
                    it.comparison()
                        .is_some_and(|it| it == ("exists", &Tree::Other("false".into())))
                };
                values.is_empty() && conditions.iter().any(is_absent)
                    || values.iter().any(|value| conditions.iter().any(|it| is_met(it, value)))
            }
            Tree::Object(_) | Tree::Text(_) | Tree::Other(_) => is_object_match(field, member(name)),
        }),
        _ => panic!("a pattern is an object"),
    }
}

fn is_met(condition: &Tree, value: &Tree) -> bool {
    let Some((operator, operand)) = condition.comparison() else {
        return condition == value;
    };
    match (operator, operand, value) {
        ("exists", operand, _) => *operand == Tree::Other("true".into()),
        ("anything-but", Tree::Object(comparison), _) => !comparison.iter().any(|(operator, operands)| {
            let mut operands = operands.elements().iter();
            operands.any(|operand| value.text().is_some_and(|text| is_text_met(operator, operand, text)))
        }),
        ("anything-but", operands, _) => !operands.elements().contains(value),
        ("numeric", operand, Tree::Other(number)) => {
            let number = number.parse().ok();
            number.is_some_and(|number| operand.elements().chunks(2).all(|bound| is_in_bound(number, bound)))
        }
        ("cidr", Tree::Text(block), Tree::Text(address)) => is_in_block(address, block).unwrap_or(false),
        ("numeric" | "cidr", ..) => false,
        (operator, operand, value) => value.text().is_some_and(|text| is_text_met(operator, operand, text)),
    }
}

fn is_text_met(operator: &str, operand: &Tree, text: &str) -> bool {
    let lowercase = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    let (operand, text) = match operand.comparison() {
        Some((_, operand)) => (lowercase(operand.text().unwrap()), lowercase(text)),
        None => (operand.text().unwrap().to_owned(), text.to_owned()),
    };
    match operator {
        "prefix" => text.starts_with(&operand),
        "suffix" => text.ends_with(&operand),
        "equals-ignore-case" => lowercase(&text) == lowercase(&operand),
        "wildcard" => is_wildcard_match(&operand, &text),
        other => panic!("{other} is not a comparison of texts"),
    }
}

fn is_in_bound(number: f64, bound: &[Tree]) -> bool {
    let [Tree::Text(operator), Tree::Other(bound)] = bound else {
        panic!("a bound has an operator and a number");
    };
    let order = number.partial_cmp(&bound.parse().unwrap()).unwrap();
    match operator.as_str() {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        "=" => order.is_eq(),
        ">=" => order.is_ge(),
        _ => order.is_gt(),
    }
}

fn is_in_block(address: &str, block: &str) -> Option<bool> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (network, prefix_bits) = block.split_once('/')?;
    let [(address, length), (network, network_length)] = [bits(address.parse().ok()?), bits(network.parse().ok()?)];
    let prefix = |address: u128| address.checked_shr(network_length - prefix_bits.parse::<u32>().unwrap());
    Some(length == network_length && prefix(address) == prefix(network))
}

/// Follows all ways to match the wildcard at once.
fn is_wildcard_match(wildcard: &str, text: &str) -> bool {
    let text: Vec<_> = text.chars().collect();
    let mut ends = BTreeSet::from([0]);
    let mut wildcard = wildcard.chars();
    while let Some(character) = wildcard.next() {
        ends = match character {
            '*' => ends.first().map_or(0..0, |first| *first..text.len() + 1).collect(),
            '\\' => after(&ends, &text, wildcard.next().unwrap()),
            literal => after(&ends, &text, literal),
        };
    }
    ends.contains(&text.len())
}

fn after(ends: &BTreeSet<usize>, text: &[char], character: char) -> BTreeSet<usize> {
    let before = ends.iter().filter(|end| text.get(**end) == Some(&character));
    before.map(|end| end + 1).collect()
}
