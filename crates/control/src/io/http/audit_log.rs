//! The audit log: a line of JSON for each change, in a file that only grows and that nobody else may read.

use crate::api::Audit;
use crate::io::private_file;
use crate::runtime::Refused;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The audit log.
pub(super) struct AuditLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl AuditLog {
    pub(super) fn open(dir: &Path) -> Result<Self, Refused> {
        let path = dir.join("audit.log");
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).and_then(|file| {
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(file)
        });
        match opened {
            Ok(file) => Ok(AuditLog { path, file: Mutex::new(file) }),
            Err(error) => Err(private_file::refused("opening the audit log", &path, &error)),
        }
    }

    /// Writes a line; it is on the disk when this returns.
    pub(super) fn write(&self, line: &Audit) -> Result<(), Refused> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_string(line).map_err(std::io::Error::from);
        written
            .and_then(|line| file.write_all(format!("{line}\n").as_bytes()))
            .and_then(|()| file.sync_data())
            .map_err(|error| private_file::refused("writing the audit log", &self.path, &error))
    }
}
