//! One request from the front of a client's bytes: where it ends, and where its arguments are.
//!
//! ```text
//!   *2\r\n$3\r\nGET\r\n$1\r\nk\r\n          GET k\r\n
//!             └─┘       └─┘ spans          └─────┘ inline: rewritten first, by inline_to_multibulk
//! ```
//!
//! Reads what Redis 7.0 reads and refuses it in the same words, with one difference: both bytes of each
//! CRLF must be there, where Redis skips them unseen. Does not know commands, and copies no argument.

use memchr::memchr;

use crate::length::{self, Length};
use crate::{MAX_BULK, MAX_LINE, ProtocolError};

pub use inline::inline_to_multibulk;

mod inline;
#[cfg(test)]
mod tests;

/// Place of one argument in the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
}

impl Span {
    /// The argument itself. `bytes` must start where the parsed bytes did; spans of other bytes may
    /// panic.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// One whole request.
    Request {
        /// Bytes that it takes.
        len: usize,
        /// Whether it is an inline request, a line. Its arguments are not in `args`: rewrite the line
        /// by [`inline_to_multibulk`], and parse that.
        inline: bool,
    },
    /// Bytes that ask for nothing (a blank inline line, `*0`, `*-1`): skip them.
    Nothing {
        /// Their number.
        len: usize,
    },
    /// Not whole yet; `args` holds the arguments that are whole so far.
    Partial {
        /// Number of arguments announced; 0 if it is not known yet.
        declared: u32,
    },
}

/// How much one request may be.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Most arguments of one request.
    pub args: u32,
    /// Longest argument in bytes.
    pub bulk: u64,
    /// Longest inline request in bytes.
    pub inline: usize,
    /// Whether inline requests are read at all; Twemproxy refuses them.
    pub inline_allowed: bool,
}

impl Default for RequestLimits {
    /// Redis's own, but for `args`: Redis 7.0 takes up to 2^31 - 1, which no client sends.
    fn default() -> Self {
        Self { args: 1_048_576, bulk: MAX_BULK, inline: MAX_LINE, inline_allowed: true }
    }
}

/// How far an unfinished request has been read, so that no byte is read again when more have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    declared: u32,
    next: u32,
}

/// Parses one request (an array of bulk strings, or an inline request) from the front of `bytes`;
/// clears `args` first. An argument is whole when the CRLF after it is there.
///
/// # Errors
/// What Redis would refuse, in its words, and lines or arguments that don't end by CRLF.
#[inline]
pub fn parse_request(
    bytes: &[u8],
    limits: &RequestLimits,
    args: &mut Vec<Span>,
) -> Result<Parsed, ProtocolError> {
    resume_request(bytes, limits, &mut Progress::default(), args)
}

/// [`parse_request`], going on where the last call with the same `progress` and `args` stopped. `bytes`
/// are the same bytes with more behind them. Afterwards `progress` is at a request's start again, unless
/// the request is still partial.
///
/// # Errors
/// As [`parse_request`].
pub fn resume_request(
    bytes: &[u8],
    limits: &RequestLimits,
    progress: &mut Progress,
    args: &mut Vec<Span>,
) -> Result<Parsed, ProtocolError> {
    if progress.declared == 0 {
        args.clear();
        match bytes.first() {
            None => return Ok(Parsed::Partial { declared: 0 }),
            Some(b'*') => {}
            Some(_) => return inline::parse(bytes, limits),
        }
        let Some((value, next)) = multibulk_length(bytes)? else {
            return Ok(Parsed::Partial { declared: 0 });
        };
        if value > i64::from(limits.args) {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if value <= 0 {
            return Ok(Parsed::Nothing { len: next });
        }
        *progress = Progress { declared: value as u32, next: next as u32 };
    }
    let declared = progress.declared;
    while args.len() < declared as usize {
        let at = progress.next as usize;
        let Some((length, start)) = bulk_length(bytes, at)? else {
            return Ok(Parsed::Partial { declared });
        };
        if length < 0 || length as u64 > limits.bulk {
            return Err(ProtocolError::InvalidBulkLength);
        }
        let end = start as u64 + length as u64;
        let Ok(next) = u32::try_from(end + 2) else {
            return Err(ProtocolError::RequestTooLong);
        };
        let tail = bytes.get(end as usize..).unwrap_or_default();
        match tail {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(Parsed::Partial { declared }),
            _ => return Err(ProtocolError::ExpectedCrlf),
        }
        args.push(Span { start: start as u32, end: end as u32 });
        progress.next = next;
    }
    let len = progress.next as usize;
    *progress = Progress::default();
    Ok(Parsed::Request { len, inline: false })
}

/// The number after `*`, and where its line ends.
#[inline]
fn multibulk_length(bytes: &[u8]) -> Result<Option<(i64, usize)>, ProtocolError> {
    match length::read(bytes, 1) {
        Length::Whole { value, next } => Ok(Some((value, next))),
        _ if !line_is_whole(bytes, 0, ProtocolError::MultibulkCountTooLong)? => Ok(None),
        _ => Err(ProtocolError::InvalidMultibulkLength),
    }
}

/// The number after the `$` at `at`, and where its line ends.
#[inline]
fn bulk_length(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, ProtocolError> {
    if bytes.get(at) == Some(&b'$')
        && let Length::Whole { value, next } = length::read(bytes, at + 1)
    {
        return Ok(Some((value, next)));
    }
    if !line_is_whole(bytes, at, ProtocolError::BulkCountTooLong)? {
        return Ok(None);
    }
    match bytes[at] {
        b'$' => Err(ProtocolError::InvalidBulkLength),
        got => Err(ProtocolError::ExpectedBulk { got }),
    }
}

/// Whether a line with its CRLF starts at `at`. Redis judges a line only when it is whole, and so do
/// we: a client sees the same refusal, whatever its packets.
#[cold]
fn line_is_whole(bytes: &[u8], at: usize, too_long: ProtocolError) -> Result<bool, ProtocolError> {
    let line = bytes.get(at..).unwrap_or_default();
    match memchr(b'\r', line) {
        None if line.len() > MAX_LINE => Err(too_long),
        None => Ok(false),
        Some(end) => match line.get(end + 1) {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) => Err(ProtocolError::ExpectedCrlf),
        },
    }
}
