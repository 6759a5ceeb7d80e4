use std::fs::OpenOptions;

use super::super::dead_letter::{Origin, Record};
use super::*;

fn letter(event_id: &str, version: Option<(&str, u64)>) -> DeadLetter {
    let record = Record {
        event_id: Some(event_id.to_owned()),
        partition_key: None,
        explicit_hash_key: None,
        arrival_s: None,
        data: "data".into(),
    };
    let version = version.map(|(id, written_ms)| Version {
        id: id.to_owned(),
        written_ms,
    });
    let origin = Origin {
        version,
        ..Origin::default()
    };
    DeadLetter::with_data(record, 0, "Refused".to_owned(), origin)
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("instream-journal-{name}-{}", std::process::id()))
}

#[test]
fn the_next_run_knows_records_that_succeeded_and_records_in_doubt() {
    let path = path("next");
    let letters = ["a:1", "a:2", "a:3"].map(|id| letter(id, None));
    let mut journal = Journal::open(&path, false).unwrap();
    assert!(
        Journal::open(&path, false)
            .unwrap_err()
            .to_string()
            .contains("another run")
    );
    journal.record_intent(&letters[..2]).unwrap();
    journal.record_outcome(&[&letters[0]], &[&letters[1]]).unwrap();
    journal.record_intent(&letters[2..]).unwrap();
    drop(journal);
    // A line that was truncated by a kill.
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"atMs\":17,\"do")
        .unwrap();
    for is_dry in [true, false, false] {
        let journal = Journal::open(&path, is_dry).unwrap();
        let known: Vec<_> = letters.iter().map(|letter| journal.status(letter)).collect();
        assert_eq!(
            known,
            [JournalStatus::Done, JournalStatus::Pending, JournalStatus::InDoubt]
        );
        assert_eq!(journal.in_doubt().len(), 1);
    }
    let mut journal = Journal::open(&path, false).unwrap();
    journal.record_outcome(&[&letters[2]], &[]).unwrap();
    journal.reopen(vec![letters[0].id()]).unwrap();
    drop(journal);
    let journal = Journal::open(&path, true).unwrap();
    assert_eq!(
        [&letters[0], &letters[2]].map(|letter| journal.status(letter)),
        [JournalStatus::Pending, JournalStatus::Done]
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn a_dead_letter_that_was_written_after_its_record_was_sent_is_pending() {
    let path = path("new");
    let now = now_ms();
    let first = letter("a:1", Some(("first", now)));
    let mut journal = Journal::open(&path, false).unwrap();
    journal.record_intent(std::slice::from_ref(&first)).unwrap();
    journal.record_outcome(&[&first], &[]).unwrap();
    for (version, expected) in [
        (Some(("first", now)), JournalStatus::Done),
        (Some(("first", now + 1000)), JournalStatus::Done),
        (Some(("another", now + 1000)), JournalStatus::Pending),
        (Some(("a twin", now - 2 * CLOCK_SKEW_MAX_MS)), JournalStatus::Done),
        (None, JournalStatus::Done),
    ] {
        assert_eq!(journal.status(&letter("a:1", version)), expected, "{version:?}");
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_dry_run_creates_no_journal() {
    let path = path("dry");
    drop(Journal::open(&path, true).unwrap());
    assert!(!path.exists());
    // A journal that cannot be read does not count as empty.
    fs::write(&path, "").unwrap();
    assert!(Journal::open(&path.join("a-file-is-no-folder"), true).is_err());
    fs::remove_file(&path).unwrap();
}

#[test]
fn another_record_with_the_same_event_identifier_is_pending() {
    let path = path("bytes");
    let mut another = letter("a:1", None);
    another.content_hash += 1;
    let first = letter("a:1", None);
    let mut journal = Journal::open(&path, false).unwrap();
    journal.record_intent(std::slice::from_ref(&first)).unwrap();
    assert_eq!(
        [&first, &another].map(|it| journal.status(it)),
        [JournalStatus::InDoubt, JournalStatus::Pending]
    );
    journal.record_outcome(&[&first], &[]).unwrap();
    assert_eq!(
        [&first, &another].map(|it| journal.status(it)),
        [JournalStatus::Done, JournalStatus::Pending]
    );
    fs::remove_file(path).unwrap();
}
