//! What goes wrong here, in one enum.

use crate::admission::Remark;
use crate::resource::Kind;
use crate::runtime::Refused;
use std::path::PathBuf;

/// What goes wrong in the crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An amount that cannot be read.
    #[error("{given:?} is no amount of {what}: {hint}")]
    Quantity {
        /// What was written.
        given: String,
        /// `memory`, `cores`, `time` or `instant`.
        what: &'static str,
        /// How it is written, or what was probably meant.
        hint: String,
    },
    /// A name of a kind that does not exist.
    #[error("there is no kind {given:?}: {hint}")]
    Kind {
        /// What was written.
        given: String,
        /// The nearest kind, or all of them.
        hint: String,
    },
    /// A file with declarations says what cannot be.
    #[error("{file} line {line}: {}{reason}", at(.path))]
    Declaration {
        /// The file's name as it was given.
        file: String,
        /// From 1.
        line: usize,
        /// The field, such as `spec.shards`; empty for the whole document.
        path: String,
        /// What is wrong there, and what was probably meant.
        reason: String,
    },
    /// An object that cannot be written as text.
    #[error("the object cannot be written: {reason}")]
    Written {
        /// The writer's words.
        reason: String,
    },
    /// Something is to be created that is there.
    #[error("{kind} {name} exists already")]
    Exists {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// Something is asked for that is not there.
    #[error("there is no {kind} {name}")]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// An object is not any more what the writer had seen.
    #[error(
        "{kind} {name} was changed by somebody else meanwhile: look at it again, and repeat the change if it is still right"
    )]
    Conflict {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// An update does not say what it has seen.
    #[error("{kind} {name} cannot be updated without metadata.revision: get it first")]
    NoRevision {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// What was asked for is not admitted.
    #[error("{kind} {name} is refused: {}", sentences(.reasons))]
    Refused {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Every reason that was found.
        reasons: Vec<Remark>,
    },
    /// There is no store where one should be.
    #[error("there is no store at {}", .path.display())]
    StoreMissing {
        /// Where.
        path: PathBuf,
    },
    /// Another process has the store.
    #[error("the store {} is in use by another process: one control has it at a time", .path.display())]
    StoreInUse {
        /// Which.
        path: PathBuf,
    },
    /// The disk has no room for what is to be written. It was not written; what was, stands.
    #[error("the disk of the store {} is full: nothing was changed; make room there, and try again", .path.display())]
    StoreFull {
        /// Which.
        path: PathBuf,
    },
    /// What the store holds cannot be what was written to it.
    #[error(
        "the store {} is damaged ({what}): stop control, move the file away and keep it, and restore the last backup \
         in its place: shoal restore store",
        .path.display()
    )]
    StoreDamaged {
        /// Which.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A newer Shoal made the store.
    #[error("the store {} has format {format}, and this program knows {known}: use a newer shoal", .path.display())]
    StoreNewer {
        /// Which.
        path: PathBuf,
        /// Its format.
        format: i64,
        /// The newest that is known.
        known: i64,
    },
    /// An object in a store that is whole cannot be understood.
    #[error("{kind} {name} in the store {} cannot be read: was it written by a newer shoal?", .path.display())]
    StoreObject {
        /// Which store.
        path: PathBuf,
        /// The kind, as written there.
        kind: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The operating system or SQLite refused in a way that has no name here.
    #[error("the store {} failed", .path.display())]
    StoreFailed {
        /// Which.
        path: PathBuf,
        /// In their words.
        source: rusqlite::Error,
    },
    /// A write failed before, so that nobody knows what the disk holds.
    #[error("the store {} takes no writes since one has failed ({reason}): look at the disk, and start control again", .path.display())]
    StoreBroken {
        /// Which.
        path: PathBuf,
        /// How it failed.
        reason: String,
    },
    /// The API cannot listen where it should.
    #[error("the API cannot listen at {address}: {why}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why, and what to do.
        why: String,
    },
    /// A runtime cannot say what runs.
    #[error(transparent)]
    Runtime(#[from] Refused),
    /// A file cannot be made, read or written.
    #[error("{}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// In the operating system's words.
        source: std::io::Error,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

fn sentences(reasons: &[Remark]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
