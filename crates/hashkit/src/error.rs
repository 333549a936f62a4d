//! What can be wrong with a name or a key.

/// Why a name was not understood, or a key or server could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A hash, distribution, sign or kind of tag by a name that nothing has.
    #[error("unknown {what} \"{given}\" (valid: {})", valid.join(", "))]
    UnknownName {
        /// What kind of thing was asked for, as in "hash".
        what: &'static str,
        /// The name as it was given.
        given: String,
        /// Every name that would do.
        valid: &'static [&'static str],
    },
    /// A hash tag that is not two bytes long.
    #[error("hash tag \"{0}\" is not exactly two bytes, such as {{}}")]
    HashTagLength(String),
    /// A server name that redis-shard could not have hashed: it writes names in Latin-1.
    #[error("server name \"{0}\" has a character beyond Latin-1, which redis-shard cannot hash")]
    NameBeyondLatin1(String),
    /// A key that redis-shard could not have written as text, since it is not valid UTF-8.
    #[error("key is not UTF-8, so redis-shard cannot have written it as text")]
    KeyNotUtf8,
    /// A key with a character in its hashed part that redis-shard cannot hash.
    #[error("key has a character beyond Latin-1, which redis-shard cannot hash")]
    KeyBeyondLatin1,
}
