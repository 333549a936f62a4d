//! What processes write, in files of bounded size and number.
//!
//! A process has one file open for its life, and appends. So the file is copied and then emptied: what is written in the
//! instant between the two is lost, a line or so of a process that writes thousands a second.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::io::private_file;
use crate::runtime::Refused;

/// How much is kept of what one instance writes: `size` × (`kept` + 1) bytes, and what came since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Bytes at which a file is rotated; looked at each second.
    pub size: u64,
    /// Older files beside the present one.
    pub kept: u32,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self { size: 10 * 1024 * 1024, kept: 4 }
    }
}

/// The longest line that is read back.
const LINE_MAX: u64 = 64 * 1024;

/// Rotates a log that has grown too large.
pub(super) fn rotate(log: &Path, bounds: &LogBounds) {
    let grown = fs::metadata(log).is_ok_and(|file| file.len() >= bounds.size);
    if grown && let Err(error) = rotate_now(log, bounds) {
        // It goes on growing, then; at the next look this is tried again.
        eprintln!("warning: rotating {}: {}", log.display(), private_file::refused("it failed", log, &error));
    }
}

fn rotate_now(log: &Path, bounds: &LogBounds) -> io::Result<()> {
    for number in (1..bounds.kept).rev() {
        match fs::rename(numbered(log, number), numbered(log, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let file = File::options().read(true).write(true).open(log)?;
    if bounds.kept > 0 {
        let mut older =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(numbered(log, 1))?;
        older.set_permissions(fs::Permissions::from_mode(0o600))?;
        io::copy(&mut &file, &mut older)?;
    }
    file.set_len(0)
}

/// The last lines over all files, the oldest first.
pub(super) fn last_lines(log: &Path, lines: usize, bounds: &LogBounds) -> Result<Vec<String>, Refused> {
    let mut last = VecDeque::new();
    let files = (1..=bounds.kept).rev().map(|number| numbered(log, number)).chain([log.to_owned()]);
    for path in files {
        match File::open(&path) {
            Ok(file) => keep_last(file, lines, &mut last).map_err(|error| {
                private_file::refused(&format!("reading {}", path.display()), &path, &error)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(private_file::refused(&format!("reading {}", path.display()), &path, &error));
            }
        }
    }
    Ok(last.into())
}

/// The last lines of the present file, as far as they can be read: for a sentence about an end.
pub(super) fn last_words(log: &Path, lines: usize) -> Vec<String> {
    let read = || -> io::Result<VecDeque<String>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LINE_MAX)))?;
        let mut last = VecDeque::new();
        keep_last(file, lines, &mut last)?;
        Ok(last)
    };
    let words = read().unwrap_or_default();
    words
        .iter()
        .map(|line| line.trim().chars().take(300).collect::<String>())
        .filter(|line| !line.is_empty())
        .collect()
}

fn keep_last(file: File, lines: usize, last: &mut VecDeque<String>) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        last.push_back(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
        if last.len() > lines {
            last.pop_front();
        }
    }
}

fn numbered(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_log_is_bounded_and_read_over_its_files() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        let bounds = LogBounds { size: 30, kept: 2 };
        // A process keeps its file open, and appends.
        let mut process = File::options().append(true).create(true).open(&log).unwrap();
        for number in 0..20 {
            writeln!(process, "line {number:04}").unwrap();
            rotate(&log, &bounds);
        }
        let all: u64 =
            fs::read_dir(place.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(all <= 30 * 3, "{all} bytes");
        let lines = last_lines(&log, 5, &bounds).unwrap();
        assert_eq!(lines, ["line 0015", "line 0016", "line 0017", "line 0018", "line 0019"]);
        assert_eq!(fs::metadata(numbered(&log, 1)).unwrap().permissions().mode() & 0o777, 0o600);
        writeln!(process, "last").unwrap();
        assert_eq!(last_words(&log, 1), ["last"]);
    }
}
