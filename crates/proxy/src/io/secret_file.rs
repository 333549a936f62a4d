//! Files that may hold secrets. What is looked at is what is read: both go by one descriptor, whatever becomes of the path.

use std::fs::{File, Permissions};
use std::io::{Error, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Bytes that a file may have.
const SIZE_MAX: u64 = 16 * 1024 * 1024;

/// What stands in a file, and who may see it.
#[derive(Debug)]
pub struct Contents {
    /// All of it.
    pub text: String,
    permissions: Permissions,
}

impl Contents {
    /// Reads the regular file at `path`. It does not wait, whatever is there.
    ///
    /// # Errors
    /// Why not.
    pub fn read(path: &Path) -> std::io::Result<Contents> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut text = String::new();
        // It may grow while it is read.
        file.take(SIZE_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > SIZE_MAX {
            let why = format!("it has more than {} MiB", SIZE_MAX >> 20);
            return Err(Error::new(ErrorKind::FileTooLarge, why));
        }
        Ok(Contents { text, permissions: metadata.permissions() })
    }

    /// Refuses a file that everybody may read, or write.
    ///
    /// # Errors
    /// In words that name the file, which is at `path`, and say what to do.
    pub fn check(&self, path: &Path) -> Result<(), String> {
        match self.permissions.mode() & 0o007 {
            0 => Ok(()),
            _ => Err(format!("{} may be read or written by everybody: chmod 600 it", path.display())),
        }
    }
}

/// Reads the file at `path`, which nobody but its owner and group may read.
///
/// # Errors
/// In words that name the file and say what to do.
pub fn read(path: &Path) -> Result<String, String> {
    let contents = Contents::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    contents.check(path)?;
    Ok(contents.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_was_read_is_what_was_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (open, private) = (folder.path().join("open"), folder.path().join("private"));
        put(&open, "everybody's", 0o644);
        put(&private, "ours", 0o600);
        let contents = Contents::read(&open).unwrap();
        // Another one takes its place before it is checked.
        std::fs::rename(&private, &open).unwrap();
        assert!(contents.check(&open).unwrap_err().contains("chmod 600"), "{contents:?}");
        assert_eq!(read(&open).unwrap(), "ours");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        let large = folder.path().join("large");
        put(&large, "", 0o600);
        File::options().write(true).open(&large).unwrap().set_len(SIZE_MAX + 1).unwrap();
        for (path, part) in [
            (fifo, "it is no regular file"),
            (folder.path().to_owned(), "it is no regular file"),
            (large, "more than 16 MiB"),
            (folder.path().join("nowhere"), "No such file"),
        ] {
            let said = read(&path).unwrap_err();
            assert!(said.contains(part) && said.contains(&*path.to_string_lossy()), "{said}");
        }
    }
}
