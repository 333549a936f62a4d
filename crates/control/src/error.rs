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
}
