//! Files with records and predictions. Only their owner may read them.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of these files: only their owner may read and write them.
const MODE: u32 = 0o600;

/// Creates or replaces such a file.
///
/// # Errors
///
/// If the file cannot be written, or has another owner.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(MODE).open(path)?;
    // An existing file keeps its mode when it is opened.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// Opens such a file to read it and to append to it, or creates it. An existing file keeps its mode.
///
/// # Errors
///
/// If the file cannot be read or written.
pub fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn created_replaced_and_appended_files_are_private() {
        let path = std::env::temp_dir().join(format!("instream-private-{}", std::process::id()));
        let mode = |file: File| file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(append(&path).unwrap()), MODE);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(mode(append(&path).unwrap()), 0o644, "the user's choice");
        assert_eq!(mode(create(&path).unwrap()), MODE);
        std::fs::remove_file(path).unwrap();
    }
}
