//! What the repository holds itself to: the arrows of ARCHITECTURE.md, the licences and sources of deny.toml, its
//! words, and the fuzz corpora, which are replayed.
//!
//! Needs cargo and the files, no server and no network.

mod arrows;
mod corpus;
mod dependencies;
mod metadata;
mod words;
