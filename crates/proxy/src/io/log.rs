//! The process's log: one line an event, to standard error or a file that can be opened again.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The level at which only errors are written.
const ERRORS: u8 = 3;
/// The level from which warnings are written.
const WARNINGS: u8 = 4;
/// The level from which notices are written: Twemproxy's default.
pub const NOTICES: u8 = 5;
/// The highest level of Twemproxy's.
pub const LEVEL_MAX: u8 = 11;

static LEVEL: AtomicU8 = AtomicU8::new(NOTICES);
/// The second in which [`seldom`] last wrote.
static SELDOM_WRITTEN: AtomicU64 = AtomicU64::new(0);
static OUTPUT: Mutex<Option<(PathBuf, File)>> = Mutex::new(None);

/// Writes to the file at `path` from now on, appending.
///
/// # Errors
/// If it cannot be opened.
pub fn write_to(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    *OUTPUT.lock().unwrap_or_else(PoisonError::into_inner) = Some((path.to_owned(), file));
    Ok(())
}

/// Opens the log file again, after somebody moved it away.
pub fn reopen() {
    let path = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(path, _)| path.clone());
    if let Some(path) = path
        && let Err(error) = write_to(&path)
    {
        warning(&format!(
            "cannot open the log file {} again, so the old one goes on: {error}",
            path.display()
        ));
    }
}

/// Sets the level, 0 to 11 as Twemproxy counts.
pub fn set_level(level: u8) {
    LEVEL.store(level.min(LEVEL_MAX), Ordering::Relaxed);
}

/// Raises or lowers the level by one.
pub fn change_level(by: i8) {
    let level = LEVEL.load(Ordering::Relaxed);
    set_level(level.saturating_add_signed(by));
    line(0, "notice", &format!("log level is {}", LEVEL.load(Ordering::Relaxed)));
}

/// Something failed that somebody must look at.
pub fn error(text: &str) {
    line(ERRORS, "error", text);
}

/// Something failed that would fail again at once: written once a second at most.
pub fn seldom(text: &str) {
    once_a_second(&SELDOM_WRITTEN, text);
}

/// The same for a sort of lines of its own: `written` is the second in which it last had one.
pub fn once_a_second(written: &AtomicU64, text: &str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if written.swap(now, Ordering::Relaxed) != now {
        error(text);
    }
}

/// Something failed that is dealt with.
pub fn warning(text: &str) {
    line(WARNINGS, "warning", text);
}

/// Something happened.
pub fn notice(text: &str) {
    line(NOTICES, "notice", text);
}

fn line(level: u8, word: &str, text: &str) {
    if LEVEL.load(Ordering::Relaxed) < level {
        return;
    }
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    let line = format!("{now} {word}: {text}\n");
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    // There is nowhere to report that the log itself cannot be written.
    let _ = match output.as_mut() {
        Some((_, file)) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}
