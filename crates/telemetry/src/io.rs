//! What waits, and reads the clock.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "io may wait and read the clock")]

pub mod http;
