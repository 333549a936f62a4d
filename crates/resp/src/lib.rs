//! RESP2 and RESP3, bytes to frames and back, and the command table.
//!
//! ```text
//!   client ──▶ request::parse_request ──▶ spans of one request ──▶ command::lookup ──▶ keys, shards
//!   server ──▶ delimiter::Delimiter   ──▶ where a reply ends   ──▶ elements (only where replies join)
//!                                                       encode ──▶ replies that nobody sent us
//! ```
//!
//! Nothing here reads a socket, a clock or a random number, keeps bytes, or allocates for a frame on
//! the way of a request ([`frame`] does; it is for tests and cold paths). Input is hostile: it gets an
//! answer or a [`ProtocolError`], never a panic.

pub mod command;
pub mod delimiter;
pub mod elements;
pub mod encode;
mod error;
pub mod frame;
mod length;
pub mod request;

pub use command::{Command, CommandId, lookup, lookup_sub};
pub use delimiter::{Delimiter, Fed};
pub use elements::{Elements, elements};
pub use error::ProtocolError;
pub use frame::{Frame, parse_frame};
pub use request::{
    Parsed, Progress, RequestLimits, Span, inline_to_multibulk, parse_request, resume_request,
};

/// Longest bulk string in either direction, in bytes: Redis's default for `proto-max-bulk-len`.
pub const MAX_BULK: u64 = 512 * 1024 * 1024;

/// Longest line in bytes, without its type and its CRLF: simple strings, errors, numbers as text, and
/// inline requests. It is Redis's bound for an inline request.
pub const MAX_LINE: usize = 64 * 1024;

/// Most elements that one aggregate of a reply may announce (a map: pairs).
pub const MAX_ELEMENTS: u64 = u32::MAX as u64;

/// Deepest nesting of aggregates in a reply, attributes included.
pub const MAX_DEPTH: usize = 64;
