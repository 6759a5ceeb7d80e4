//! Selects parts of a record or a prediction. The syntax is the subset of `JSONPath` that the filters of Batch
//! Transform have: <https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html>.
//!
//! | step | selects |
//! |---|---|
//! | `.name`, `['name']` | this member |
//! | `['a','b']` | an object of these members; only allowed as the last step |
//! | `[n]` | an element, or a column of a CSV row; counted from the end if n is negative |
//! | `[n,m]`, `[a:b]` | an array of these elements, or a row of these columns |
//! | `.*`, `[*]` | all elements or members |
//!
//! This is not RFC 9535. There, a `JSONPath` returns a list of values. Here, the result keeps the shape of the selected
//! value.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::csv;
use super::lazy_json::{array, elements, member, members, object, text, values};

mod parse;
mod tree;

pub use tree::PathTree;

/// A parsed `JSONPath`, with its original text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
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

impl JsonPath {
    /// Returns true if the path is `$`, which selects the whole document.
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns true if the path selects at most one value in any document.
    pub fn is_singular(&self) -> bool {
        let one = |step: &Step| matches!(step, Step::Member(_) | Step::Element(_));
        self.steps.iter().all(one)
    }

    /// Returns true if the path selects all elements of at most one array or object in any document.
    pub fn is_spread(&self) -> bool {
        let is_one = |step: &Step| matches!(step, Step::Member(_) | Step::Element(_));
        matches!(self.steps.split_last(), Some((Step::All, parent)) if parent.iter().all(is_one))
    }

    /// Returns the names of a path that consists of names.
    pub fn names(&self) -> Option<Vec<&str>> {
        let names = self.steps.iter().map(|step| match step {
            Step::Member(name) => Some(name.as_str()),
            Step::Members(_) | Step::Element(_) | Step::Elements(_) | Step::Slice(..) | Step::All => None,
        });
        names.collect()
    }

    /// Returns true if the path can select columns of a CSV row. Columns have numbers, but no names.
    pub fn is_column_path(&self) -> bool {
        let by_name = |step: &Step| matches!(step, Step::Member(_) | Step::Members(_));
        self.steps.len() <= 1 && !self.steps.iter().any(by_name)
    }

    /// Returns the selected part of the document, in its own shape or in the shape that the path gives it. Returns
    /// `None` if the path finds nothing.
    pub fn select<'j>(&self, document: &'j RawValue) -> Option<Cow<'j, str>> {
        select(&self.steps, document.get())
    }

    /// Returns the selected columns of a CSV row, without their quotes. Returns `None` if the path selects none, or if
    /// `row` is not a single CSV row. Only columns that are selected by their own number take memory.
    pub fn columns<'r>(&self, row: &'r str) -> Option<impl Iterator<Item = csv::Column<'r>> + use<'r>> {
        let row = csv::trim_line_break(row.as_bytes());
        csv::count_columns(row)?;
        let step = self.steps.first().unwrap_or(&Step::All);
        let mut selected = step.items(move || csv::columns(row).flatten()).peekable();
        selected.peek()?;
        self.is_column_path().then_some(selected)
    }

    /// Returns a CSV row of the selected [`columns`](Self::columns).
    pub fn select_columns(&self, row: &str) -> Option<String> {
        Some(csv::write(self.columns(row)?))
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn select<'j>(steps: &[Step], json: &'j str) -> Option<Cow<'j, str>> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(Cow::Borrowed(json));
    };
    let select_rest = |value| select(rest, value);
    match step {
        Step::Member(name) => select_rest(member(json, name)?),
        Step::Members(names) => {
            let mut found = vec![None; names.len()];
            for (own, value) in members(json) {
                let name = text(own);
                for (wanted, found) in names.iter().zip(&mut found) {
                    if name.as_deref() == Some(wanted.as_str()) {
                        *found = Some((own, value));
                    }
                }
            }
            object(found.into_iter().flatten()).map(Cow::Owned)
        }
        Step::Element(_) => select_rest(step.items(|| elements(json)).next()?),
        Step::Elements(_) | Step::Slice(..) => {
            let selected = step.items(|| elements(json));
            array(selected.filter_map(select_rest)).map(Cow::Owned)
        }
        Step::All => array(values(json).filter_map(select_rest)).map(Cow::Owned),
    }
}

