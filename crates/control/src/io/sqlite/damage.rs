//! SQLite's words to ours.

use super::rows::APPLICATION;
use crate::Error;
use rusqlite::{Error as Sql, ErrorCode};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// SQLite's number for "this statement makes no sense here" (`SQLITE_ERROR`).
const SENSELESS: i32 = 1;

/// The bytes before a file's first page proper.
const HEADER: u64 = 100;

/// What an error of SQLite's means for who runs the store.
pub(super) fn failed(path: &Path, error: Sql) -> Error {
    let path = path.to_owned();
    // All statements are ours: where one makes no sense, or its answer has another type, the tables are not ours.
    let is_senseless = match &error {
        Sql::SqliteFailure(failure, _) => failure.extended_code == SENSELESS,
        Sql::InvalidColumnType(..) | Sql::FromSqlConversionFailure(..) | Sql::QueryReturnedNoRows => true,
        Sql::SqlInputError { .. } | Sql::Utf8Error(..) => true,
        _ => false,
    };
    match error.sqlite_error_code() {
        _ if is_senseless => Error::StoreDamaged { path, what: error.to_string() },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::StoreDamaged { path, what: error.to_string() }
        }
        Some(ErrorCode::DiskFull) => Error::StoreFull { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::StoreInUse { path },
        _ => Error::StoreFailed { path, source: error },
    }
}

/// Refuses a file that is no store of ours before SQLite touches it: of an empty one it would make a database, and the
/// world would be empty.
pub(super) fn refuse_strangers(path: &Path) -> Result<(), Error> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER).read_to_end(&mut header));
    read.map_err(|source| Error::File { path: path.to_owned(), source })?;
    // SQLite's description of its file format: a magic string at 0, the application's number at 68.
    let is_ours =
        header.starts_with(b"SQLite format 3\0") && header.get(68..72) == Some(&APPLICATION.to_be_bytes());
    if is_ours {
        return Ok(());
    }
    let what = if header.is_empty() {
        "it is empty"
    } else {
        "it is not a store of Shoal's, or its beginning is lost"
    };
    Err(Error::StoreDamaged { path: path.to_owned(), what: what.to_owned() })
}
