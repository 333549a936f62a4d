//! Where frames end in a stream that comes in pieces.
//!
//! ```text
//!   *2\r\n  $5\r\n  hello\r\n  :1\r\n        type byte ─▶ Length ─▶ Body ─┐
//!   └ level 1: 2 to come    └─ 1   └─ 0       │  └─────▶ Line ────────────┴─▶ element ends ─▶ level above
//! ```
//!
//! Keeps no bytes of the stream but a length line that a piece cuts. Checks the shape, not the sense:
//! whether `:x` is an integer or `#y` a boolean is for those who look inside. Bodies of bulk strings are
//! skipped unseen, their CRLF alone is looked at.

use memchr::memchr;

use crate::length::{self, Length};
use crate::{MAX_BULK, MAX_DEPTH, MAX_ELEMENTS, MAX_LINE, ProtocolError};

#[cfg(test)]
mod tests;

/// Set in the kind of a frame before which an attribute stands: no type has this bit.
pub const ATTRIBUTED: u8 = 0x80;

/// Finds where frames of any RESP2 or RESP3 type end in a stream that comes in pieces, in either
/// direction. After an error it has lost the stream, and is of no more use.
#[derive(Clone, Debug)]
pub struct Delimiter {
    /// First byte of the frame (`|` until the reply behind an attribute begins, then that one's with [`ATTRIBUTED`]); 0 if fresh.
    kind: u8,
    within: Within,
    depth: usize,
    levels: [Level; MAX_DEPTH],
}

/// What [`Delimiter::feed`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The frame that was being read ends; the delimiter is fresh again.
    Frame {
        /// It ends after so many of the bytes given.
        len: usize,
        /// Its first byte; for an attribute with its reply, which are one frame, that of the reply with [`ATTRIBUTED`].
        kind: u8,
    },
    /// All bytes given belong to the frame, which goes on.
    Partial,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Within {
    /// It is the type of an element.
    Type,
    /// The line of text behind `kind`, of which `seen` bytes went by, the last of them a CR if `cr`.
    Line { kind: u8, seen: usize, cr: bool },
    /// The length behind `kind`, whose first bytes are `text[..seen]`.
    Length { kind: u8, seen: u8, text: [u8; length::LONGEST] },
    /// The body of a bulk string; `left` bytes are to come, with the CRLF.
    Body { left: u64 },
}

/// One aggregate that is being read.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// So many elements are to come, at least one.
    Counted(u64),
    /// The same in an attribute, which doesn't count as an element of what it stands in.
    Attribute(u64),
    /// Elements until `.` comes.
    Streamed,
    /// Chunks of a streamed string until an empty one comes.
    Chunks,
}

impl Default for Delimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl Delimiter {
    /// One that stands at the start of a frame.
    pub const fn new() -> Self {
        Self { kind: 0, within: Within::Type, depth: 0, levels: [Level::Streamed; MAX_DEPTH] }
    }