impl Step {
    /// Returns the items of a list that the step selects. Only items that are selected by their own number take memory.
    fn items<T: Clone, I: Iterator<Item = T>, F: Fn() -> I>(&self, items: F) -> impl Iterator<Item = T> + use<T, I, F> {
        let (range, numbers) = match self {
            Self::Element(number) => (0..0, std::slice::from_ref(number)),
            Self::Elements(numbers) => (0..0, numbers.as_slice()),
            Self::Slice(start, end) => {
                let count = count(&items, [start, end].into_iter().flatten());
                // A bound before the first element is moved to the first element.
                let bound = |number: &i64| from_start(*number, count).unwrap_or(0);
                let start = start.as_ref().map_or(0, bound);
                (start..end.as_ref().map_or(count, bound), [].as_slice())
            }
            Self::All => (0..usize::MAX, [].as_slice()),
            Self::Member(_) | Self::Members(_) => (0..0, [].as_slice()),
        };
        let numbered = pick(&items, numbers.iter());
        let in_range = items().skip(range.start).take(range.len());
        in_range.chain(numbered.into_iter().flatten())
    }
}

/// Returns the item with each of these numbers, in the order of the numbers.
fn pick<'n, T: Clone, I: Iterator<Item = T>>(
    items: impl Fn() -> I,
    numbers: impl Iterator<Item = &'n i64> + Clone,
) -> Vec<Option<T>> {
    let count = count(&items, numbers.clone());
    let mut indexes: Vec<_> = numbers.map(|number| index(*number, count)).zip(0..).collect();
    let mut picked = vec![None; indexes.len()];
    indexes.sort_unstable();
    let mut rest = items().enumerate();
    let mut current = None;
    for (index, place) in indexes.into_iter().filter_map(|(index, place)| Some((index?, place))) {
        if current.as_ref().is_none_or(|(at, _)| *at < index) {
            current = rest.find(|(at, _)| *at == index);
        }
        if let Some(picked) = picked.get_mut(place) {
            *picked = current.as_ref().map(|(_, item)| T::clone(item));
        }
    }
    picked
}

/// Returns the number of items, or a number that is larger if no number is counted from the end.
fn count<'n, I: Iterator>(items: impl Fn() -> I, mut numbers: impl Iterator<Item = &'n i64>) -> usize {
    if numbers.any(|number| *number < 0) {
        items().count()
    } else {
        usize::MAX
    }
}

/// Returns the index of the element with this number in a list of `count` elements. Returns `None` if there is none.
fn index(number: i64, count: usize) -> Option<usize> {
    from_start(number, count).filter(|index| *index < count)
}

/// Returns the number counted from the start. A negative number counts from the end. Returns `None` if it is before the
/// start.
fn from_start(number: i64, count: usize) -> Option<usize> {
    let distance = usize::try_from(number.unsigned_abs()).ok()?;
    if number < 0 {
        count.checked_sub(distance)
    } else {
        Some(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> JsonPath {
        JsonPath::parse(text).unwrap_or_else(|| panic!("{text} is not a JSONPath"))
    }

    #[test]
    fn a_json_path_keeps_the_shape_of_the_selected_value() {
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
            let found = path(text).select(raw);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(path("$").select(raw).unwrap(), RECORD);
    }

    #[test]
    fn columns_are_selected_only_by_number() {
        for (text, expected) in [
            ("$", Some("a,\"b,\",c,d")),
            ("$[*]", Some("a,\"b,\",c,d")),
            ("$[1:]", Some("\"b,\",c,d")),
            ("$[:-1]", Some("a,\"b,\",c")),
            ("$[-9:1]", Some("a")),
            ("$[2:1]", None),
            ("$[3,0,-1,9,1]", Some("d,a,d,\"b,\"")),
            ("$[-1]", Some("d")),
            ("$[4]", None),
            ("$[-5]", None),
            ("$[0][0]", None),
            ("$.name", None),
        ] {
            assert_eq!(
                path(text).select_columns("a,\"b,\",c,d\r\n").as_deref(),
                expected,
                "{text}"
            );
        }
        assert_eq!(path("$[0]").select_columns("1\n2"), None);
        assert_eq!(path("$").select_columns(""), None);
    }
}
