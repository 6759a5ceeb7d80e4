//! Paths into a record or an answer: the part of `JSONPath` that Batch Transform's filters have:
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html>.
//!
//! | step | selects |
//! |---|---|
//! | `.name`, `['name']` | that member |
//! | `['a','b']` | an object of these members; only as the last step |
//! | `[n]` | an element, or a column of a CSV row; from the end where n is negative |
//! | `[n,m]`, `[a:b]` | an array of those elements, or a row of those columns |
//! | `.*`, `[*]` | all elements or members |
//!
//! This is no RFC 9535: there, a path finds a list of values, and here it keeps the shape of what it finds.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::inference::format::lazy_json::{Level, array, object};

mod parse;

/// A path, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Members(Vec<String>),
    Element(i64),
    Elements(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    All,
}

impl Path {
    /// Whether it is `$`, which selects everything.
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it selects one value, whatever it looks into.
    pub fn is_of_one_value(&self) -> bool {
        let one = |step: &Step| matches!(step, Step::Member(_) | Step::Element(_));
        self.steps.iter().all(one)
    }

    /// Whether it makes sense of a CSV row, whose columns have numbers and no names.
    pub fn is_by_column(&self) -> bool {
        let by_name = |step: &Step| matches!(step, Step::Member(_) | Step::Members(_));
        self.steps.len() <= 1 && !self.steps.iter().any(by_name)
    }

    /// What it selects, in the shape that it has or that the path gives it; `None` if there is nothing.
    pub fn select<'j>(&self, document: &Level<'j>) -> Option<Cow<'j, RawValue>> {
        select(&self.steps, document)
    }

    /// The columns that it selects in a row of so many; `None` if there are none, or it is not by column.
    pub fn columns(&self, count: usize) -> Option<Vec<usize>> {
        if !self.is_by_column() {
            return None;
        }
        let columns = match self.steps.first() {
            None | Some(Step::All) => (0..count).collect(),
            Some(step) => step.places(count),
        };
        Some(columns).filter(|columns| !columns.is_empty())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn select<'j>(steps: &[Step], level: &Level<'j>) -> Option<Cow<'j, RawValue>> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(Cow::Borrowed(level.raw()));
    };
    let inside = |value: &'j RawValue| match rest {
        [] => Some(Cow::Borrowed(value)),
        _ => select(rest, &Level::of(value)),
    };
    match (step, level) {
        (Step::Member(name), _) => inside(level.member(name)?),
        (Step::Members(names), _) => {
            let found = names
                .iter()
                .filter_map(|name| Some((name.as_str(), level.member(name)?)));
            object(found).map(Cow::Owned)
        }
        (Step::Element(_), Level::Array(_, elements)) => {
            let place = step.places(elements.len()).first().copied()?;
            inside(elements.get(place)?)
        }
        (Step::Elements(_) | Step::Slice(..), Level::Array(_, elements)) => {
            let places = step.places(elements.len());
            let chosen = places.iter().filter_map(|place| elements.get(*place));
            array(chosen.filter_map(|element| inside(element))).map(Cow::Owned)
        }
        (Step::All, _) => array(level.values().filter_map(inside)).map(Cow::Owned),
        (Step::Element(_) | Step::Elements(_) | Step::Slice(..), _) => None,
    }
}

impl Step {
    /// The places in a list of so many that the step selects. Those that are not there are left out.
    fn places(&self, count: usize) -> Vec<usize> {
        let from_start = |number: i64| match number {
            0.. => usize::try_from(number).ok(),
            _ => count.checked_sub(usize::try_from(number.unsigned_abs()).ok()?),
        };
        let place = |number: &i64| from_start(*number).filter(|place| *place < count);
        match self {
            Self::Element(number) => place(number).into_iter().collect(),
            Self::Elements(numbers) => numbers.iter().filter_map(place).collect(),
            Self::Slice(start, end) => {
                let bound = |number: Option<i64>, else_| match number {
                    None => else_,
                    // One before the first element is the first.
                    Some(number) => from_start(number).unwrap_or(0).min(count),
                };
                (bound(*start, 0)..bound(*end, count)).collect()
            }
            Self::Member(_) | Self::Members(_) | Self::All => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::read(text).unwrap_or_else(|| panic!("{text} is a path"))
    }

    #[test]
    fn a_path_keeps_the_shape_of_what_it_finds() {
        const RECORD: &str = r#"{"id":"a\"b","amount":2731.360,"nested":{"x":[1,2,3],"y":null},
            "items":[{"p":1,"q":2},{"p":3}],"name.with.dots":true,"id":"last"}"#;
        let raw: &RawValue = serde_json::from_str(RECORD).unwrap();
        for (text, expected) in [
            ("$.amount", Some("2731.360")),
            ("$['amount']", Some("2731.360")),
            ("$.['amount']", Some("2731.360")),
            ("$[\"name.with.dots\"]", Some("true")),
            ("$.id", Some("\"last\"")),
            ("$.nested.y", Some("null")),
            ("$.nested['x','z']", Some(r#"{"x":[1,2,3]}"#)),
            ("$['amount','id']", Some(r#"{"amount":2731.360,"id":"last"}"#)),
            ("$.nested.x[1]", Some("2")),
            ("$.nested.x[-1]", Some("3")),
            ("$.nested.x[0,-1]", Some("[1,3]")),
            ("$.nested.x[1:]", Some("[2,3]")),
            ("$.nested.x[:-1]", Some("[1,2]")),
            ("$.nested.x[-9:9]", Some("[1,2,3]")),
            ("$.nested.x[*]", Some("[1,2,3]")),
            ("$.nested.*", Some("[[1,2,3],null]")),
            ("$.items[*].p", Some("[1,3]")),
            ("$.items[*]['p','q']", Some(r#"[{"p":1,"q":2},{"p":3}]"#)),
            ("$.items[1].q", None),
            ("$.absent", None),
            ("$['no','none']", None),
            ("$.nested.x[3]", None),
            ("$.nested.x[2:1]", None),
            ("$.amount[0]", None),
            ("$[0]", None),
            ("$.amount.x", None),
            ("$.amount.*", None),
        ] {
            let found = path(text).select(&Level::of(raw));
            assert_eq!(found.as_deref().map(RawValue::get), expected, "{text}");
        }
        assert_eq!(path("$").select(&Level::of(raw)).unwrap().get(), RECORD);
    }

    #[test]
    fn columns_go_by_number_alone() {
        for (text, expected) in [
            ("$", Some(vec![0, 1, 2, 3])),
            ("$[*]", Some(vec![0, 1, 2, 3])),
            ("$[1:]", Some(vec![1, 2, 3])),
            ("$[:-1]", Some(vec![0, 1, 2])),
            ("$[3,0]", Some(vec![3, 0])),
            ("$[-1]", Some(vec![3])),
            ("$[4]", None),
            ("$[0][0]", None),
            ("$.name", None),
        ] {
            assert_eq!(path(text).columns(4), expected, "{text}");
        }
    }
}
