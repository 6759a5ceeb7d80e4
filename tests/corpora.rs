//! Runs the fuzzers' saved inputs with every toolchain. To search for more inputs, use `cargo fuzz run -s none NAME`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

type Target = fn(&[u8]);
/// All fuzzers.
const TARGETS: [(&str, Target); 6] = [
    ("event", targets::event::check),
    ("kpl", targets::kpl::check),
    ("compression", targets::compression::check),
    ("answer", targets::answer::check),
    ("pattern", targets::pattern::check),
    ("split", targets::split::check),
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
fn every_saved_input_passes() {
    for (name, target) in TARGETS {
        let corpus = files("corpus", name);
        assert!(!corpus.is_empty(), "there is no corpus for {name}");
        for file in corpus.iter().chain(&files("regressions", name)) {
            let data = fs::read(file).unwrap();
            catch_unwind(|| target(&data)).unwrap_or_else(|_| panic!("{} fails", file.display()));
        }
    }
}

#[test]
fn every_fuzzer_is_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    let mut listed: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    files.sort_unstable();
    listed.sort_unstable();
    assert!(
        files
            .iter()
            .map(|it| it.file_stem().unwrap().to_str().unwrap())
            .eq(listed)
    );
}
