//! A record's data in, its parts out: the user records that the producer wrote into it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::UserRecord;
use crate::format::json_path::JsonPath;
use crate::format::json_record::read_record;
use crate::format::lazy_json::elements;
use crate::format::pattern::EventPattern;
use crate::outcome::{Outcome, Rejection, RejectionKind};

/// The bytes at the start of a text that mark it as UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The way in which a record holds several user records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// `SPLIT_TYPE=Line`: each line is a user record. Blank lines are not.
    Lines,
    /// `SPLIT_PATH`: each element of the array at this path is one.
    Elements(JsonPath),
}

/// The rules by which a record's data becomes user records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SplitRules {
    /// `None` if each record is one user record.
    split: Option<Split>,
    /// `RECORD_PATTERN`: what does not match is skipped.
    pattern: Option<EventPattern>,
    /// The part of the pattern that each element must match.
    element_pattern: Option<EventPattern>,
}

/// The text of a record before and after the elements of an array.
#[derive(Debug, PartialEq, Eq)]
pub struct Around {
    before: Bytes,
    after: Bytes,
}

impl Around {
    pub(super) fn bytes(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Returns the record with this element alone in its array.
    pub(super) fn with_element(&self, element: &[u8]) -> Bytes {
        [&self.before, element, &self.after].concat().into()
    }
}

impl SplitRules {
    /// Creates the rules of `SPLIT_TYPE` or `SPLIT_PATH`, and of `RECORD_PATTERN`.
    pub fn new(split: Option<Split>, pattern: Option<EventPattern>) -> Self {
        let names = match &split {
            Some(Split::Elements(path)) => path.names(),
            Some(Split::Lines) | None => None,
        };
        let element_pattern = names.and_then(|names| pattern.as_ref()?.part(names));
        Self {
            split,
            pattern,
            element_pattern,
        }
    }

