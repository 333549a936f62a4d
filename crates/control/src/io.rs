//! What waits, opens files and reads the clock.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where control waits, opens files and sockets, starts processes, and reads the clock"
)]

mod ask;
pub mod host;
pub mod http;
pub mod local;
mod private_file;
pub mod reconciler;
pub mod sqlite;
