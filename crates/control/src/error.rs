//! What goes wrong here, in one enum.

use crate::resource::Kind;

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
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
