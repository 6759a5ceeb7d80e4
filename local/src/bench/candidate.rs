//! The functions of a bench: the command and the name of each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::function::Program;

/// A function to measure.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its name in the bench.
    pub(crate) name: String,
    /// The command as the user gave it.
    pub(crate) command: String,
    /// The program that the command starts.
    pub(crate) program: Program,
}

impl Candidate {
    /// Returns this project's function, from a binary that cargo has just built.
    pub(crate) fn built(binary: PathBuf) -> Self {
        Self {
            name: "instream".to_owned(),
            command: binary.display().to_string(),
            program: Program::Binary(binary),
        }
    }

    /// Parses a command. If it is only the path of a file, it runs without a shell: the start of a shell would be
    /// measured as part of the function's start.
    ///
    /// # Errors
    ///
    /// If the command is empty.
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

/// Appends a number to each name that an earlier item already has.
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
    fn a_function_is_named_after_its_file_and_its_name_is_unique() {
        let name = |command: &str| Candidate::new(command).unwrap().name;
        let mut names = ["target/x/bootstrap --fast", "'bootstrap'", "a-2", "a", "../a", "/opt/a"].map(name);
        make_unique(names.iter_mut());
        assert_eq!(names, ["bootstrap", "bootstrap-2", "a-2", "a", "a-3", "a-4"]);
        assert!(Candidate::new("  ").unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_command_that_is_only_a_path_runs_without_a_shell() {
        let own = std::env::current_exe().unwrap();
        let program = |command: &str| Candidate::new(command).unwrap().program;
        assert_eq!(program(own.to_str().unwrap()), Program::Binary(own.clone()));
        let with_argument = format!("{} x", own.display());
        assert_eq!(program(&with_argument), Program::Shell(with_argument.clone()));
    }
}
