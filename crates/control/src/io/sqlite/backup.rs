//! A copy of the store, and a store from a copy.

use super::{beside, connect, failed, make_file, put_in_place, refuse_strangers, rows};
use crate::Error;
use rusqlite::Connection;
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Copies the whole store as it is now; see [`Sqlite::backup`](super::Sqlite::backup).
pub(super) fn backup(connection: &Connection, to: &Path) -> Result<(), Error> {
    refuse_if_there(to)?;
    let unfinished = beside(to, "unfinished");
    make_file(&unfinished)?;
    let Some(name) = unfinished.to_str() else {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "its name is not UTF-8");
        return Err(Error::File { path: to.to_owned(), source });
    };
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| failed(to, error))?;
    put_in_place(&unfinished, to)
}

/// Makes a store at `to` from a backup, which is checked first. Returns how many objects it has.
///
/// Revisions of before name nothing in it: whoever watched lists again, whoever had seen an object looks again.
///
/// # Errors
/// [`Error::File`] if something is at `to`; [`Error::StoreDamaged`] and [`Error::StoreNewer`] of the backup.
pub fn restore(from: &Path, to: &Path) -> Result<usize, Error> {
    refuse_if_there(to)?;
    refuse_strangers(from)?;
    let unfinished = beside(to, "unfinished");
    make_file(&unfinished)?;
    let copied = fs::File::open(from).and_then(|mut from| {
        std::io::copy(&mut from, &mut OpenOptions::new().write(true).open(&unfinished)?)
    });
    copied.map_err(|source| Error::File { path: from.to_owned(), source })?;
    let restored = adopt(&unfinished).map_err(|error| about(error, from))?;
    put_in_place(&unfinished, to)?;
    Ok(restored)
}

fn adopt(copy: &Path) -> Result<usize, Error> {
    let connection = connect(copy)?;
    rows::begin_incarnation(copy, &connection)?;
    let (contents, _) = rows::load(copy, &connection)?;
    connection.close().map_err(|(_, error)| failed(copy, error))?;
    Ok(contents.all().count())
}

/// The error says which file of the operator's is damaged, not which copy of ours.
fn about(error: Error, from: &Path) -> Error {
    let path = from.to_owned();
    match error {
        Error::StoreDamaged { what, .. } => Error::StoreDamaged { path, what },
        Error::StoreNewer { format, known, .. } => Error::StoreNewer { path, format, known },
        Error::StoreObject { kind, name, source, .. } => Error::StoreObject { path, kind, name, source },
        other => other,
    }
}

fn refuse_if_there(path: &Path) -> Result<(), Error> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => {
            let source =
                std::io::Error::new(std::io::ErrorKind::AlreadyExists, "there is a file: move it away first");
            Err(Error::File { path: path.to_owned(), source })
        }
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}
