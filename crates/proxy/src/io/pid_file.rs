//! The file that names the process.

use std::path::PathBuf;

use super::log;
use crate::error::Error;

/// A pid file, removed when this goes unless it names another process by then.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, over that of the process that is taken over from.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub fn write(path: PathBuf) -> Result<PidFile, Error> {
        std::fs::write(&path, line()).map_err(|source| Error::Serve { what: "the pid file", source })?;
        Ok(PidFile(path))
    }

    /// Writes it again if a process that was to take over has died and left its own id there.
    pub fn restore(&self) {
        if !self.names_us()
            && let Err(error) = std::fs::write(&self.0, line())
        {
            log::error(&format!("cannot write the pid file {} again: {error}", self.0.display()));
        }
    }

    fn names_us(&self) -> bool {
        std::fs::read_to_string(&self.0).is_ok_and(|text| text == line())
    }
}

fn line() -> String {
    format!("{}\n", std::process::id())
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.names_us() {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
