//! Files and folders that nobody else may read, and what a machine's refusal means.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::Refused;

/// Makes a folder of mode 0700, with those above it; one that is there already gets that mode.
pub(super) fn folder(path: &Path) -> Result<(), Refused> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(|error| refused(&format!("making {}", path.display()), path, &error))
}

/// Writes a file of mode 0600 in one step: whoever reads it sees the old text or the new one, also after a crash.
pub(super) fn write(path: &Path, text: &[u8]) -> Result<(), Refused> {
    let beside = beside(path);
    let written =
        create(&beside, text).and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_folder(path));
    written.map_err(|error| {
        // What is left of the attempt would only take room; that the disk is full is what has to be told.
        let _ = fs::remove_file(&beside);
        refused(&format!("writing {}", path.display()), path, &error)
    })
}

/// The same, unless the file is there already: then that one stays. Whether it was written.
pub(super) fn write_new(path: &Path, text: &[u8]) -> Result<bool, Refused> {
    let beside = beside(path);
    let written = create(&beside, text).and_then(|()| match fs::hard_link(&beside, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    // It was a second name of the same file, or the attempt's remains.
    let _ = fs::remove_file(&beside);
    written
        .and_then(|new| sync_folder(path).map(|()| new))
        .map_err(|error| refused(&format!("writing {}", path.display()), path, &error))
}

/// Gives a file that another program wrote mode 0600, and has it on the disk.
pub(super) fn write_mode(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    File::open(path)?.sync_all()
}

/// The text of a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Refused> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&format!("reading {}", path.display()), path, &error)),
    }
}

/// Removes a folder with all that is in it; none there is well.
pub(super) fn remove_folder(path: &Path) -> Result<(), Refused> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused(&format!("removing {}", path.display()), path, &error))
        }
        _ => Ok(()),
    }
}

/// What the machine said, in a sentence that says what to do.
pub(super) fn refused(doing: &str, path: &Path, error: &io::Error) -> Refused {
    Refused::Machine { doing: doing.to_owned(), why: advice(path, error) }
}

/// What to do about an error at a path.
fn advice(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk that holds {shown} is full: free some of it (`df -h` shows which one it is)")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "the disk that holds {shown} is mounted read-only: mount it writable, or choose another --dir"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "{shown} belongs to another user, or forbids this one: run as its owner (`ls -ld {shown}`), or choose another --dir"
        ),
        _ => error.to_string(),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    // Several threads may write the same file: the last one's stays.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".new-{}-{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed)));
    PathBuf::from(name)
}

fn create(path: &Path, text: &[u8]) -> io::Result<()> {
    // What a killed predecessor of the same process id left is no obstacle.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_its_owner_s_alone_and_new_files_stay() {
        let place = tempfile::tempdir().unwrap();
        let folder_path = place.path().join("a/b");
        folder(&folder_path).unwrap();
        let path = folder_path.join("secret");
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap(), "the first one stays");
        assert_eq!(read(&path).unwrap().as_deref(), Some("one"));
        write(&path, b"three").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("three"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder_path), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder_path).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_full_disk_is_said_in_a_sentence() {
        // /dev/full is a disk that is always full.
        let error = File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        let refused = refused("writing /var/lib/x", Path::new("/var/lib/x"), &error).to_string();
        assert!(refused.contains("that holds /var/lib/x is full: free some of it"), "{refused}");
    }
}
