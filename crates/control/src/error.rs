//! What goes wrong here, in one enum.

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
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
