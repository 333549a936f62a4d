//! The messages of a hand-over as bytes: the first format that two versions of Shoal speak to each other.
//!
//! ```text
//!   0        8        10     12        16
//!   | SHOALHND | version | kind | length | length bytes …     numbers big-endian
//! ```
//!
//! | kind | message | inside |
//! | --- | --- | --- |
//! | 1 | ask | pid `u32`, version of the program (text) |
//! | 2 | offer | pid `u32`, version of the program (text), number of sockets `u16` |
//! | 3 | socket | use `u8`, name (text), where it listens (text); the descriptor comes with its first byte |
//! | 4 | ready | number of sockets kept `u16`, then the place of each in the offer, `u16`, ascending |
//! | 5 | yielded | |
//! | 6 | refused | reason (text) |
//!
//! A text is its length in bytes, `u16`, and so many bytes of UTF-8.
//!
//! What stays for ever: the header, and *refused*. Every later version reads a *refused* of any version, so that it can be
//! told why; all else may change with the version. `testdata/formats` holds this version as it was first spoken.

use super::{Fault, SOCKETS_MAX};

/// The version that this process speaks.
pub const VERSION: u16 = 1;

/// The first bytes of every message.
pub const MAGIC: &[u8; 8] = b"SHOALHND";

/// Bytes before a message's inside.
pub const HEADER: usize = 16;

/// Bytes of a message's inside at most: those of a *ready* that keeps [`SOCKETS_MAX`] sockets.
pub const LENGTH_MAX: usize = 2 + 2 * SOCKETS_MAX;

/// Bytes of a text at most; a longer one is cut when it is written, since texts are for people.
pub const TEXT_MAX: usize = 1024;

/// What one process says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The next process asks for the sockets.
    Ask(Who),
    /// The running process will send so many.
    Offer {
        /// Who it is.
        from: Who,
        /// How many sockets follow.
        sockets: u16,
    },
    /// One of them.
    Socket(Offered),
    /// The next process accepts clients, and keeps the sockets at these places of the offer.
    Ready {
        /// Ascending.
        kept: Vec<u16>,
    },
    /// The running process accepts nobody any more.
    Yielded,
    /// Nothing will come of it.
    Refused(String),
}

/// Who speaks, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its process id, as it sees it itself.
    pub pid: u32,
    /// The version of the program.
    pub program: String,
}

/// What an offered socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// What it is for.
    pub used_for: Use,
    /// The pool's name; empty for the others.
    pub name: String,
    /// Where it listens, as its configuration says; what counts is where the socket says that it is bound.
    pub listen: String,
}

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Clients of a pool.
    Pool,
    /// The admin port.
    Admin,
    /// Statistics in Twemproxy's form.
    Statistics,
    /// The next hand-over.
    HandOver,
}

impl Message {
    /// Its name, as errors call it.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Ask(_) => "ask",
            Message::Offer { .. } => "offer",
            Message::Socket(_) => "socket",
            Message::Ready { .. } => "ready",
            Message::Yielded => "yielded",
            Message::Refused(_) => "refused",
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut inside = Vec::new();
        let kind: u16 = match self {
            Message::Ask(who) => {
                put_who(&mut inside, who);
                1
            }
            Message::Offer { from, sockets } => {
                put_who(&mut inside, from);
                inside.extend(sockets.to_be_bytes());
                2
            }
            Message::Socket(Offered { used_for, name, listen }) => {
                inside.push(used_for.number());
                put_text(&mut inside, name);
                put_text(&mut inside, listen);
                3
            }
            Message::Ready { kept } => {
                inside.extend((kept.len() as u16).to_be_bytes());
                inside.extend(kept.iter().flat_map(|place| place.to_be_bytes()));
                4
            }
            Message::Yielded => 5,
            Message::Refused(reason) => {
                put_text(&mut inside, reason);
                6
            }
        };
        let mut bytes = Vec::with_capacity(HEADER + inside.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend((inside.len() as u32).to_be_bytes());
        bytes.append(&mut inside);
        bytes
    }
}

impl Use {
    fn number(self) -> u8 {
        match self {
            Use::Pool => 1,
            Use::Admin => 2,
            Use::Statistics => 3,
            Use::HandOver => 4,
        }
    }

    fn from_number(number: u8) -> Option<Use> {
        [Use::Pool, Use::Admin, Use::Statistics, Use::HandOver].into_iter().find(|it| it.number() == number)
    }
}

/// Messages out of bytes that come in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes what came. At most one message's worth is kept if [`Decoder::poll`] is called until it has no more.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if a whole one has come.
    ///
    /// # Errors
    /// What is wrong with the bytes; the connection is of no further use then.
    pub fn poll(&mut self) -> Result<Option<Message>, Fault> {
        let known = self.bytes.len().min(MAGIC.len());
        if self.bytes[..known] != MAGIC[..known] {
            return Err(Fault::NotShoal);
        }
        let mut header = Reader(&self.bytes[known..]);
        let (Some(version), Some(kind), Some(length)) = (header.u16(), header.u16(), header.u32()) else {
            return Ok(None);
        };
        // A refusal is read whatever its version: it says why.
        if version != VERSION && kind != 6 {
            return Err(Fault::Version { theirs: version });
        }
        let length = match usize::try_from(length) {
            Ok(fits) if fits <= LENGTH_MAX => fits,
            _ => return Err(Fault::TooLong { length }),
        };
        let Some(inside) = self.bytes.get(HEADER..HEADER + length) else { return Ok(None) };
        let message = decode(kind, inside)?;
        self.bytes.drain(..HEADER + length);
        Ok(Some(message))
    }

    /// Whether the bytes end between two messages.
    pub fn is_between(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn decode(kind: u16, inside: &[u8]) -> Result<Message, Fault> {
    let mut reader = Reader(inside);
    let (name, message) = match kind {
        1 => ("ask", reader.who().map(Message::Ask)),
        2 => ("offer", offer(&mut reader)),
        3 => ("socket", offered(&mut reader).map(Message::Socket)),
        4 => ("ready", ready(&mut reader)),
        5 => ("yielded", Some(Message::Yielded)),
        6 => ("refused", reader.text().map(Message::Refused)),
        other => return Err(Fault::Kind(other)),
    };
    match message {
        Some(message) if reader.0.is_empty() => Ok(message),
        _ => Err(Fault::Malformed(name)),
    }
}

fn offer(reader: &mut Reader<'_>) -> Option<Message> {
    let from = reader.who()?;
    let sockets = reader.u16()?;
    (usize::from(sockets) <= SOCKETS_MAX).then_some(Message::Offer { from, sockets })
}

fn offered(reader: &mut Reader<'_>) -> Option<Offered> {
    let used_for = Use::from_number(reader.u8()?)?;
    Some(Offered { used_for, name: reader.text()?, listen: reader.text()? })
}

fn ready(reader: &mut Reader<'_>) -> Option<Message> {
    let count = reader.u16()?;
    let kept: Vec<u16> = (0..count).map(|_| reader.u16()).collect::<Option<_>>()?;
    kept.is_sorted_by(|one, next| one < next).then_some(Message::Ready { kept })
}

fn put_who(out: &mut Vec<u8>, who: &Who) {
    out.extend(who.pid.to_be_bytes());
    put_text(out, &who.program);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend((end as u16).to_be_bytes());
    out.extend(&text.as_bytes()[..end]);
}

/// Reads numbers and texts off the front of a slice.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        if length > TEXT_MAX {
            return None;
        }
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    fn who(&mut self) -> Option<Who> {
        Some(Who { pid: self.u32()?, program: self.text()? })
    }
}
