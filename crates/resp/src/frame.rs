//! One frame as a tree, for tests and cold paths (`INFO`, `CLUSTER SLOTS`): each aggregate allocates.
//!
//! Checks the sense as well as the shape: an integer is one, a map of unknown length has pairs.

use memchr::memmem;

use crate::length::{self, Length};
use crate::{MAX_BULK, MAX_DEPTH, MAX_ELEMENTS, MAX_LINE, ProtocolError};

#[cfg(test)]
mod tests;

/// One frame; text is borrowed from the bytes it was parsed from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Frame<'b> {
    /// `+`
    Simple(&'b [u8]),
    /// `-`, the code included.
    Error(&'b [u8]),
    /// `:`
    Integer(i64),
    /// `$`
    Bulk(&'b [u8]),
    /// `$?`: a bulk string in chunks, which no server sends.
    Chunks(Vec<&'b [u8]>),
    /// `_`, or RESP2's `$-1` and `*-1`.
    Null,
    /// `*`
    Array(Vec<Frame<'b>>),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `!`, the code included.
    BulkError(&'b [u8]),
    /// `=`
    Verbatim {
        /// Three letters that tell how to show it: `txt`, `mkd`.
        format: &'b [u8],
        /// The text itself.
        text: &'b [u8],
    },
    /// `(`: an integer of any size, as its digits.
    BigNumber(&'b [u8]),
    /// `%`
    Map(Vec<(Frame<'b>, Frame<'b>)>),
    /// `~`
    Set(Vec<Frame<'b>>),
    /// `>`: its first element tells the kind.
    Push(Vec<Frame<'b>>),
    /// `|`, with the frame that it describes.
    Attributed {
        /// What is told about the frame; of all attributes, if there are several.
        attributes: Vec<(Frame<'b>, Frame<'b>)>,
        /// The frame itself.
        frame: Box<Frame<'b>>,
    },
}

impl<'b> Frame<'b> {
    /// The text of a simple, bulk or verbatim string.
    pub const fn as_text(&self) -> Option<&'b [u8]> {
        match self {
            Self::Simple(text) | Self::Bulk(text) | Self::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn as_elements(&self) -> Option<&[Frame<'b>]> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Parses the frame at the front of `bytes`; with it comes the number of bytes that it takes. None if it
/// isn't whole yet (finding that out again and again costs each time: a [`crate::Delimiter`] doesn't).
///
/// # Errors
/// If the bytes are no RESP, or more than the crate's limits allow.
pub fn parse_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, ProtocolError> {
    let mut parser = Parser { bytes, at: 0 };
    match parser.frame(0) {
        Ok(frame) => Ok(Some((frame, parser.at))),
        Err(Stop::Partial) => Ok(None),
        Err(Stop::Wrong(error)) => Err(error),
    }
}

struct Parser<'b> {
    bytes: &'b [u8],
    at: usize,
}

enum Stop {
    Partial,
    Wrong(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Wrong(error)
    }
}

impl<'b> Parser<'b> {
    /// The frame at the cursor, inside `depth` aggregates.
    fn frame(&mut self, depth: usize) -> Result<Frame<'b>, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Partial)?;
        self.at += 1;
        Ok(match kind {
            b'+' => Frame::Simple(self.line()?),
            b'-' => Frame::Error(self.line()?),
            b':' => Frame::Integer(integer(self.line()?)?),
            b'_' => match self.line()? {
                b"" => Frame::Null,
                _ => return Err(ProtocolError::InvalidValue.into()),
            },
            b'#' => match self.line()? {
                b"t" => Frame::Boolean(true),
                b"f" => Frame::Boolean(false),
                _ => return Err(ProtocolError::InvalidValue.into()),
            },
            b',' => Frame::Double(double(self.line()?)?),
            b'(' => Frame::BigNumber(big_number(self.line()?)?),
            b'$' => match self.length(kind)? {
                Announced::Null => Frame::Null,
                Announced::Streamed => Frame::Chunks(self.chunks(depth)?),
                Announced::Elements(len) => Frame::Bulk(self.body(len)?),
            },
            b'!' => Frame::BulkError(self.text(kind)?),
            b'=' => verbatim(self.text(kind)?)?,
            b'*' => match self.length(kind)? {
                Announced::Null => Frame::Null,
                announced => Frame::Array(self.elements(announced, depth)?),
            },
            b'~' => {
                let announced = self.length(kind)?;
                Frame::Set(self.elements(announced, depth)?)
            }
            b'>' => {
                let announced = self.length(kind)?;
                Frame::Push(self.elements(announced, depth)?)
            }
            b'%' => {
                let announced = self.length(kind)?;
                Frame::Map(self.pairs(announced, depth)?)
            }
            b'|' => {
                let announced = self.length(kind)?;
                let mut attributes = self.pairs(announced, depth)?;
                // Many in a row are one: they must not nest the tree deeper than the limit.
                while self.bytes.get(self.at) == Some(&b'|') {
                    self.at += 1;
                    let announced = self.length(b'|')?;
                    attributes.extend(self.pairs(announced, depth)?);
                }
                Frame::Attributed { attributes, frame: Box::new(self.frame(depth)?) }
            }
            got => return Err(ProtocolError::UnexpectedType { got }.into()),
        })
    }

    fn elements(&mut self, announced: Announced, depth: usize) -> Result<Vec<Frame<'b>>, Stop> {
        let mut elements = self.room(&announced, depth)?;
        while !self.are_over(&announced, elements.len())? {
            elements.push(self.frame(depth + 1)?);
        }
        Ok(elements)
    }

    fn pairs(&mut self, announced: Announced, depth: usize) -> Result<Vec<(Frame<'b>, Frame<'b>)>, Stop> {
        let mut pairs = self.room(&announced, depth)?;
        while !self.are_over(&announced, pairs.len())? {
            let key = self.frame(depth + 1)?;
            pairs.push((key, self.frame(depth + 1)?));
        }
        Ok(pairs)
    }

    fn chunks(&mut self, depth: usize) -> Result<Vec<&'b [u8]>, Stop> {
        let mut chunks = self.room(&Announced::Streamed, depth)?;
        loop {
            match *self.bytes.get(self.at).ok_or(Stop::Partial)? {
                b';' => self.at += 1,
                got => return Err(ProtocolError::UnexpectedType { got }.into()),
            }
            match self.length(b';')? {
                Announced::Elements(0) => return Ok(chunks),
                Announced::Elements(len) => chunks.push(self.body(len)?),
                _ => return Err(ProtocolError::InvalidLength.into()),
            }
        }
    }

    /// Room for as many elements as are announced, but not for more than the bytes can hold.
    fn room<T>(&self, announced: &Announced, depth: usize) -> Result<Vec<T>, Stop> {
        match *announced {
            Announced::Elements(0) => Ok(Vec::new()),
            _ if depth >= MAX_DEPTH => Err(ProtocolError::TooDeep.into()),
            Announced::Elements(n) => {
                // No element is shorter than `_\r\n`; and what is large may as well grow.
                let holds = (self.bytes.len() - self.at) / 3;
                Ok(Vec::with_capacity(n.min(holds).min(1024)))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn are_over(&mut self, announced: &Announced, taken: usize) -> Result<bool, Stop> {
        match *announced {
            Announced::Elements(n) => Ok(taken == n),
            Announced::Null => Ok(true),
            Announced::Streamed => match self.bytes.get(self.at).ok_or(Stop::Partial)? {
                // No text may stand behind it, which shows before the line has ended.
                b'.' => match &self.bytes[self.at + 1..] {
                    [b'\r', b'\n', ..] => {
                        self.at += 3;
                        Ok(true)
                    }
                    [] | [b'\r'] => Err(Stop::Partial),
                    _ => Err(ProtocolError::LineTooLong.into()),
                },
                _ => Ok(false),
            },
        }
    }

    fn length(&mut self, kind: u8) -> Result<Announced, Stop> {
        let length = length::read(self.bytes, self.at);
        if let Length::Whole { next, .. } | Length::Streamed { next } = length {
            self.at = next;
        }
        let (limit, excess) = match kind {
            b'$' | b'!' | b'=' | b';' => (MAX_BULK, ProtocolError::BulkTooLong),
            _ => (MAX_ELEMENTS, ProtocolError::TooManyElements),
        };
        match length {
            Length::Partial => Err(Stop::Partial),
            Length::Whole { value: -1, .. } if matches!(kind, b'$' | b'*') => Ok(Announced::Null),
            Length::Whole { value, .. } => match u64::try_from(value) {
                Ok(value) if value > limit => Err(excess.into()),
                Ok(value) => Ok(Announced::Elements(value as usize)),
                Err(_) => Err(ProtocolError::InvalidLength.into()),
            },
            Length::Streamed { .. } if matches!(kind, b'$' | b'*' | b'%' | b'~') => Ok(Announced::Streamed),
            Length::Streamed { .. } | Length::Bad => Err(ProtocolError::InvalidLength.into()),
        }
    }

    /// The body of a `!` or `=`, which is never null or streamed.
    fn text(&mut self, kind: u8) -> Result<&'b [u8], Stop> {
        match self.length(kind)? {
            Announced::Elements(len) => self.body(len),
            _ => Err(ProtocolError::InvalidLength.into()),
        }
    }

    fn body(&mut self, len: usize) -> Result<&'b [u8], Stop> {
        let rest = &self.bytes[self.at..];
        match rest.get(len..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {
                self.at += len + 2;
                Ok(&rest[..len])
            }
            [] | [b'\r'] => Err(Stop::Partial),
            _ => Err(ProtocolError::ExpectedCrlf.into()),
        }
    }

    fn line(&mut self) -> Result<&'b [u8], Stop> {
        let rest = &self.bytes[self.at..];
        match memmem::find(rest, b"\r\n") {
            Some(end) if end > MAX_LINE => Err(ProtocolError::LineTooLong.into()),
            // A CR at the very end may yet be the end's.
            None if rest.strip_suffix(b"\r").unwrap_or(rest).len() > MAX_LINE => {
                Err(ProtocolError::LineTooLong.into())
            }
            Some(end) => {
                self.at += end + 2;
                Ok(&rest[..end])
            }
            None => Err(Stop::Partial),
        }
    }
}

/// What a length line says.
enum Announced {
    Null,
    Elements(usize),
    Streamed,
}

fn integer(text: &[u8]) -> Result<i64, ProtocolError> {
    parsed(text)
}

fn double(text: &[u8]) -> Result<f64, ProtocolError> {
    // Servers pass on what their C library prints: Rust reads `-nan`, `inf` and `infinity` alike.
    parsed(text)
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, ProtocolError> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(ProtocolError::InvalidValue)
}

fn big_number(text: &[u8]) -> Result<&[u8], ProtocolError> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ProtocolError::InvalidValue);
    }
    Ok(text)
}

fn verbatim(text: &[u8]) -> Result<Frame<'_>, ProtocolError> {
    match text.split_at_checked(4) {
        Some((head, text)) if head[3] == b':' => Ok(Frame::Verbatim { format: &head[..3], text }),
        _ => Err(ProtocolError::InvalidValue),
    }
}
