//! What servers answer to a return, as values of their own: these paths are cold.

use shoal_resp::frame::{Frame, parse_frame};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple or bulk string.
    Text(String),
    /// An error, its code included.
    Error(String),
    /// An integer.
    Integer(i64),
    /// Nil.
    Null,
    /// An array.
    List(Vec<Reply>),
}

impl Reply {
    /// Reads the reply at the front of `bytes`, and how long it is; `None` if it is not whole.
    ///
    /// # Errors
    /// A sentence, if it is none that a server gives here.
    pub fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
        match parse_frame(bytes).map_err(|error| error.to_string())? {
            Some((frame, length)) => Ok(Some((Reply::of(&frame)?, length))),
            None => Ok(None),
        }
    }

    fn of(frame: &Frame<'_>) -> Result<Reply, String> {
        Ok(match frame {
            Frame::Error(words) => Reply::Error(String::from_utf8_lossy(words).into_owned()),
            Frame::Simple(text) | Frame::Bulk(text) => {
                Reply::Text(String::from_utf8_lossy(text).into_owned())
            }
            Frame::Integer(number) => Reply::Integer(*number),
            Frame::Null => Reply::Null,
            Frame::Array(frames) => Reply::List(frames.iter().map(Reply::of).collect::<Result<_, _>>()?),
            other => return Err(format!("it answers {other:?}")),
        })
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Reply::Text(text) => Some(text),
            _ => None,
        }
    }
}
