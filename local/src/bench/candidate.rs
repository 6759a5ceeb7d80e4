//! The functions of a bench: how each is started, and what it is called.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::function::Program;

/// A function to measure.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its name in the bench.
    pub(crate) name: String,
    /// As it was given.
    pub(crate) command: String,
    /// What that starts.
    pub(crate) program: Program,
}

impl Candidate {
    /// The function, from a binary that cargo has just built.
    pub(crate) fn built(binary: PathBuf) -> Self {
        Self {
            name: "instream".to_owned(),
            command: binary.display().to_string(),
            program: Program::Binary(binary),
        }
    }

    /// A command that is a file's path alone runs without a shell, which would be measured with the function's start.
    pub(crate) fn new(command: &str) -> Result<Self> {
        let first = command
            .split_whitespace()
            .next()
            .context("a function's command is empty")?;
        let name = Path::new(first.trim_matches(['"', '\''])).file_name();
        let path = Path::new(command);
        let program = if path.is_file() {
            Program::Binary(std::path::absolute(path)?)
        } else {
            Program::Shell(command.to_owned())
        };
        Ok(Self {
            name: name.map_or(first.into(), |name| name.to_string_lossy()).into_owned(),
            command: command.to_owned(),
            program,
        })
    }
}

/// Puts a number behind names that others have before.
pub(crate) fn make_unique<'n>(names: impl Iterator<Item = &'n mut String>) {
    let mut taken = HashSet::new();
    for name in names {
        let numbered = (2_u64..).map(|number| format!("{name}-{number}"));
        let mut all = std::iter::once(name.clone()).chain(numbered);
        if let Some(free) = all.find(|name| !taken.contains(name)) {
            taken.insert(free.clone());
            *name = free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_after_its_file_and_no_two_have_the_same_name() {
        let name = |command: &str| Candidate::new(command).unwrap().name;
        let mut names = ["target/x/bootstrap --fast", "'bootstrap'", "a-2", "a", "../a", "/opt/a"].map(name);
        make_unique(names.iter_mut());
        assert_eq!(names, ["bootstrap", "bootstrap-2", "a-2", "a", "a-3", "a-4"]);
        assert!(Candidate::new("  ").unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_path_alone_runs_without_a_shell() {
        let own = std::env::current_exe().unwrap();
        let program = |command: &str| Candidate::new(command).unwrap().program;
        assert_eq!(program(own.to_str().unwrap()), Program::Binary(own.clone()));
        let with_argument = format!("{} x", own.display());
        assert_eq!(program(&with_argument), Program::Shell(with_argument.clone()));
    }
}
