//! Where a request's keys are.
//!
//! Finds them as Redis's `COMMAND GETKEYS` does. Whether the rest of the request makes sense is the
//! server's affair.

use std::ops::Range;

use thiserror::Error;

use super::Command;
use crate::Span;

/// Where a command's keys are. Arguments are counted from the command's name, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// Every `step`th argument from `first` to `last`; if negative, `last` counts from the end, -1
    /// being the last.
    Range {
        /// First key.
        first: u16,
        /// Last key.
        last: i16,
        /// Distance of two keys.
        step: u16,
    },
    /// As many as the argument at `at` says (`EVAL`: 2), from `first` on.
    NumKeys {
        /// Place of the number.
        at: u16,
        /// First key.
        first: u16,
        /// Distance of two keys: 2 where a value follows each (`MSETEX`).
        step: u16,
        /// Place of the destination, a key as well (`ZUNIONSTORE`: 1); it comes first.
        dest: Option<u16>,
    },
    /// The first half of what follows the word `STREAMS` (`XREAD`).
    Streams,
    /// `key`, and the argument behind the last `STORE` or `STOREDIST` from `from` on (`SORT`,
    /// `GEORADIUS`).
    StoreOption {
        /// The source.
        key: u16,
        /// First argument that can be the word.
        from: u16,
    },
    /// `MIGRATE`: the third argument, or if it is empty all that follow the word `KEYS`.
    Migrate,
    /// Shard channels (`SPUBLISH`): no keys to Redis, but they are routed as if they were.
    ShardChannels {
        /// First channel.
        first: u16,
        /// Last channel; if negative, counted from the end.
        last: i16,
    },
}

/// Why a request's keys can't be told. The server would refuse it too, so that any shard can be asked
/// for the words of the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It has too few arguments.
    #[error("too few arguments to hold the keys")]
    TooFewArguments,
    /// Its number of keys is no number, negative, or more than there are arguments.
    #[error("the number of keys is wrong")]
    InvalidNumKeys,
    /// It lacks the word that its keys follow, or they don't come in pairs with identifiers.
    #[error("the keys' list is incomplete")]
    InvalidStreams,
}

impl Command {
    /// Puts the places of the request's keys into `out` (cleared first), in the order of the arguments;
    /// a key that comes twice is there twice. `args` and `bytes` are of
    /// [`parse_request`](crate::parse_request), the command's name included; a subcommand's places count
    /// from the container's name.
    ///
    /// # Errors
    /// If the arguments that say where the keys are make no sense.
    pub fn keys(&self, bytes: &[u8], args: &[Span], out: &mut Vec<usize>) -> Result<(), KeyError> {
        out.clear();
        let arg = |at: usize| args.get(at).map(|span| span.of(bytes)).ok_or(KeyError::TooFewArguments);
        match self.keys {
            Keys::None => {}
            Keys::Range { first, last, step } => range(args.len(), first, last, step, out)?,
            // SUNSUBSCRIBE without any is from all.
            Keys::ShardChannels { first, .. } if args.len() <= usize::from(first) => {}
            Keys::ShardChannels { first, last } => range(args.len(), first, last, 1, out)?,
            Keys::NumKeys { at, first, step, dest } => {
                let count = number(arg(usize::from(at))?).ok_or(KeyError::InvalidNumKeys)?;
                let (first, step) = (usize::from(first), usize::from(step).max(1));
                let room = args.len().saturating_sub(first) / step;
                if count > room {
                    return Err(KeyError::InvalidNumKeys);
                }
                out.extend(dest.map(usize::from));
                out.extend((0..count).map(|key| first + key * step));
            }
            Keys::Streams => streams(bytes, args, out)?,
            Keys::StoreOption { key, from } => {
                arg(usize::from(key))?;
                out.push(usize::from(key));
                out.extend(store_option(bytes, args, usize::from(from)));
            }
            Keys::Migrate => {
                if !arg(3)?.is_empty() {
                    out.push(3);
                } else {
                    out.extend(migrated(bytes, args));
                }
            }
        }
        Ok(())
    }
}

fn range(len: usize, first: u16, last: i16, step: u16, out: &mut Vec<usize>) -> Result<(), KeyError> {
    let first = usize::from(first);
    let last = if last < 0 {
        len.saturating_sub(usize::from(last.unsigned_abs()))
    } else {
        usize::from(last.unsigned_abs())
    };
    if first > last || last >= len {
        return Err(KeyError::TooFewArguments);
    }
    out.extend((first..=last).step_by(usize::from(step).max(1)));
    Ok(())
}

fn streams(bytes: &[u8], args: &[Span], out: &mut Vec<usize>) -> Result<(), KeyError> {
    // GROUP's two names and the numbers of COUNT and BLOCK are values, whatever they are called.
    let mut at = 1;
    while let Some(span) = args.get(at) {
        let word = span.of(bytes);
        if word.eq_ignore_ascii_case(b"STREAMS") {
            let rest = args.len() - (at + 1);
            if rest == 0 || !rest.is_multiple_of(2) {
                return Err(KeyError::InvalidStreams);
            }
            out.extend(at + 1..at + 1 + rest / 2);
            return Ok(());
        }
        at += 1;
        if is_any(word, &[b"COUNT", b"BLOCK", b"CLAIM"]) {
            at += 1;
        } else if is_any(word, &[b"GROUP"]) {
            at += 2;
        }
    }
    Err(KeyError::InvalidStreams)
}

/// Place of the key that the result is stored in. Redis takes the last if there are several.
fn store_option(bytes: &[u8], args: &[Span], from: usize) -> Option<usize> {
    let mut at = from;
    let mut found = None;
    while let Some(span) = args.get(at) {
        let word = span.of(bytes);
        if is_any(word, &[b"STORE", b"STOREDIST"]) && at + 1 < args.len() {
            found = Some(at + 1);
            at += 1;
        } else if is_any(word, &[b"BY", b"GET"]) {
            at += 1;
        } else if is_any(word, &[b"LIMIT"]) {
            at += 2;
        }
        at += 1;
    }
    found
}

/// Places of the keys behind `KEYS`, which is an option only where no password is expected.
fn migrated(bytes: &[u8], args: &[Span]) -> Range<usize> {
    let mut at = 6;
    while let Some(span) = args.get(at) {
        let word = span.of(bytes);
        at += 1;
        if is_any(word, &[b"KEYS"]) {
            return at..args.len();
        } else if is_any(word, &[b"AUTH"]) {
            at += 1;
        } else if is_any(word, &[b"AUTH2"]) {
            at += 2;
        }
    }
    0..0
}

fn is_any(word: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// A number of keys: at most nine digits and nothing else.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter()
        .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + usize::from(byte - b'0')))
}
