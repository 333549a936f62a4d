//! Files that hold secrets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads the file at `path`, which nobody but its owner and group may read.
///
/// # Errors
/// In words that name the file and say what to do.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    check(path)?;
    std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}

/// Refuses a file that everybody may read; one that is not there holds no secret.
///
/// # Errors
/// In words that name the file and say what to do.
pub fn check(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(file) if file.permissions().mode() & 0o007 != 0 => {
            Err(format!("{} may be read or written by everybody: chmod 600 it", path.display()))
        }
        _ => Ok(()),
    }
}
