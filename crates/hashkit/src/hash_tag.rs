//! Twemproxy's hash tag: the part of a key that is hashed in place of the whole.

use crate::Error;
use memchr::memchr;
use std::fmt;
use std::str::FromStr;

/// The two bytes of the key `hash_tag` of `nutcracker.yml`; they may be equal, as in `$$`.
///
/// Not redis-shard's rule ([`redis_shard`](crate::redis_shard) has it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashTag {
    /// The byte before the tag.
    pub open: u8,
    /// The byte after the tag.
    pub close: u8,
}

impl HashTag {
    /// What is to be hashed of `key`: the bytes between the first `open` and the first `close` after
    /// it if there is at least one, otherwise the whole key.
    ///
    /// `{}{tag}` and `{tag` hash whole: an empty or unfinished tag is not looked past.
    #[must_use]
    #[inline]
    pub fn hashed_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let Some(open) = memchr(self.open, key) else { return key };
        let inside = &key[open + 1..];
        match memchr(self.close, inside) {
            None | Some(0) => key,
            Some(length) => &inside[..length],
        }
    }
}

impl FromStr for HashTag {
    type Err = Error;

    /// # Errors
    /// [`Error::HashTagLength`] unless the text is exactly two bytes.
    fn from_str(text: &str) -> Result<Self, Error> {
        match *text.as_bytes() {
            [open, close] => Ok(HashTag { open, close }),
            _ => Err(Error::HashTagLength(text.to_owned())),
        }
    }
}

impl fmt::Display for HashTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Made from text, the two bytes are text: two ASCII characters, or one of two bytes.
        f.write_str(&String::from_utf8_lossy(&[self.open, self.close]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(tag: &str, key: &str) -> String {
        let tag: HashTag = tag.parse().unwrap();
        String::from_utf8(tag.hashed_part(key.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn first_open_then_first_close_after_it() {
        let cases = [
            ("{}", "{tag}1", "tag"),
            ("{}", "a{tag}", "tag"),
            ("{}", "tag", "tag"),
            ("{}", "}{a}b}", "a"),
            ("{}", "{{a}}", "{a"),
            ("{}", "{a}{b}", "a"),
            ("{}", "x\n{tag}", "tag"),
            ("$$", "a$b$c", "b"),
            ("$$", "$$b$", "$$b$"),
        ];
        for (tag, key, expected) in cases {
            assert_eq!(part(tag, key), expected, "{tag} {key}");
        }
    }

    #[test]
    fn empty_and_unfinished_tags_hash_whole() {
        for key in ["", "{", "{}", "{}{tag}", "{}tag", "{tag", "tag}", "}tag{", "}{"] {
            assert_eq!(part("{}", key), key);
        }
    }

    #[test]
    fn two_bytes_exactly() {
        for text in ["", "{", "{}}", "éé"] {
            assert_eq!(text.parse::<HashTag>(), Err(Error::HashTagLength(text.to_owned())));
        }
        for text in ["{}", "$$", "é"] {
            assert_eq!(text.parse::<HashTag>().unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn the_part_lies_in_the_key_and_is_empty_only_with_it(key: Vec<u8>, open: u8, close: u8) {
            let part = HashTag { open, close }.hashed_part(&key);
            prop_assert!(key.is_empty() || !part.is_empty());
            prop_assert!(part.is_empty() || key.windows(part.len()).any(|window| window == part));
        }
    }
}
