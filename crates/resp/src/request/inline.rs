//! Inline requests: a line of words, quoted where they hold blanks, as people type them into telnet.
//!
//! Does what Redis's `sdssplitargs` does, except with a NUL, which is a byte like any other here (Redis
//! never sees the end of such a line, and waits for it for ever).

use memchr::memchr;

use super::{Parsed, RequestLimits};
use crate::{ProtocolError, encode};

/// The first byte of a TLS connection, and of no command that anybody types.
const TLS_HANDSHAKE: u8 = 0x16;

/// Finds the line at the front of `bytes`, which doesn't start with `*`.
pub(super) fn parse(bytes: &[u8], limits: &RequestLimits) -> Result<Parsed, ProtocolError> {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        // A line may be long in coming, and a client that waits for a handshake must not.
        return Err(ProtocolError::Tls);
    }
    if !limits.inline_allowed {
        return Err(ProtocolError::InlineRefused);
    }
    match memchr(b'\n', bytes) {
        // Redis looks at the bound only while the end is missing, so that packets decide about lines a
        // little above it. Ours holds either way.
        Some(end) if end > limits.inline + 1 => Err(ProtocolError::InlineTooLong),
        None if bytes.len() > limits.inline + 1 => Err(ProtocolError::InlineTooLong),
        Some(end) if bytes[..end].iter().copied().all(is_blank) => Ok(Parsed::Nothing { len: end + 1 }),
        Some(end) => Ok(Parsed::Request { len: end + 1, inline: true }),
        None => Ok(Parsed::Partial { declared: 0 }),
    }
}

/// Appends the request of an inline `line` (its line end may be there or not) to `out`, as an array of
/// bulk strings; nothing if the line is blank.
///
/// Words are separated by blanks. `"…"` takes the escapes `\n \r \t \b \a \xhh` and `\` before any other
/// byte; `'…'` takes `\'` alone.
///
/// # Errors
/// [`ProtocolError::UnbalancedQuotes`] if a quote isn't closed, or if something else than a blank follows
/// it; `out` is as it was then.
pub fn inline_to_multibulk(line: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    // Words are unescaped twice: their number stands before the first of them.
    let mut word = Vec::new();
    let mut count = 0;
    let mut words = Words { line, at: 0 };
    while words.next_into(&mut word)? {
        count += 1;
    }
    if count == 0 {
        return Ok(());
    }
    encode::array_len(out, count);
    let mut words = Words { line, at: 0 };
    while words.next_into(&mut word)? {
        encode::bulk(out, &word);
    }
    Ok(())
}

struct Words<'l> {
    line: &'l [u8],
    at: usize,
}

impl Words<'_> {
    /// Puts the next word into `word`; false if there is none.
    fn next_into(&mut self, word: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        word.clear();
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
        if self.peek().is_none() {
            return Ok(false);
        }
        loop {
            match self.take() {
                // Vertical tab and form feed separate words only in front of one, as in Redis.
                None | Some(b' ' | b'\n' | b'\r' | b'\t') => return Ok(true),
                Some(b'"') => {
                    self.double_quoted(word)?;
                    return Ok(true);
                }
                Some(b'\'') => {
                    self.single_quoted(word)?;
                    return Ok(true);
                }
                Some(byte) => word.push(byte),
            }
        }
    }

    fn double_quoted(&mut self, word: &mut Vec<u8>) -> Result<(), ProtocolError> {
        loop {
            match self.take() {
                None => return Err(ProtocolError::UnbalancedQuotes),
                Some(b'"') => return self.closed(),
                Some(b'\\') => match self.take() {
                    None => return Err(ProtocolError::UnbalancedQuotes),
                    Some(b'n') => word.push(b'\n'),
                    Some(b'r') => word.push(b'\r'),
                    Some(b't') => word.push(b'\t'),
                    Some(b'b') => word.push(0x08),
                    Some(b'a') => word.push(0x07),
                    Some(b'x') => word.push(self.hex().unwrap_or(b'x')),
                    Some(byte) => word.push(byte),
                },
                Some(byte) => word.push(byte),
            }
        }
    }

    fn single_quoted(&mut self, word: &mut Vec<u8>) -> Result<(), ProtocolError> {
        loop {
            match self.take() {
                None => return Err(ProtocolError::UnbalancedQuotes),
                Some(b'\'') => return self.closed(),
                Some(b'\\') if self.peek() == Some(b'\'') => {
                    self.at += 1;
                    word.push(b'\'');
                }
                Some(byte) => word.push(byte),
            }
        }
    }

    fn closed(&self) -> Result<(), ProtocolError> {
        match self.peek() {
            Some(byte) if !is_blank(byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok(()),
        }
    }

    fn hex(&mut self) -> Option<u8> {
        let digit = |at: usize| self.line.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let value = digit(self.at)? * 16 + digit(self.at + 1)?;
        self.at += 2;
        Some(value as u8)
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