    /// Takes the next bytes of the stream, at least one, and stops at the end of a frame.
    ///
    /// # Errors
    /// A byte that is no type, a wrong length, a missing CRLF, or more than [`MAX_BULK`],
    /// [`MAX_ELEMENTS`], [`MAX_LINE`] or [`MAX_DEPTH`] allow.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, ProtocolError> {
        if self.kind == 0
            && let Some(len) = whole_leaf(bytes)
        {
            return Ok(Fed::Frame { len, kind: bytes[0] });
        }
        self.walk(bytes)
    }

    /// Whether the next byte starts a frame.
    pub const fn is_fresh(&self) -> bool {
        self.kind == 0
    }

    /// Bytes of the bulk string being read that are still to come, its CRLF included; 0 otherwise.
    pub const fn bulk_remaining(&self) -> u64 {
        match self.within {
            Within::Body { left } => left,
            _ => 0,
        }
    }

    /// Tells that `n` bytes of a bulk string's body went by without being fed (spliced, say). Its CRLF
    /// must be fed: `n` is at most [`Self::bulk_remaining`] less 2, and what is above that is ignored.
    /// Returns how many bytes were taken.
    pub fn skip_body(&mut self, n: u64) -> u64 {
        match &mut self.within {
            Within::Body { left } => {
                let taken = n.min(left.saturating_sub(2));
                *left -= taken;
                taken
            }
            _ => 0,
        }
    }

    /// First byte of the frame under way (`|` while it is but an attribute, afterwards with [`ATTRIBUTED`]), 0 if fresh.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    fn walk(&mut self, bytes: &[u8]) -> Result<Fed, ProtocolError> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let ended = match self.within {
                Within::Type => {
                    self.begin(byte)?;
                    if let Some(len) = whole_leaf(&bytes[at..]) {
                        self.within = Within::Type;
                        at += len;
                        true
                    } else {
                        at += 1;
                        false
                    }
                }
                Within::Line { kind, seen, cr } => {
                    let rest = &bytes[at..];
                    let limit = if kind == b'.' { 0 } else { MAX_LINE };
                    let end = line_end(rest, cr);
                    let taken = end.unwrap_or(rest.len());
                    let seen = seen + taken;
                    let cr = rest.ends_with(b"\r");
                    let text = if end.is_some() { seen - 2 } else { seen - usize::from(cr) };
                    if text > limit {
                        return Err(ProtocolError::LineTooLong);
                    }
                    at += taken;
                    if end.is_some() {
                        self.within = Within::Type;
                        self.depth -= usize::from(kind == b'.');
                    } else {
                        self.within = Within::Line { kind, seen, cr };
                    }
                    end.is_some()
                }
                Within::Length { kind, seen: 0, .. } => {
                    let length = length::read(bytes, at);
                    if length == Length::Partial {
                        let cut = &bytes[at..];
                        let mut text = [0; length::LONGEST];
                        text[..cut.len()].copy_from_slice(cut);
                        self.within = Within::Length { kind, seen: cut.len() as u8, text };
                        return Ok(Fed::Partial);
                    }
                    if let Length::Whole { next, .. } | Length::Streamed { next } = length {
                        at = next;
                    }
                    self.announced(kind, length)?
                }
                // A length that was cut goes on: byte by byte, until it is whole.
                Within::Length { kind, seen, mut text } => {
                    at += 1;
                    let place = usize::from(seen);
                    *text.get_mut(place).ok_or(ProtocolError::InvalidLength)? = byte;
                    let length = length::read(&text[..=place], 0);
                    if length == Length::Partial {
                        self.within = Within::Length { kind, seen: seen + 1, text };
                        false
                    } else {
                        self.announced(kind, length)?
                    }
                }
                Within::Body { left } => {
                    let (taken, left) = body(&bytes[at..], left)?;
                    at += taken;
                    self.within = if left == 0 { Within::Type } else { Within::Body { left } };
                    left == 0
                }
            };
            if ended && self.element_ended() {
                let kind = self.kind;
                self.kind = 0;
                return Ok(Fed::Frame { len: at, kind });
            }
        }
        Ok(Fed::Partial)
    }

    /// An element whose type is `kind` begins.
    fn begin(&mut self, kind: u8) -> Result<(), ProtocolError> {
        let level = self.depth.checked_sub(1).map(|above| self.levels[above]);
        let chunk = matches!(level, Some(Level::Chunks));
        self.within = match kind {
            b'.' if matches!(level, Some(Level::Streamed)) => Within::Line { kind, seen: 0, cr: false },
            _ if chunk != (kind == b';') => return Err(ProtocolError::UnexpectedType { got: kind }),
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => Within::Line { kind, seen: 0, cr: false },
            b'$' | b'=' | b'!' | b';' | b'*' | b'%' | b'~' | b'>' | b'|' => {
                Within::Length { kind, seen: 0, text: [0; length::LONGEST] }
            }
            got => return Err(ProtocolError::UnexpectedType { got }),
        };
        if self.depth == 0 {
            self.kind = if self.kind == b'|' && kind != b'|' { kind | ATTRIBUTED } else { kind };
        }
        Ok(())
    }

    /// What is behind an element's type `kind` is known. Whether the element ends with it.
    fn announced(&mut self, kind: u8, length: Length) -> Result<bool, ProtocolError> {
        self.within = Within::Type;
        let value = match length {
            Length::Whole { value: -1, .. } if matches!(kind, b'$' | b'*') => return Ok(true),
            Length::Whole { value, .. } => u64::try_from(value).map_err(|_| ProtocolError::InvalidLength)?,
            Length::Streamed { .. } => match kind {
                b'$' => return self.enter(Level::Chunks),
                b'*' | b'%' | b'~' => return self.enter(Level::Streamed),
                _ => return Err(ProtocolError::InvalidLength),
            },
            Length::Partial | Length::Bad => return Err(ProtocolError::InvalidLength),
        };
        match kind {
            b'$' | b'=' | b'!' | b';' if value > MAX_BULK => Err(ProtocolError::BulkTooLong),
            // The empty chunk ends a streamed string, and has no body.
            b';' if value == 0 => {
                self.depth -= 1;
                Ok(true)
            }
            b'$' | b'=' | b'!' | b';' => {
                self.within = Within::Body { left: value + 2 };
                Ok(false)
            }
            _ if value > MAX_ELEMENTS => Err(ProtocolError::TooManyElements),
            // An empty attribute describes what follows all the same; other empty aggregates are over.
            _ if value == 0 => Ok(kind != b'|'),
            b'|' => self.enter(Level::Attribute(value * 2)),
            b'%' => self.enter(Level::Counted(value * 2)),
            _ => self.enter(Level::Counted(value)),
        }
    }

    fn enter(&mut self, level: Level) -> Result<bool, ProtocolError> {
        *self.levels.get_mut(self.depth).ok_or(ProtocolError::TooDeep)? = level;
        self.depth += 1;
        Ok(false)
    }

    /// An element ended, and whatever ends with it. Whether that is the frame.
    fn element_ended(&mut self) -> bool {
        while let Some(above) = self.depth.checked_sub(1) {
            match &mut self.levels[above] {
                Level::Counted(left) => {
                    *left -= 1;
                    if *left > 0 {
                        return false;
                    }
                    self.depth = above;
                }
                Level::Attribute(left) => {
                    *left -= 1;
                    if *left == 0 {
                        self.depth = above;
                    }
                    // What it describes is still to come.
                    return false;
                }
                Level::Streamed | Level::Chunks => return false,
            }
        }
        true
    }
}

