use std::fs::OpenOptions;

use super::*;

#[test]
fn the_next_run_knows_what_has_succeeded_even_if_a_line_was_truncated() {
    let path = std::env::temp_dir().join(format!("instream-journal-{}", std::process::id()));
    assert!(!Journal::open(&path, true, false).unwrap().has(1));
    assert!(!path.exists(), "a dry run creates no journal");
    let mut journal = Journal::open(&path, false, false).unwrap();
    journal.add([1, 2].into_iter()).unwrap();
    let error = Journal::open(&path, false, false).unwrap_err().to_string();
    assert!(error.contains("another run"), "{error}");
    drop(journal);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\n00000000").unwrap();
    Journal::open(&path, false, false)
        .unwrap()
        .add([3].into_iter())
        .unwrap();
    let journal = Journal::open(&path, true, false).unwrap();
    assert_eq!([1, 2, 3, 4].map(|key| journal.has(key)), [true, true, true, false]);
    // A journal that cannot be read does not count as empty.
    assert!(Journal::open(&path.join("a-file-is-no-folder"), true, false).is_err());
    fs::remove_file(&path).unwrap();
}
