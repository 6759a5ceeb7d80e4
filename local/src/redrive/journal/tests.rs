use super::super::letter::{Origin, Record};
use super::*;

fn letter(event_id: &str, version: Option<(&str, u64)>) -> Letter {
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
    Letter::with_data(record, 0, "Refused".to_owned(), origin)
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("instream-journal-{name}-{}", std::process::id()))
}

#[test]
fn what_went_through_is_known_by_the_next_run_and_what_was_cut_off_is_in_doubt() {
    let path = path("next");
    let letters = ["a:1", "a:2", "a:3"].map(|id| letter(id, None));
    let mut journal = Journal::open(&path, false).unwrap();
    assert!(
        Journal::open(&path, false)
            .unwrap_err()
            .to_string()
            .contains("another run")
    );
    journal.intend(&letters[..2]).unwrap();
    journal.ended(&[&letters[0]], &[&letters[1]]).unwrap();
    journal.intend(&letters[2..]).unwrap();
    drop(journal);
    // As a kill in the middle of a line leaves it.
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"{\"atMs\":17,\"do")
        .unwrap();
    for is_dry in [true, false, false] {
        let journal = Journal::open(&path, is_dry).unwrap();
        let known: Vec<_> = letters.iter().map(|letter| journal.knows(letter)).collect();
        assert_eq!(known, [Known::Done, Known::Open, Known::InDoubt]);
        assert_eq!(journal.in_doubt().len(), 1);
    }
    let mut journal = Journal::open(&path, false).unwrap();
    journal.ended(&[&letters[2]], &[]).unwrap();
    journal.reopen(vec![letters[0].id()]).unwrap();
    drop(journal);
    let journal = Journal::open(&path, true).unwrap();
    assert_eq!(
        [&letters[0], &letters[2]].map(|letter| journal.knows(letter)),
        [Known::Open, Known::Done]
    );
    fs::remove_file(path).unwrap();
}

#[test]
fn a_letter_that_was_written_after_its_record_was_put_is_a_new_one() {
    let path = path("new");
    let now = now_ms();
    let first = letter("a:1", Some(("first", now)));
    let mut journal = Journal::open(&path, false).unwrap();
    journal.intend(std::slice::from_ref(&first)).unwrap();
    journal.ended(&[&first], &[]).unwrap();
    for (version, expected) in [
        (Some(("first", now)), Known::Done),
        (Some(("first", now + 1000)), Known::Done),
        (Some(("another", now + 1000)), Known::Open),
        (Some(("a twin", now - 2 * CLOCKS_DIFFER_MS)), Known::Done),
        (None, Known::Done),
    ] {
        assert_eq!(journal.knows(&letter("a:1", version)), expected, "{version:?}");
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_dry_run_makes_no_journal() {
    let path = path("dry");
    drop(Journal::open(&path, true).unwrap());
    assert!(!path.exists());
    // One that cannot be read is no empty one.
    fs::write(&path, "").unwrap();
    assert!(Journal::open(&path.join("a-file-is-no-folder"), true).is_err());
    fs::remove_file(&path).unwrap();
}

#[test]
fn another_record_of_the_same_identifier_has_not_gone_through() {
    let path = path("bytes");
    let mut another = letter("a:1", None);
    another.content_hash += 1;
    let first = letter("a:1", None);
    let mut journal = Journal::open(&path, false).unwrap();
    journal.intend(std::slice::from_ref(&first)).unwrap();
    assert_eq!(
        [&first, &another].map(|it| journal.knows(it)),
        [Known::InDoubt, Known::Open]
    );
    journal.ended(&[&first], &[]).unwrap();
    assert_eq!(
        [&first, &another].map(|it| journal.knows(it)),
        [Known::Done, Known::Open]
    );
    fs::remove_file(path).unwrap();
}
