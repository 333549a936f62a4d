//! Which bytes redis-shard hashes of a key. It depends on the Python that ran it, and on the type
//! that the application gave its keys.

use crate::Error;
use crate::names::names;
use memchr::{memchr, memrchr};
use std::borrow::Cow;

/// What an application's keys were to redis-shard: one key can live on two nodes, one for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tags {
    /// `str` under Python 3: has tags, is hashed as Latin-1, and arrives here as UTF-8.
    #[default]
    Text,
    /// `bytes` under Python 3: has no tags, is hashed as it is.
    Bytes,
    /// `str` under Python 2: has tags, is hashed as it is.
    Python2,
}

names!(Tags, "kind of redis-shard tags", {
    Text => "text",
    Bytes => "bytes",
    Python2 => "python2",
});

impl Tags {
    /// What is hashed of `key`, the bytes that the client sent.
    pub(super) fn hashed_bytes(self, key: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
        match self {
            Tags::Bytes => Ok(key.into()),
            Tags::Python2 => Ok(tagged_part(key).into()),
            Tags::Text => {
                let text = str::from_utf8(key).map_err(|_| Error::KeyNotUtf8)?;
                // Braces and newlines are ASCII, so the part of a text's bytes is text.
                let part = str::from_utf8(tagged_part(text.as_bytes())).map_err(|_| Error::KeyNotUtf8)?;
                latin1(part).ok_or(Error::KeyBeyondLatin1)
            }
        }
    }

    /// What is hashed of a point's name; None if Latin-1 cannot hold it.
    ///
    /// Under Python 3 names are text whatever the keys are; under Python 2 they are bytes too.
    pub(super) fn name_bytes(self, name: &str) -> Option<Cow<'_, [u8]>> {
        match self {
            Tags::Python2 => Some(name.as_bytes().into()),
            Tags::Text | Tags::Bytes => latin1(name),
        }
    }
}

/// The tag of `key`, or all of it: greedy on both sides, so from the last `{` that has a `}` after it
/// up to the last `}`, in the first line alone. An empty tag counts.
fn tagged_part(key: &[u8]) -> &[u8] {
    let line = memchr(b'\n', key).map_or(key, |end| &key[..end]);
    memrchr(b'}', line)
        .and_then(|close| memrchr(b'{', &line[..close]).map(|open| &line[open + 1..close]))
        .unwrap_or(key)
}

/// `text` with each character as one byte; None if one is beyond U+00FF.
fn latin1(text: &str) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(text.as_bytes().into());
    }
    text.chars().map(|character| u8::try_from(character).ok()).collect::<Option<Vec<u8>>>().map(Cow::from)
}
