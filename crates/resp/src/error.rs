//! What can be wrong with bytes that claim to be RESP.

use thiserror::Error;

/// Bytes that are no RESP, or more than the limits allow. The stream can't be read on from there.
///
/// Where Redis 7.0 refuses the same request, `Display` is its text, so that `-ERR {error}` is the very
/// reply that a client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A request's `*` isn't followed by a number, or by one above the limit.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// A request's `$` isn't followed by a number, or by a negative one or one above the limit.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument of a request doesn't start with `$` but with this byte. (CR and LF print as blanks,
    /// as in Redis; bytes above 0x7f print as Latin-1.)
    #[error("Protocol error: expected '$', got '{}'", printable(*.got))]
    ExpectedBulk {
        /// The byte in the place of `$`.
        got: u8,
    },
    /// No end of a request's `*` line within 64 KiB.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkCountTooLong,
    /// No end of a request's `$` line within 64 KiB.
    #[error("Protocol error: too big bulk count string")]
    BulkCountTooLong,
    /// No end of an inline request within the limit.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// A quote of an inline request isn't closed, or is followed by something else than a blank.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A record of a TLS handshake where a request begins.
    #[error("Protocol error: this port does not speak TLS")]
    Tls,
    /// An inline request where [`crate::RequestLimits::inline_allowed`] is off.
    #[error("Protocol error: inline requests are not allowed")]
    InlineRefused,
    /// A request of 4 GiB or more as a whole.
    #[error("Protocol error: too big request")]
    RequestTooLong,
    /// Something else where a line or a bulk string must end by CR LF. (Redis looks at neither byte.)
    #[error("Protocol error: expected CRLF")]
    ExpectedCrlf,
    /// A frame starts with a byte that is no type of RESP3, or not one that may stand there.
    #[error("Protocol error: unexpected type byte 0x{got:02x}")]
    UnexpectedType {
        /// The byte in the place of a type.
        got: u8,
    },
    /// A length or count of a reply is no number, or negative where no null is possible.
    #[error("Protocol error: invalid length")]
    InvalidLength,
    /// A bulk string longer than [`crate::MAX_BULK`].
    #[error("Protocol error: too long bulk string")]
    BulkTooLong,
    /// An aggregate of more than [`crate::MAX_ELEMENTS`] elements.
    #[error("Protocol error: too many elements")]
    TooManyElements,
    /// A line longer than [`crate::MAX_LINE`].
    #[error("Protocol error: too long line")]
    LineTooLong,
    /// Aggregates nested deeper than [`crate::MAX_DEPTH`].
    #[error("Protocol error: too deep nesting")]
    TooDeep,
    /// A number, boolean, double or verbatim string whose text isn't one.
    #[error("Protocol error: invalid value")]
    InvalidValue,
    /// A frame that must be whole and an aggregate is cut short, goes on, or isn't an aggregate.
    #[error("Protocol error: not one whole aggregate")]
    NotAnAggregate,
}

fn printable(byte: u8) -> char {
    match byte {
        b'\r' | b'\n' => ' ',
        other => char::from(other),
    }
}
