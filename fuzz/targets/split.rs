//! Records that hold several user records.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use instream::event::{
    DecodeRules, DecompressOptions, KinesisRecord, Pace, Split, SplitRules, UserRecord, decode, kpl,
};
use instream::format::json_path::JsonPath;
use instream::format::pattern::EventPattern;
use instream::outcome::{Outcome, RejectionKind};
use memchr::memmem::find;
use serde_json::value::RawValue;

use super::block_on;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const PATHS: [&[&str]; 3] = [&[], &["a"], &["a", "b"]];
const PATTERNS: [&str; 4] = [
    "",
    r#"{"a":[1]}"#,
    r#"{"k":[1]}"#,
    r#"{"t":[{"exists":false}],"a":{"k":[1]}}"#,
];

/// Splits any bytes into lines, or into the elements of an array. Each part must be a user record, in order, and only
/// blank lines are lost. A user record that is alone in its record must be decoded as before.
pub(crate) fn check(data: &[u8]) {
    let (mode, data) = data.split_first().unwrap_or((&0, data));
    let (split, pattern) = (usize::from(mode % 5), PATTERNS[usize::from(mode / 5 % 4)]);
    let rules = rules(split, pattern);
    let data = Bytes::copy_from_slice(data);
    if kpl::deaggregate(&data) != Ok(None) {
        return;
    }
    let user_records = decode_one(&data, &rules);
    for (number, it) in (0..).zip(&user_records) {
        assert_eq!((it.record_index, it.sub_sequence_number), (0, number));
        let original = it.original.as_ref().unwrap();
        assert!(original.is_empty() || data.as_ptr_range().contains(&original.as_ptr()));
        assert_eq!(it.payload_bytes(), it.payload().unwrap().len());
        // Of two byte order marks or carriage returns at the ends of a line, splitting drops one each time.
        if it.data.is_ok() && !original.starts_with(BYTE_ORDER_MARK) && !original.ends_with(b"\r") {
            let alone = decode_one(&it.payload().unwrap(), &rules);
            assert!(
                alone.len() == 1 && alone[0].data.as_ref().ok() == it.data.as_ref().ok(),
                "{it:?}"
            );
        }
    }
    let text = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&data);
    match split {
        _ if text.is_empty() || split > 0 && text.trim_ascii().is_empty() => check_one(&user_records, Kind::Skipped),
        0 => check_one(&user_records, kind(text, pattern)),
        1 => check_lines(text, &user_records, pattern),
        split => check_elements(text, &user_records, PATHS[split - 2], pattern),
    }
}

fn rules(split: usize, pattern: &str) -> DecodeRules {
    let split = match split {
        0 => None,
        1 => Some(Split::Lines),
        split => {
            let names = PATHS[split - 2].iter().map(|name| format!(".{name}"));
            JsonPath::parse(&format!("${}", names.collect::<String>())).map(Split::Elements)
        }
    };
    let pattern = (!pattern.is_empty()).then(|| pattern.parse().unwrap());
    let decompress = DecompressOptions {
        enabled: false,
        limit_bytes: 1,
    };
    DecodeRules {
        decompress,
        split: SplitRules::new(split, pattern),
    }
}

fn decode_one(data: &Bytes, rules: &DecodeRules) -> Vec<UserRecord> {
    let record = KinesisRecord {
        event_id: None,
        sequence_number: None,
        partition_key: None,
        approximate_arrival_ms: None,
        data: Ok(data.clone()),
        raw: None,
    };
    block_on(decode(&[record], rules, Pace::start(Duration::from_hours(1))))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Called,
    Skipped,
    WrongShape,
}

impl Kind {
    fn of(user_record: &UserRecord) -> Self {
        match &user_record.data {
            Ok(_) => Self::Called,
            Err(Outcome::Skipped) => Self::Skipped,
            Err(Outcome::Rejected(rejection)) if rejection.kind == RejectionKind::WrongShape => Self::WrongShape,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Returns what happens to a record, or to an element of it, with a pattern.
fn kind(data: &[u8], pattern: &str) -> Kind {
    if pattern.is_empty() {
        return Kind::Called;
    }
    let pattern: EventPattern = pattern.parse().unwrap();
    match serde_json::from_slice::<&RawValue>(data) {
        Ok(json) if pattern.matches(json.get()) => Kind::Called,
        Ok(_) => Kind::Skipped,
        Err(_) => Kind::WrongShape,
    }
}

fn check_one(user_records: &[UserRecord], kind: Kind) {
    assert!(
        user_records.len() == 1 && Kind::of(&user_records[0]) == kind,
        "{user_records:?}"
    );
}

/// Checks that only line breaks and blank lines are between the user records.
fn check_lines(text: &[u8], user_records: &[UserRecord], pattern: &str) {
    let is_line_break = |gap: &[u8]| gap.starts_with(b"\n") || gap.starts_with(b"\r");
    let mut end = 0;
    for it in user_records {
        let line = it.original.as_ref().unwrap();
        let start = line.as_ptr().addr() - text.as_ptr().addr();
        let gap = &text[end..start];
        assert!(
            gap.trim_ascii().is_empty() && (end == 0 || is_line_break(gap)) && (start == 0 || gap.ends_with(b"\n"))
        );
        assert!(!line.contains(&b'\n') && !line.trim_ascii().is_empty());
        assert_eq!(Kind::of(it), kind(line, pattern));
        assert!(it.data.is_err() || it.data.as_ref().ok() == Some(line));
        end = start + line.len();
    }
    let rest = &text[end..];
    assert!(rest.trim_ascii().is_empty() && (rest.is_empty() || is_line_break(rest)));
}

/// Checks that the user records are the elements that serde finds.
fn check_elements(text: &[u8], user_records: &[UserRecord], path: &[&str], pattern: &str) {
    // Serde cannot read the name of a member with half of a surrogate pair.
    if find(text, b"\\ud").or(find(text, b"\\uD")).is_some() {
        return;
    }
    match (kind(text, pattern), elements(text, path)) {
        (Kind::Called, None) => check_one(user_records, Kind::WrongShape),
        (Kind::Called, Some(elements)) if elements.is_empty() => check_one(user_records, Kind::Skipped),
        (Kind::Called, Some(elements)) => {
            let part =
                (!pattern.is_empty()).then(|| pattern.parse::<EventPattern>().unwrap().part(path.iter().copied()));
            assert_eq!(user_records.len(), elements.len());
            for (it, element) in user_records.iter().zip(elements) {
                assert_eq!(it.original.as_deref(), Some(element.get().as_bytes()));
                assert!(it.data.is_err() || it.data.as_ref().ok() == it.original.as_ref());
                let is_match = part.iter().flatten().all(|part| part.matches(element.get()));
                assert_eq!(Kind::of(it), if is_match { Kind::Called } else { Kind::Skipped });
            }
        }
        (other, _) => check_one(user_records, other),
    }
}

fn elements<'r>(text: &'r [u8], path: &[&str]) -> Option<Vec<&'r RawValue>> {
    let mut value: &RawValue = serde_json::from_slice(text).ok()?;
    for name in path {
        value = serde_json::from_str::<HashMap<String, &RawValue>>(value.get())
            .ok()?
            .remove(*name)?;
    }
    serde_json::from_str(value.get()).ok()
}
