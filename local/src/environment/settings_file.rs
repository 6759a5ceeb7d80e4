//! Settings in a file beside the sample that needs them.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Settings;

/// Reads the `.env` file beside `file`: one `NAME=VALUE` per line, without quotes. Empty lines and lines that start
/// with `#` are ignored. Returns no settings if there is no such file.
///
/// # Errors
///
/// If the file cannot be read, or a line has another form.
pub fn settings_beside(file: &Path) -> Result<Settings> {
    let path = file.with_extension("env");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::new()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let setting = line.split_once('=').filter(|(name, value)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                !name.is_empty() && name.bytes().all(plain) && !value.starts_with(['"', '\''])
            });
            // The line may hold a secret.
            let (name, value) = setting.with_context(|| {
                format!(
                    "{}: line {number} is not like NAME=VALUE, without quotes",
                    path.display()
                )
            })?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}