    /// Calls `push` with each user record in the data of a record, in order. There is at least one. A part that is
    /// empty or does not match the pattern is skipped, and a record without the shape that the rules require is
    /// rejected.
    ///
    /// # Errors
    ///
    /// Returns the error of `push`.
    pub(super) fn split<E>(
        &self,
        mut record: UserRecord,
        push: &mut impl FnMut(UserRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let Ok(mut data) = record.data else {
            return push(record);
        };
        record.data = Err(Outcome::Skipped);
        if data.starts_with(BYTE_ORDER_MARK) {
            data.advance(BYTE_ORDER_MARK.len());
        }
        match &self.split {
            None => record.data = self.check(data),
            Some(_) if data.trim_ascii().is_empty() => {}
            Some(Split::Lines) => {
                let lines = data
                    .split(|byte| *byte == b'\n')
                    .filter(|line| !line.trim_ascii().is_empty());
                return lines
                    .map(|line| data.slice_ref(line.strip_suffix(b"\r").unwrap_or(line)))
                    .try_for_each(|line| push(part(&record, line.clone(), self.check(line), None)));
            }
            Some(Split::Elements(path)) => {
                let data = self.check(data);
                let array = data.and_then(|data| Ok((find_array(&data, path)?, data)));
                match array {
                    Ok((array, data)) => return self.split_array(record, &data, &array, push),
                    Err(outcome) => record.data = Err(outcome),
                }
            }
        }
        push(record)
    }

    /// Returns the data, or the outcome of data that is empty or does not match the pattern.
    fn check(&self, data: Bytes) -> Result<Bytes, Outcome> {
        let is_skipped = data.is_empty()
            || match &self.pattern {
                Some(pattern) => !pattern.matches(read_record(&data).map_err(wrong_shape)?.get()),
                None => false,
            };
        if is_skipped { Err(Outcome::Skipped) } else { Ok(data) }
    }

    fn split_array<E>(
        &self,
        record: UserRecord,
        data: &Bytes,
        array: &Bytes,
        push: &mut impl FnMut(UserRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = array.as_ptr().addr() - data.as_ptr().addr();
        let around = Arc::new(Around {
            before: data.slice(..=start),
            after: data.slice(start + array.len() - 1..),
        });
        let mut elements = elements(std::str::from_utf8(array).unwrap_or_default()).peekable();
        if elements.peek().is_none() {
            return push(record);
        }
        let is_match = |element: &str| (self.element_pattern.as_ref()).is_none_or(|pattern| pattern.matches(element));
        elements.try_for_each(|text| {
            let element = array.slice_ref(text.as_bytes());
            let data = if is_match(text) {
                Ok(element.clone())
            } else {
                Err(Outcome::Skipped)
            };
            push(part(&record, element, data, Some(Arc::clone(&around))))
        })
    }
}

/// Returns the text of the array at a path in a record.
fn find_array(record: &Bytes, path: &JsonPath) -> Result<Bytes, Rejection> {
    match path.select(read_record(record).map_err(wrong_shape)?) {
        Some(Cow::Borrowed(array)) if array.starts_with('[') => Ok(record.slice_ref(array.as_bytes())),
        Some(_) => Err(wrong_shape(format!("SPLIT_PATH {path} finds no array in the record"))),
        None => Err(wrong_shape(format!("SPLIT_PATH {path} finds nothing in the record"))),
    }
}

/// Returns a part of a record as a user record.
fn part(record: &UserRecord, original: Bytes, data: Result<Bytes, Outcome>, around: Option<Arc<Around>>) -> UserRecord {
    UserRecord {
        partition_key: record.partition_key.clone(),
        explicit_hash_key: record.explicit_hash_key.clone(),
        original: Some(original),
        around,
        data,
        ..*record
    }
}

fn wrong_shape(message: String) -> Rejection {
    Rejection {
        kind: RejectionKind::WrongShape,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the data or the outcome of each part, with the payload that holds it alone if it is an element.
    fn parts(rules: &SplitRules, record: &str) -> Vec<String> {
        let mut shown = Vec::new();
        let push = &mut |part: UserRecord| {
            let data = match part.data {
                Ok(data) => String::from_utf8(data.to_vec()).unwrap(),
                Err(Outcome::Skipped) => "skipped".to_owned(),
                Err(Outcome::Rejected(rejection)) => rejection.message,
                Err(other) => panic!("{other:?}"),
            };
            let payload = part.around.map(|around| around.with_element(&part.original.unwrap()));
            let payload = payload.map(|payload| format!(" in {}", str::from_utf8(&payload).unwrap()));
            shown.push(data + &payload.unwrap_or_default());
            Ok::<_, ()>(())
        };
        let record = UserRecord {
            record_index: 0,
            sub_sequence_number: 0,
            partition_key: None,
            explicit_hash_key: None,
            original: None,
            around: None,
            data: Ok(Bytes::copy_from_slice(record.as_bytes())),
        };
        rules.split(record, push).unwrap();
        shown
    }

    fn rules(split: Option<Split>, pattern: Option<&str>) -> SplitRules {
        SplitRules::new(split, pattern.map(|pattern| pattern.parse().unwrap()))
    }

    fn elements_at(path: &str) -> Split {
        Split::Elements(JsonPath::parse(path).unwrap())
    }

    #[test]
    fn a_record_is_one_user_record_without_its_byte_order_mark() {
        let rules = rules(None, None);
        assert_eq!(parts(&rules, "a\nb\n"), ["a\nb\n"]);
        assert_eq!(parts(&rules, "\u{FEFF}{}"), ["{}"]);
        assert_eq!(parts(&rules, ""), ["skipped"]);
        assert_eq!(parts(&rules, "\u{FEFF}"), ["skipped"]);
        assert_eq!(parts(&rules, " "), [" "], "a space may be binary data");
    }

    #[test]
    fn each_line_that_is_not_blank_is_a_user_record() {
        let rules = rules(Some(Split::Lines), None);
        assert_eq!(parts(&rules, "\u{FEFF}a\r\n\n b \n \r\nc"), ["a", " b ", "c"]);
        assert_eq!(parts(&rules, "a"), ["a"]);
        for blank in ["", "\n", " \r\n\t\n"] {
            assert_eq!(parts(&rules, blank), ["skipped"], "{blank:?}");
        }
    }

    #[test]
    fn each_element_at_the_path_is_a_user_record() {
        let rules = rules(Some(elements_at("$.a.events")), None);
        assert_eq!(
            parts(&rules, r#" {"n":1,"a":{"events":[ {"x":1} , 2 ],"m":[]},"events":3} "#),
            [
                r#"{"x":1} in  {"n":1,"a":{"events":[{"x":1}],"m":[]},"events":3} "#,
                r#"2 in  {"n":1,"a":{"events":[2],"m":[]},"events":3} "#,
            ]
        );
        assert_eq!(parts(&rules, r#"{"a":{"events":[]}}"#), ["skipped"]);
        assert_eq!(
            parts(&rules, r#"{"a":{}}"#),
            ["SPLIT_PATH $.a.events finds nothing in the record"]
        );
        assert_eq!(
            parts(&rules, r#"{"a":{"events":{}}}"#),
            ["SPLIT_PATH $.a.events finds no array in the record"]
        );
        let message = &parts(&rules, "{")[0];
        assert!(message.starts_with("the record is not JSON: EOF"), "{message}");
        assert_eq!(
            parts(&self::rules(Some(elements_at("$")), None), "[1,2]"),
            ["1 in [1]", "2 in [2]"]
        );
    }

    #[test]
    fn what_does_not_match_the_pattern_is_skipped() {
        let pattern = Some(r#"{"kind":["card"]}"#);
        let (card, cash) = (r#"{"kind":"card"}"#, r#"{"kind":"cash"}"#);
        assert_eq!(parts(&rules(None, pattern), card), [card]);
        assert_eq!(parts(&rules(None, pattern), cash), ["skipped"]);
        let lines = parts(&rules(Some(Split::Lines), pattern), &format!("{cash}\n{card}\n7\nx"));
        assert_eq!(lines[..3], ["skipped", card, "skipped"]);
        assert!(lines[3].starts_with("the record is not JSON"), "{}", lines[3]);
    }

    #[test]
    fn the_pattern_holds_for_the_record_and_for_each_element() {
        let pattern = r#"{"type":["DATA"],"events":{"level":["error"]}}"#;
        let rules = rules(Some(elements_at("$.events")), Some(pattern));
        assert_eq!(
            parts(
                &rules,
                r#"{"type":"DATA","events":[{"level":"info"},{"level":"error"}]}"#
            ),
            [
                r#"skipped in {"type":"DATA","events":[{"level":"info"}]}"#,
                r#"{"level":"error"} in {"type":"DATA","events":[{"level":"error"}]}"#,
            ]
        );
        assert_eq!(
            parts(&rules, r#"{"type":"CONTROL","events":[{"level":"error"}]}"#),
            ["skipped"]
        );
    }

    #[test]
    fn the_payload_of_an_element_is_split_to_this_element() {
        let rules = rules(Some(elements_at("$.events")), None);
        let record = r#"{"id":7,"events":[1,{"b":[2]},"]"]}"#;
        for part in parts(&rules, record) {
            let (_, payload) = part.split_once(" in ").unwrap();
            assert_eq!(parts(&rules, payload), [part.as_str()]);
        }
    }
}
