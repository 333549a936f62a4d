//! The file of a listening unix socket.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

/// A unix socket's path. Its file goes with this value, if it is this process's.
#[derive(Debug)]
pub struct SocketFile {
    path: String,
    ours: bool,
}

impl SocketFile {
    /// The file of a socket that this process has bound.
    pub fn ours(path: &str) -> SocketFile {
        SocketFile { path: path.to_owned(), ours: true }
    }

    /// The file of a socket that was handed over, and belongs to the other process until [`SocketFile::own`].
    pub fn theirs(path: &str) -> SocketFile {
        SocketFile { path: path.to_owned(), ours: false }
    }

    /// The path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// It is this process's now.
    pub fn own(&mut self) {
        self.ours = true;
    }

    /// It is another process's now.
    pub fn give_away(&mut self) {
        self.ours = false;
    }

    /// Whether the file is there.
    pub fn is_there(&self) -> bool {
        Path::new(&self.path).symlink_metadata().is_ok_and(|file| file.file_type().is_socket())
    }

    /// Gives the file these permissions.
    pub fn set_mode(&self, mode: u32) -> std::io::Result<()> {
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
