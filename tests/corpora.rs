//! What the fuzzers have found worth keeping, on every toolchain. How to look for more: `cargo fuzz run -s none NAME`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
mod targets;

/// The fuzzers whose inputs are kept: all of them.
type Target = fn(&[u8]);
const TARGETS: [(&str, Target); 4] = [
    ("event", targets::event),
    ("kpl", targets::kpl),
    ("compression", targets::compression),
    ("answer", targets::answer),
];

fn files(folder: &str, name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(folder)
        .join(name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn whatever_was_found_is_still_handled() {
    for (name, target) in TARGETS {
        let corpus = files("corpus", name);
        assert!(!corpus.is_empty(), "there is nothing for {name}");
        for file in corpus.iter().chain(&files("regressions", name)) {
            let data = fs::read(file).unwrap();
            catch_unwind(|| target(&data)).unwrap_or_else(|_| panic!("{} fails", file.display()));
        }
    }
}

#[test]
fn no_fuzzer_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut there: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    let mut run: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    there.sort_unstable();
    run.sort_unstable();
    assert!(there.iter().map(|it| it.file_stem().unwrap().to_str().unwrap()).eq(run));
}
