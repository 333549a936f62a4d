//! What a Redis or a Sentinel answers, as values of our own, and what its answers say.

mod says;

pub use says::{gate_of, redis_says, sentinel_says};

use shoal_resp::{Frame, ProtocolError, encode, parse_frame};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple or bulk string.
    Text(String),
    /// An error, the code included.
    Error(String),
    /// A number.
    Integer(i64),
    /// Nothing.
    Null,
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    /// Reads the reply at the front of `bytes`, and how long it is; `None` if it is not whole yet.
    ///
    /// # Errors
    /// If that is no RESP.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        Ok(parse_frame(bytes)?.map(|(frame, length)| (Self::of(&frame), length)))
    }

    /// Reads all replies that are whole.
    ///
    /// # Errors
    /// If that is no RESP.
    pub fn read_all(mut bytes: &[u8]) -> Result<Vec<Self>, ProtocolError> {
        let mut replies = Vec::new();
        while let Some((reply, length)) = Self::read(bytes)? {
            replies.push(reply);
            bytes = &bytes[length..];
        }
        Ok(replies)
    }

    fn of(frame: &Frame<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match frame {
            Frame::Error(words) | Frame::BulkError(words) => Self::Error(text(words)),
            Frame::Integer(number) => Self::Integer(*number),
            Frame::Null => Self::Null,
            other => match (other.as_text(), other.as_elements()) {
                (Some(words), _) => Self::Text(text(words)),
                (None, Some(elements)) => Self::Array(elements.iter().map(Self::of).collect()),
                // RESP3 alone has others, and nobody here asks for it.
                (None, None) => Self::Null,
            },
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The words of an error, be it in an array (EXEC's answer).
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(words) => Some(words),
            Self::Array(elements) => elements.iter().find_map(Self::error),
            _ => None,
        }
    }
}

/// Commands as bytes, one behind the other.
#[must_use]
pub fn request(commands: &[Vec<String>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        encode::command(&mut bytes, &words);
    }
    bytes
}

/// A command out of its words.
#[must_use]
pub fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
