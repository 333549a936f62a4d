//! The tables, and what is read from and written to them.
//!
//! `objects` has a row for each object, its JSON with a checksum; `summary` has one row that counts and sums them up.

use super::failed;
use crate::Error;
use crate::resource::{Resource, Revision};
use crate::store::{Change, Contents, Write};
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The format of the tables that this program reads and writes.
const FORMAT: i64 = 1;

/// "Shoa": by it `file` and SQLite know whose the file is.
pub(super) const APPLICATION: u32 = 0x5368_6f61;

/// The one row that speaks of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// As in [`Contents`].
    pub incarnation: String,
    /// The number of the last change.
    pub last: u64,
    /// How many objects there are.
    pub objects: u64,
    /// The sum of their checksums: none is missing, none too many.
    pub digest: u64,
}

impl Summary {
    fn checksum(&self) -> u64 {
        let Summary { incarnation, last, objects, digest } = self;
        checksum(&[incarnation, &format!("{last} {objects} {digest}")])
    }
}

/// Makes the tables in an empty file.
pub(super) fn initialise(connection: &Connection) -> Result<(), rusqlite::Error> {
    let summary = Summary { incarnation: random(connection, 6)?, last: 0, objects: 0, digest: 0 };
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE objects (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, checksum INTEGER NOT NULL,
             PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID;
         CREATE TABLE summary (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation TEXT NOT NULL,
             last INTEGER NOT NULL, objects INTEGER NOT NULL, digest INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT;",
    )?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    write_summary(connection, &summary)?;
    connection.execute_batch("COMMIT")
}

/// Reads everything, and believes nothing that does not fit together.
pub(super) fn load(path: &Path, connection: &Connection) -> Result<(Contents, Summary), Error> {
    let summary = check(path, connection)?;
    let damaged = |what: String| Error::StoreDamaged { path: path.to_owned(), what };
    let mut objects = Vec::new();
    let mut digest = 0_u64;
    let rows = read_rows(connection).map_err(|error| failed(path, error))?;
    for Row { kind, name, body, checksum: written } in rows {
        if checksum(&[&kind, &name, &body]) != written {
            return Err(damaged(format!("{kind} {name} does not fit its checksum")));
        }
        digest = digest.wrapping_add(written);
        let object: Resource = serde_json::from_str(&body).map_err(|source| Error::StoreObject {
            path: path.to_owned(),
            kind: kind.clone(),
            name: name.clone(),
            source,
        })?;
        objects.push(object);
    }
    if (objects.len() as u64, digest) != (summary.objects, summary.digest) {
        let found = objects.len();
        return Err(damaged(format!(
            "it should have {} objects, and has {found}, or others",
            summary.objects
        )));
    }
    Ok((Contents::loaded(summary.incarnation.clone(), summary.last, objects), summary))
}

/// Whether the file is a store, of a format that is known, and whole by SQLite's own means.
fn check(path: &Path, connection: &Connection) -> Result<Summary, Error> {
    let no = |error| failed(path, error);
    let damaged = |what: String| Error::StoreDamaged { path: path.to_owned(), what };
    let number =
        |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(no);
    match number("user_version")? {
        FORMAT => {}
        format if format > FORMAT => {
            return Err(Error::StoreNewer { path: path.to_owned(), format, known: FORMAT });
        }
        format => return Err(damaged(format!("there is no format {format}"))),
    }
    let verdict =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)).map_err(no)?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    let summary = connection
        .query_row(
            "SELECT incarnation, last, objects, digest, checksum FROM summary WHERE one = 1",
            [],
            |row| {
                let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
                let summary = Summary {
                    incarnation: row.get(0)?,
                    last: number(1)?,
                    objects: number(2)?,
                    digest: number(3)?,
                };
                Ok((summary, number(4)?))
            },
        )
        .optional();
    match summary.map_err(no)? {
        Some((summary, written)) if summary.checksum() == written => Ok(summary),
        Some(_) => Err(damaged("its summary does not fit its checksum".to_owned())),
        None => Err(damaged("its summary is missing".to_owned())),
    }
}

struct Row {
    kind: String,
    name: String,
    body: String,
    checksum: u64,
}

fn read_rows(connection: &Connection) -> Result<Vec<Row>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT kind, name, body, checksum FROM objects")?;
    let rows = statement.query_map([], |row| {
        let checksum = row.get::<_, i64>(3)?.cast_unsigned();
        Ok(Row { kind: row.get(0)?, name: row.get(1)?, body: row.get(2)?, checksum })
    })?;
    rows.collect()
}

/// Writes a change, within the transaction that the caller has begun; returns the summary after it.
pub(super) fn keep(
    connection: &Connection,
    before: &Summary,
    write: &Write,
) -> Result<Summary, rusqlite::Error> {
    let object = write.change.object();
    let (kind, name) = (object.kind().name(), object.name());
    let mut after = Summary { last: write.number, ..before.clone() };
    let old = connection
        .query_row("SELECT checksum FROM objects WHERE kind = ?1 AND name = ?2", [kind, name], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    if let Some(old) = old {
        after.objects = after.objects.saturating_sub(1);
        after.digest = after.digest.wrapping_sub(old.cast_unsigned());
        connection.execute("DELETE FROM objects WHERE kind = ?1 AND name = ?2", [kind, name])?;
    }
    if let Change::Put(object) = &write.change {
        let body = serde_json::to_string(object.as_ref())
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let checksum = checksum(&[kind, name, &body]);
        after.objects += 1;
        after.digest = after.digest.wrapping_add(checksum);
        connection.execute(
            "INSERT INTO objects (kind, name, body, checksum) VALUES (?1, ?2, ?3, ?4)",
            params![kind, name, body, checksum.cast_signed()],
        )?;
    }
    write_summary(connection, &after)?;
    Ok(after)
}

/// Makes every revision of before name nothing: each object gets a new one.
pub(super) fn begin_incarnation(path: &Path, connection: &Connection) -> Result<(), Error> {
    let no = |error| failed(path, error);
    let (contents, before) = load(path, connection)?;
    let mut summary = Summary { incarnation: random(connection, 6).map_err(no)?, ..before };
    connection.execute_batch("BEGIN IMMEDIATE").map_err(no)?;
    for object in contents.all() {
        let number = summary.last + 1;
        let mut object = Resource::clone(object);
        object.metadata_mut().revision = Some(Revision(format!("{}-{number}", summary.incarnation)));
        let write = Write { number, change: Change::Put(object.into()) };
        summary = keep(connection, &summary, &write).map_err(no)?;
    }
    write_summary(connection, &summary).map_err(no)?;
    connection.execute_batch("COMMIT").map_err(no)
}

fn write_summary(connection: &Connection, summary: &Summary) -> Result<(), rusqlite::Error> {
    let Summary { incarnation, last, objects, digest } = summary;
    let written = connection.execute(
        "INSERT OR REPLACE INTO summary (one, incarnation, last, objects, digest, checksum) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        params![
            incarnation,
            last.cast_signed(),
            objects.cast_signed(),
            digest.cast_signed(),
            summary.checksum().cast_signed()
        ],
    );
    written.map(drop)
}

/// That many bytes of chance, in hexadecimal digits; SQLite takes its seed from the operating system.
pub(super) fn random(connection: &Connection, bytes: u8) -> Result<String, rusqlite::Error> {
    connection.query_row("SELECT lower(hex(randomblob(?1)))", [bytes], |row| row.get(0))
}

/// Eight bytes of SHA-256 over texts, each with its length.
fn checksum(texts: &[&str]) -> u64 {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    let digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
