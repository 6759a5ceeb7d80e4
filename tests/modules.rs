//! The modules of `src/` and the imports between them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

const LIB: &str = include_str!("../src/lib.rs");

/// The modules that the documentation of the crate lists, in its order.
fn documented_modules() -> Vec<&'static str> {
    let modules = LIB.lines().filter_map(|line| line.strip_prefix("//! - [`"));
    modules.filter_map(|line| Some(line.split_once("`]: ")?.0)).collect()
}

/// The source files below `folder`.
fn source_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { source_files(&path) } else { vec![path] });
    files
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect()
}

/// The names that follow `crate::` in a line. A group, `crate::{…}`, is its own name, which no module has.
fn names_in_crate(line: &str) -> impl Iterator<Item = &str> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_' && c != '{';
    let paths = line.split("crate::").skip(1);
    paths.map(move |path| path.split(is_end).next().unwrap_or_default())
}

/// Whether a line names something outside of its module by `super::`. The root of a module has the depth 1.
fn leaves_the_module(line: &str, depth: usize) -> bool {
    let paths = line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    let count_supers = |path: &str| path.split("::").take_while(|part| *part == "super").count();
    paths.map(count_supers).any(|supers| supers >= depth)
}

/// The lines of a file that import a module below its own in the list `modules`, or several modules in one group.
/// `path` is relative to `src/`.
fn upward_imports(path: &Path, source: &str, modules: &[&str]) -> Vec<String> {
    let parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    let own = parts[0].trim_end_matches(".rs");
    let own = modules.iter().position(|module| *module == own).unwrap();
    let is_allowed = |name: &str| modules[..=own].contains(&name);
    let mut depth = parts.len() - usize::from(path.ends_with("mod.rs"));
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        if !names_in_crate(line).all(is_allowed) || leaves_the_module(line, depth) {
            found.push(format!("src/{}:{number}: {}", path.display(), line.trim()));
        }
        // The module of the unit tests ends the file and is one level deeper.
        depth += usize::from(line == "mod tests {");
    }
    found
}

#[test]
fn the_documentation_of_the_crate_lists_its_modules() {
    let mut documented = documented_modules();
    documented.sort_unstable();
    let declared = LIB
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    assert_eq!(documented, declared.collect::<Vec<_>>());
    assert!(documented.len() <= 11, "{documented:?}");
}

#[test]
fn a_module_imports_only_modules_above_it_in_the_list() {
    let modules = documented_modules();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in source_files(&src) {
        let path = file.strip_prefix(&src).unwrap();
        if ![Path::new("lib.rs"), Path::new("main.rs")].contains(&path) {
            found.extend(upward_imports(path, &fs::read_to_string(&file).unwrap(), &modules));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let modules = ["outcome", "event", "handler"];
    let upward = |path: &str, line: &str| upward_imports(Path::new(path), line, &modules).len();
    for line in [
        "use crate::handler::Handler;",
        "use crate::{event, handler};",
        "/// See [`Handler`](crate::handler::Handler).",
        "    let handler = crate::handler::new();",
        "use super::handler;",
    ] {
        assert_eq!(upward("event/mod.rs", line), 1, "{line}");
    }
    assert_eq!(upward("event/kpl.rs", "use super::super::handler;"), 1);
    for line in [
        "use crate::outcome::Fault;",
        "use crate::event::kpl;",
        "    crate::outcome::new()",
    ] {
        assert_eq!(upward("event/mod.rs", line), 0, "{line}");
    }
    assert_eq!(upward("event/kpl.rs", "use super::KinesisRecord;"), 0);
    assert_eq!(upward("event/mod.rs", "mod tests {\n    use super::*;"), 0);
}
