//! The elements of one whole aggregate, as raw bytes: for replies that are joined without being read.
//!
//! Does not allocate, and does not look into the elements.

use crate::delimiter::{self, Delimiter, Fed};
use crate::length::{self, Length};
use crate::{MAX_ELEMENTS, ProtocolError};

/// Iterates over the elements of one whole frame (`*`, `~`, `>`, or `%`, whose pairs are two elements
/// each). Attributes before the aggregate are skipped; those before an element belong to its bytes.
///
/// # Errors
/// [`ProtocolError::NotAnAggregate`] if `frame` is of another type or its first line is cut, and whatever
/// is wrong with the attributes.
pub fn elements(frame: &[u8]) -> Result<Elements<'_>, ProtocolError> {
    let rest = behind_attributes(frame)?;
    let pairs = match rest.first() {
        Some(b'*' | b'~' | b'>') => 1,
        Some(b'%') => 2,
        _ => return Err(ProtocolError::NotAnAggregate),
    };
    let null = Elements { rest: &[], left: 0, declared: 0, streamed: false, null: true };
    match length::read(rest, 1) {
        Length::Whole { value: -1, next } if rest[0] == b'*' && next == rest.len() => Ok(null),
        Length::Whole { value, next } if (0..=MAX_ELEMENTS as i64).contains(&value) => {
            let declared = value as usize * pairs;
            Ok(Elements { rest: &rest[next..], left: declared, declared, streamed: false, null: false })
        }
        Length::Streamed { next } if rest[0] != b'>' => {
            let streamed =
                Elements { rest: &rest[next..], left: usize::MAX, declared: 0, streamed: true, null: false };
            // Their number isn't announced: they are counted, once.
            let declared = streamed.clone().take_while(Result::is_ok).count();
            Ok(Elements { declared, ..streamed })
        }
        _ => Err(ProtocolError::NotAnAggregate),
    }
}

/// The elements of an aggregate that are still to come; see [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'b> {
    rest: &'b [u8],
    left: usize,
    declared: usize,
    streamed: bool,
    null: bool,
}

impl Elements<'_> {
    /// Number of elements that the aggregate has as a whole.
    pub const fn declared(&self) -> usize {
        self.declared
    }

    /// Whether it is RESP2's null array, `*-1`.
    pub const fn is_null(&self) -> bool {
        self.null
    }

    const fn is_done(&self) -> bool {
        self.left == 0
    }
}

impl<'b> Iterator for Elements<'b> {
    /// The raw bytes of one element. After an error there are no more.
    type Item = Result<&'b [u8], ProtocolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.streamed && !self.is_done() && self.rest.starts_with(b".\r\n") {
            self.rest = &self.rest[3..];
            self.left = 0;
        }
        if self.is_done() {
            // The frame was promised to be one: what is behind its last element was lost track of.
            let behind = !std::mem::take(&mut self.rest).is_empty();
            return behind.then_some(Err(ProtocolError::NotAnAggregate));
        }
        match element(self.rest) {
            Ok(len) => {
                let (element, rest) = self.rest.split_at(len);
                self.rest = rest;
                self.left -= 1;
                Some(Ok(element))
            }
            Err(error) => {
                self.left = 0;
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Length of the element at the front of `bytes`.
#[inline]
fn element(bytes: &[u8]) -> Result<usize, ProtocolError> {
    if let Some(len) = delimiter::whole_leaf(bytes) {
        return Ok(len);
    }
    if bytes.is_empty() {
        return Err(ProtocolError::NotAnAggregate);
    }
    match Delimiter::new().feed(bytes)? {
        Fed::Frame { len, .. } => Ok(len),
        Fed::Partial => Err(ProtocolError::NotAnAggregate),
    }
}

/// What follows the attributes at the front of `bytes`, which must be whole; the reply that they describe need not.
///
/// # Errors
/// Whatever is wrong with the attributes, or that one is cut.
pub fn behind_attributes(bytes: &[u8]) -> Result<&[u8], ProtocolError> {
    let mut rest = bytes;
    while rest.first() == Some(&b'|') {
        rest = after_attribute(rest)?;
    }
    Ok(rest)
}

/// What follows the attribute at the front of `bytes`.
fn after_attribute(bytes: &[u8]) -> Result<&[u8], ProtocolError> {
    let Length::Whole { value, next } = length::read(bytes, 1) else {
        return Err(ProtocolError::NotAnAggregate);
    };
    let mut rest = &bytes[next..];
    for _ in 0..value.saturating_mul(2) {
        rest = &rest[element(rest)?..];
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frame: &str) -> Result<Vec<String>, ProtocolError> {
        elements(frame.as_bytes())?
            .map(|element| element.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
            .collect()
    }

    #[test]
    fn gives_the_raw_bytes_of_each_element() {
        for (frame, expected) in [
            ("*0\r\n", vec![]),
            ("*-1\r\n", vec![]),
            ("*3\r\n$1\r\na\r\n$-1\r\n:7\r\n", vec!["$1\r\na\r\n", "$-1\r\n", ":7\r\n"]),
            ("~1\r\n*2\r\n+a\r\n+b\r\n", vec!["*2\r\n+a\r\n+b\r\n"]),
            ("%1\r\n+a\r\n#t\r\n", vec!["+a\r\n", "#t\r\n"]),
            (">2\r\n+message\r\n_\r\n", vec!["+message\r\n", "_\r\n"]),
            ("|1\r\n+ttl\r\n:3\r\n*1\r\n+a\r\n", vec!["+a\r\n"]),
            ("|1\r\n+ttl\r\n:3\r\n|0\r\n*0\r\n", vec![]),
            ("*2\r\n|1\r\n+ttl\r\n:3\r\n+a\r\n+b\r\n", vec!["|1\r\n+ttl\r\n:3\r\n+a\r\n", "+b\r\n"]),
            ("*?\r\n:1\r\n*1\r\n:2\r\n.\r\n", vec![":1\r\n", "*1\r\n:2\r\n"]),
            ("*1\r\n$?\r\n;1\r\na\r\n;0\r\n", vec!["$?\r\n;1\r\na\r\n;0\r\n"]),
        ] {
            assert_eq!(all(frame).unwrap(), expected, "{frame:?}");
            assert_eq!(elements(frame.as_bytes()).unwrap().declared(), expected.len(), "{frame:?}");
        }
        assert!(elements(b"*-1\r\n").unwrap().is_null());
        assert!(!elements(b"*0\r\n").unwrap().is_null());
    }

    #[test]
    fn refuses_what_is_not_one_whole_aggregate() {
        for frame in [
            "",
            "+OK\r\n",
            "$1\r\na\r\n",
            "*",
            "*1",
            "*x\r\n",
            "%-1\r\n",
            "*1\r\n",
            "*2\r\n+a\r\n",
            "*1\r\n+a\r\n+b\r\n",
            "*0\r\n:1\r\n",
            "*-1\r\n:1\r\n",
            "*?\r\n:1\r\n",
            "*1\r\n$5\r\nab\r\n",
            "|",
            "|1\r\n+a\r\n",
            "|1\r\n+a\r\n+b\r\n",
            "|9223372036854775807\r\n+a\r\n",
            "*4294967295\r\n+a\r\n",
        ] {
            assert!(all(frame).is_err(), "{frame:?}");
        }
    }
}
