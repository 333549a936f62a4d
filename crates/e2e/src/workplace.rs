//! A directory of one test's own, removed on drop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

/// A temporary directory that holds the configuration, logs and sockets of one test.
#[derive(Debug)]
pub struct Workplace {
    dir: TempDir,
    subdirs: AtomicUsize,
}

impl Workplace {
    /// Makes an empty one.
    ///
    /// # Panics
    /// When the system's temporary directory cannot be written to.
    #[must_use]
    pub fn new() -> Self {
        // Short, since a unix socket's path must fit into 107 bytes.
        let dir = tempfile::Builder::new().prefix("shoal-e2e").tempdir().expect("make a temporary directory");
        Self { dir, subdirs: AtomicUsize::new(0) }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory inside, called `name` and a number.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn subdir(&self, name: &str) -> PathBuf {
        let number = self.subdirs.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(format!("{name}-{number}"));
        std::fs::create_dir(&path).expect("make a directory in the workplace");
        path
    }

    /// Writes `text` to a new file of this name and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.subdir("file").join(name);
        std::fs::write(&path, text).expect("write a file in the workplace");
        path
    }
}

impl Default for Workplace {
    fn default() -> Self {
        Self::new()
    }
}
