//! The store of one machine: SQLite keeps, [`Contents`] answers.
//!
//! ```text
//!   create, update, delete ─▶ Contents::plan ─▶ one transaction, on the disk ─▶ Contents::commit ─▶ acknowledged
//!   get, list, watch ───────▶ Contents (all objects are in memory; a watch from before a restart expires)
//! ```
//!
//! One process has the file at a time; what it held is free when it dies. SQLite's log is flushed before a write is
//! acknowledged (WAL, `synchronous=FULL`), so neither kill -9 nor the machine's end loses one. Each object bears a
//! checksum, and the whole a sum of these, since SQLite does not notice a byte that rots inside a text.

mod backup;
mod damage;
mod rows;

use crate::Error;
use crate::quantity::Timestamp;
use crate::resource::{Kind, Resource, Revision, Uid};
use crate::store::{Contents, Listed, Stamp, Store, Watch, Write};
pub use backup::restore;
use damage::{failed, refuse_strangers};
use rows::Summary;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The store of one machine, in one file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    state: Mutex<State>,
    /// Somebody wrote.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    connection: Connection,
    contents: Contents,
    summary: Summary,
    /// Why nothing is written any more: what the disk holds is not certain.
    broken: Option<String>,
}

impl Sqlite {
    /// Opens a store that is there.
    ///
    /// # Errors
    /// [`Error::StoreMissing`]; [`Error::StoreInUse`] by another control; [`Error::StoreDamaged`];
    /// [`Error::StoreNewer`]; [`Error::StoreFailed`] for whatever the operating system says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.try_exists().map_err(|source| Error::File { path: path.to_owned(), source })? {
            return Err(Error::StoreMissing { path: path.to_owned() });
        }
        refuse_strangers(path)?;
        let connection = connect(path)?;
        let (contents, summary) = rows::load(path, &connection)?;
        let state = State { connection, contents, summary, broken: None };
        Ok(Sqlite { path: path.to_owned(), state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Makes an empty store where there is none. It is there whole or not at all, so that an empty file is never taken
    /// for a store.
    ///
    /// # Errors
    /// [`Error::File`] if there is a file; as [`open`](Self::open) otherwise.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let unfinished = beside(path, "unfinished");
        make_file(&unfinished)?;
        let connection = connect(&unfinished)?;
        rows::initialise(&connection).map_err(|error| failed(&unfinished, error))?;
        connection.close().map_err(|(_, error)| failed(&unfinished, error))?;
        put_in_place(&unfinished, path)?;
        Sqlite::open(path)
    }

    /// Opens the store if it is there, and makes it if not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_or_create(path: &Path) -> Result<Self, Error> {
        match Sqlite::open(path) {
            Err(Error::StoreMissing { .. }) => Sqlite::create(path),
            opened => opened,
        }
    }

    /// Makes a copy of the whole store as it is at this moment, in a new file that nobody else may read.
    ///
    /// # Errors
    /// [`Error::File`] if there is such a file; [`Error::StoreFull`] and the like.
    pub fn backup(&self, to: &Path) -> Result<(), Error> {
        backup::backup(&self.lock().connection, to)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between disk and memory cannot be: nothing there panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans on what is there, writes it down, and only then makes it so.
    fn write<T>(
        &self,
        plan: impl FnOnce(&Contents, Stamp) -> Result<Option<Write>, Error>,
        done: impl FnOnce(Option<Arc<Resource>>) -> T,
    ) -> Result<T, Error> {
        let mut state = self.lock();
        let state = &mut *state;
        if let Some(reason) = &state.broken {
            return Err(Error::StoreBroken { path: self.path.clone(), reason: reason.clone() });
        }
        let uid = rows::random(&state.connection, 16).map_err(|error| failed(&self.path, error))?;
        let stamp = Stamp { now: Timestamp::from(SystemTime::now()), uid: Uid(uid) };
        let Some(write) = plan(&state.contents, stamp)? else { return Ok(done(None)) };
        state.summary = state.keep(&self.path, &write)?;
        let object = state.contents.commit(write);
        self.changed.notify_all();
        Ok(done(Some(object)))
    }
}

impl State {
    /// Writes a change down in one transaction.
    fn keep(&mut self, path: &Path, write: &Write) -> Result<Summary, Error> {
        let kept = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(
            |transaction| {
                let summary = rows::keep(&transaction, &self.summary, write)?;
                transaction.commit()?;
                Ok(summary)
            },
        );
        kept.map_err(|error| {
            let error = failed(path, error);
            // A full disk has refused, and SQLite has taken the rest back. After anything else nobody knows what the
            // disk will say when it is asked again: a flush that failed once may succeed without having flushed.
            if !matches!(error, Error::StoreFull { .. }) || !self.connection.is_autocommit() {
                self.broken = Some(error.to_string());
            }
            error
        })
    }
}

impl Store for Sqlite {
    fn get(&self, kind: Kind, name: &str) -> Result<Option<Arc<Resource>>, Error> {
        Ok(self.lock().contents.get(kind, name))
    }

    fn list(&self, kind: Kind) -> Result<Listed, Error> {
        Ok(self.lock().contents.list(kind))
    }

    fn create(&self, object: Resource) -> Result<Arc<Resource>, Error> {
        let (kind, name) = (object.kind(), object.name().to_owned());
        let made =
            self.write(|contents, stamp| contents.plan_create(object, stamp).map(Some), |made| made)?;
        made.ok_or(Error::NotFound { kind, name })
    }

    fn update(&self, object: Resource) -> Result<Arc<Resource>, Error> {
        let (kind, name) = (object.kind(), object.name().to_owned());
        let made = self.write(|contents, _| contents.plan_update(object).map(Some), |made| made)?;
        made.ok_or(Error::NotFound { kind, name })
    }

    fn delete(&self, kind: Kind, name: &str, revision: &Revision) -> Result<(), Error> {
        self.write(|contents, stamp| contents.plan_delete(kind, name, revision, stamp.now), |_| ())
    }

    fn watch(&self, kind: Kind, from: &Revision, patience: Duration) -> Result<Watch, Error> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let seen = state.contents.watch(kind, from);
            let is_something = !matches!(&seen, Watch::Changes { changes, .. } if changes.is_empty());
            let left = until.saturating_duration_since(Instant::now());
            if is_something || left.is_zero() {
                return Ok(seen);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Opens the file for this process alone.
fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, error))?;
    let prepared = connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF;
         BEGIN EXCLUSIVE; COMMIT;",
    );
    prepared.map_err(|error| failed(path, error))?;
    Ok(connection)
}

/// A file that nobody else may read, in place of an unfinished one.
fn make_file(path: &Path) -> Result<(), Error> {
    let no = |source| Error::File { path: path.to_owned(), source };
    for rest in [path.to_owned(), beside(path, "wal"), beside(path, "journal")] {
        match fs::remove_file(&rest) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(no(error)),
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop).map_err(no)
}

/// Gives a finished file its name, unless there is one of that name, so that it outlives the machine's end.
fn put_in_place(finished: &Path, path: &Path) -> Result<(), Error> {
    let no = |source| Error::File { path: path.to_owned(), source };
    File::open(finished).and_then(|file| file.sync_all()).map_err(no)?;
    // A link, and not a new name: it is refused where a name would replace what is there.
    fs::hard_link(finished, path).map_err(no)?;
    fs::remove_file(finished).map_err(no)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(no)
}

/// `store.db` to `store.db-what`, as SQLite names what belongs to a file.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(what);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