/// Length of the element at the front of `bytes` if it is a line or a bulk string and whole. None says
/// nothing: the long way tells what it is.
#[inline]
pub(crate) fn whole_leaf(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'$' | b'=' | b'!' => {
            let Length::Whole { value, next } = length::read(bytes, 1) else {
                return None;
            };
            if value < 0 {
                return (value == -1 && bytes[0] == b'$').then_some(next);
            }
            if value as u64 > MAX_BULK {
                return None;
            }
            let end = next + value as usize;
            (bytes.get(end..end + 2)? == b"\r\n").then_some(end + 2)
        }
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
            let end = line_end(&bytes[1..], false)?;
            (end - 2 <= MAX_LINE).then_some(end + 1)
        }
        _ => None,
    }
}

/// Where the first CRLF ends, if there is one; `cr` tells that a CR stands before `bytes`. A CR or LF
/// alone is text, as clients take it.
#[inline]
fn line_end(bytes: &[u8], cr: bool) -> Option<usize> {
    let mut from = 0;
    loop {
        let lf = from + memchr(b'\n', &bytes[from..])?;
        if if lf == 0 { cr } else { bytes[lf - 1] == b'\r' } {
            return Some(lf + 1);
        }
        from = lf + 1;
    }
}

/// Takes what `bytes` hold of a body with `left` bytes to come, CRLF included: bytes taken, bytes left.
#[inline]
fn body(bytes: &[u8], left: u64) -> Result<(usize, u64), ProtocolError> {
    let taken = left.min(bytes.len() as u64) as usize;
    let rest = left - taken as u64;
    // The CR is the last byte but one, the LF the last.
    let cr = (left >= 2).then(|| left - 2).and_then(|at| bytes[..taken].get(usize::try_from(at).ok()?));
    let lf = (rest == 0).then(|| bytes[taken - 1]);
    if cr.is_some_and(|byte| *byte != b'\r') || lf.is_some_and(|byte| byte != b'\n') {
        return Err(ProtocolError::ExpectedCrlf);
    }
    Ok((taken, rest))
}
