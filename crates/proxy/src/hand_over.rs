//! Handing the listening sockets to the next process: what the two say to each other, without the sockets.
//!
//! ```text
//!   next process (Taker)                         running process (Giver)
//!       ── ask {pid, version} ──────────────────▶    refused by name if another one asked first
//!       ◀───────────── offer {pid, version, n} ──
//!       ◀─ socket {use, name, listen} × n ───────    each with its descriptor (SCM_RIGHTS)
//!   starts workers, connects upstreams, accepts
//!       ── ready {the sockets that it keeps} ───▶    stops accepting
//!       ◀───────────────────────────── yielded ──    drains, and ends
//! ```
//!
//! Invariant: until *ready* nothing has changed for the running process; whatever goes wrong before, it goes on. There is no
//! way back after *yielded*.
//!
//! Does not send, accept or match sockets (`io::hand_over` does), and knows no clock.

pub mod giver;
pub mod message;
pub mod taker;
#[cfg(test)]
mod tests;

pub use giver::Giver;
pub use message::{Decoder, Message, Offered, Use, VERSION, Who};
pub use taker::Taker;

/// Sockets that one process hands over at most; far above what a configuration has pools.
pub const SOCKETS_MAX: usize = 4096;

/// Why a hand-over failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The first bytes are not ours.
    #[error("what came is no hand-over of Shoal's")]
    NotShoal,
    /// The other side speaks another version of the format.
    #[error("the other process speaks version {theirs} of the hand-over, this one version {VERSION}")]
    Version {
        /// Theirs.
        theirs: u16,
    },
    /// A kind of message that this version does not have.
    #[error("a message of the unknown kind {0} came")]
    Kind(u16),
    /// The header announces more than any message has.
    #[error("a message of {length} bytes came, more than any has")]
    TooLong {
        /// Bytes announced.
        length: u32,
    },
    /// The connection ended in the middle of a message.
    #[error("the connection ended in the middle of a message")]
    Truncated,
    /// The connection ended between messages, before all was said.
    #[error("the other process closed the connection while {waiting_for} was waited for")]
    Closed {
        /// What should have come.
        waiting_for: &'static str,
    },
    /// A message's inside is not what its kind has.
    #[error("a message `{0}` came that is not put together as such a one")]
    Malformed(&'static str),
    /// A message that has no place at this point.
    #[error("a message `{came}` came while {waiting_for} was waited for")]
    Unexpected {
        /// Its kind.
        came: &'static str,
        /// What should have come.
        waiting_for: &'static str,
    },
    /// The descriptors that came are not as many as were announced.
    #[error("{promised} sockets were announced, and {came} came")]
    Sockets {
        /// Announced.
        promised: usize,
        /// Received.
        came: usize,
    },
    /// The other process refused, in its words.
    #[error("the running process refuses: {0}")]
    Refused(String),
}
