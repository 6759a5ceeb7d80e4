//! Builds the binaries of this workspace with cargo and shows its progress.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Returns the folder of the workspace that this program was built from.
pub fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// The cargo profile of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Builds quickly, for trying something.
    Dev,
    /// Builds as for a deployment, for measurements.
    Release,
}

/// Builds the function and returns the path of its binary.
///
/// # Errors
///
/// If cargo cannot be run or the function does not compile. Cargo has already printed the reason.
pub fn function(profile: Profile) -> Result<PathBuf> {
    binary("instream", profile)
}

/// Builds this program in release mode and returns the path of its binary.
///
/// # Errors
///
/// As [`function`].
pub fn own_release() -> Result<PathBuf> {
    binary("instream-local", Profile::Release)
}

fn binary(name: &str, profile: Profile) -> Result<PathBuf> {
    // Selects both packages. Cargo then chooses the same features for their shared crates as in `cargo test
    // --workspace`, so that both commands use the same compiled crates.
    let output = Command::new("cargo")
        .args(["build", "--package", "instream", "--package", "instream-local"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(match profile {
            Profile::Dev => None,
            Profile::Release => Some("--release"),
        })
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "{name} does not compile");
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut messages = messages.filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    messages
        .find_map(|message| {
            message
                .executable
                .filter(|_| message.target.is_some_and(|it| it.name == name))
        })
        .with_context(|| format!("cargo built no binary called {name}"))
}
