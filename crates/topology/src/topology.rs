//! The value itself, and its JSON form.
//!
//! ```json
//! {"format": 1, "epoch": 41, "pools": [{"name": "alpha", "mode": "cache", "distribution": "ketama",
//!   "hash_tag": "{}", "shards": [{"name": "one", "primary": "10.0.0.1:6379"}]}]}
//! ```

use crate::serde_text;
use crate::{Distribution, Endpoint, Error};
use serde::{Deserialize, Serialize};
use shoal_hashkit::{CharSign, Hash, HashTag};
use std::fmt;
use std::path::PathBuf;

#[cfg(test)]
pub(crate) mod tests;

/// The format of the JSON form that this program reads and writes.
pub const FORMAT: u32 = 1;

/// The most shards that a pool may have: routers number them in 16 bits.
pub const SHARDS_MAX: usize = u16::MAX as usize;

/// Which shard owns which key, and where it is, of all pools at one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// [`FORMAT`].
    pub format: u32,
    /// Grows with every change; an older one than the one in use is refused by whoever uses it.
    pub epoch: u64,
    /// The pools, by no order that means anything.
    pub pools: Vec<Pool>,
}

/// Shards behind proxies that share out one key space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Unique in the topology.
    pub name: String,
    /// What the pool is for, and so whether a dead shard is left out.
    pub mode: Mode,
    /// What is done to keys; not used when the distribution is redis-shard's, which has its own.
    #[serde(default, with = "serde_text")]
    pub hash: Hash,
    /// Whether bytes from 0x80 up are sign-extended when hashed: signed is Twemproxy on x86-64.
    #[serde(default, with = "serde_text")]
    pub char_sign: CharSign,
    /// What is done to the hash.
    pub distribution: Distribution,
    /// The two bytes around the part of a key that is hashed, if keys have such a part.
    #[serde(default, with = "serde_text::option", skip_serializing_if = "Option::is_none")]
    pub hash_tag: Option<HashTag>,
    /// The shards, in the order given; a [`Router`](crate::Router) brings them into server order.
    pub shards: Vec<Shard>,
    /// Where the password is, if the servers ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialRef>,
}

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Data that is not elsewhere: shards have replicas and are never ejected.
    Storage,
    /// Data that can be made again: a dead shard is ejected, its keys go to the others.
    Cache,
}

/// One part of a pool's key space: a primary and its replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Unique in the pool, and **part of the placement**: another name is another place on the ring.
    pub name: String,
    /// Its share of the keys relative to its neighbours', at least 1.
    #[serde(default = "weight_default", skip_serializing_if = "is_weight_default")]
    pub weight: u32,
    /// Where writes go.
    pub primary: Endpoint,
    /// Copies of the primary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Endpoint>,
    /// Whether it takes keys.
    #[serde(default, skip_serializing_if = "ShardState::is_up")]
    pub state: ShardState,
}

/// Whether a shard takes keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// It takes keys.
    #[default]
    Up,
    /// It is left out until it has proved itself; only in a cache pool.
    Ejected,
}

/// Where credentials are; never the credentials themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialRef {
    /// A file of mode 0600; a relative path is taken from the topology's own folder.
    File(PathBuf),
    /// A name under which whoever decides hands them out.
    Name(String),
}

impl Topology {
    /// Reads the JSON form and checks what it says.
    ///
    /// # Errors
    /// [`Error::Json`] with the path of what is wrong, [`Error::Format`], or whatever
    /// [`validate`](Self::validate) finds.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let topology: Self = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| Error::Json { path: error.path().to_string(), source: error.into_inner() })?;
        reader.end().map_err(|source| Error::Json { path: "the end".to_owned(), source })?;
        topology.validate()?;
        Ok(topology)
    }

    /// The JSON form, indented, with a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers, and paths that came from strings: there is nothing that JSON cannot hold.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

impl Pool {
    /// For each shard whether it takes keys, by the topology's own word.
    #[must_use]
    pub fn live(&self) -> Vec<bool> {
        self.shards.iter().map(|shard| shard.state.is_up()).collect()
    }
}

impl ShardState {
    /// Whether it takes keys.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self, ShardState::Up)
    }
}

impl fmt::Display for CredentialRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialRef::File(path) => write!(f, "file {}", path.display()),
            CredentialRef::Name(name) => write!(f, "name {name}"),
        }
    }
}

const fn weight_default() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_weight_default(weight: &u32) -> bool {
    *weight == 1
}
