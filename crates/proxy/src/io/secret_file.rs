//! Files that hold one secret.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads the file at `path`, which nobody but its owner and group may read.
///
/// # Errors
/// In words that name the file and say what to do.
pub fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mode = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("{shown} may be read or written by everybody: chmod 600 it"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))
}
