//! The reader of `nutcracker.yml`, Twemproxy's configuration file.
//!
//! ```text
//!  text ─▶ document (YAML: pools, keys, lines) ─▶ pool (types, defaults) ─▶ Config ─▶ Topology
//!                                                  ├─ listen
//!                                                  └─ server
//! ```
//!
//! Takes what nutcracker 0.5.0 takes and refuses what it refuses, but says why: the file's line, the
//! pool, the key, and what to write instead. Where 0.5.0 reads something as a number that nobody
//! wrote (2^32 as 0, a mode of `0888` as none), we refuse; the cases are in `testdata/topology`.
//!
//! Does not open the file, resolve names, or look whether an address can be bound.

mod document;
mod error;
mod listen;
mod pool;
mod server;
#[cfg(test)]
mod tests;

pub use error::{Error, Problem};
pub use listen::Listen;
pub use pool::{Password, Pool};
pub use server::Server;

use crate::{FORMAT, Mode, Shard, ShardState, Topology};
use shoal_hashkit::{CharSign, Distribution, Hash, sort_key};
use std::collections::BTreeMap;
use std::fmt;

/// What a `nutcracker.yml` says, every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The pools, shorter names first and then by bytes, as Twemproxy's statistics list them.
    pub pools: Vec<Pool>,
}

impl Config {
    /// Reads the bytes of a file. It must be UTF-8; a byte order mark is skipped.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn from_bytes(bytes: &[u8]) -> Result<Config, Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Config::from_text(text),
            Err(error) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
                Err(Error::new(line, Problem::NotUtf8))
            }
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line.
    pub fn from_text(text: &str) -> Result<Config, Error> {
        let mut pools = Vec::new();
        let mut names = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for section in document::read(text)? {
            let refuse = |line: usize, problem| Err(Error::new(line, problem).in_pool(&section.name.text));
            if section.name.text.is_empty() {
                return Err(Error::new(section.name.line, Problem::NoPoolName));
            }
            if section.name.text.contains(char::is_control) {
                return refuse(section.name.line, Problem::ControlCharacter);
            }
            let pool = pool::read(&section).map_err(|error| error.in_pool(&section.name.text))?;
            if let Some(&first) = names.get(&pool.name) {
                return refuse(pool.line, Problem::DuplicatePool { first });
            }
            names.insert(pool.name.clone(), pool.line);
            // By text, as Twemproxy compares them: a name and its address are two listeners to it.
            if let Some(first) = listeners.insert(pool.listen_text.clone(), pool.name.clone()) {
                let problem = Problem::DuplicateListen { listen: pool.listen_text, first };
                return refuse(pool.line, problem);
            }
            pools.push(pool);
        }
        if pools.is_empty() {
            return Err(Error::new(1, Problem::NoPools));
        }
        pools.sort_by(|a, b| sort_key(&a.name).cmp(&sort_key(&b.name)));
        Ok(Config { pools })
    }

    /// Refuses pools that speak memcached: those that do not say `redis: true`.
    ///
    /// # Errors
    /// [`Problem::Memcached`] for the first of them in the file.
    pub fn refuse_memcached(&self) -> Result<(), Error> {
        match self.pools.iter().filter(|pool| !pool.redis).min_by_key(|pool| pool.line) {
            Some(pool) => Err(Error::new(pool.line, Problem::Memcached).in_pool(&pool.name)),
            None => Ok(()),
        }
    }

    /// What is accepted, and yet is hardly what its author thinks.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for pool in &self.pools {
            let kinds = [
                (pool.hash == Hash::Crc32 && pool.distribution == Distribution::Ketama)
                    .then_some(WarningKind::Crc32Ketama),
                pool.client_connections.map(|_| WarningKind::ClientConnections),
                (pool.redis_auth.is_some() && pool.redis_db > 0).then_some(WarningKind::AuthThenDb),
            ];
            let of_pool = |kind| Warning { line: pool.line, pool: pool.name.clone(), kind };
            warnings.extend(kinds.into_iter().flatten().map(of_pool));
        }
        warnings
    }

    /// The pools as a topology: a pool that ejects servers is a cache, any other is storage. Hashes
    /// are those of Twemproxy on x86-64.
    ///
    /// A topology holds no passwords: [`Pool::redis_auth`] stays here.
    #[must_use]
    pub fn to_topology(&self, epoch: u64) -> Topology {
        let pools = self.pools.iter().map(Pool::to_topology).collect();
        Topology { format: FORMAT, epoch, pools }
    }
}

impl Pool {
    fn to_topology(&self) -> crate::Pool {
        let shard = |server: &Server| Shard {
            name: server.name.clone(),
            weight: server.weight,
            primary: server.address.clone(),
            replicas: Vec::new(),
            state: ShardState::Up,
        };
        crate::Pool {
            name: self.name.clone(),
            mode: if self.auto_eject_hosts { Mode::Cache } else { Mode::Storage },
            hash: self.hash,
            char_sign: CharSign::Signed,
            distribution: self.distribution.into(),
            hash_tag: self.hash_tag,
            shards: self.servers.iter().map(shard).collect(),
            credentials: None,
        }
    }
}

/// Something that is accepted, and yet is hardly what its author thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line of the pool's name.
    pub line: usize,
    /// The pool.
    pub pool: String,
    /// What is doubtful.
    pub kind: WarningKind,
}

/// What is doubtful about a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// `hash: crc32` has 15 bits, so `ketama` gives nearly all keys to one server.
    Crc32Ketama,
    /// `client_connections` has no effect in Twemproxy.
    ClientConnections,
    /// `redis_auth` beside `redis_db`: Twemproxy selects before it authenticates and stays in 0.
    AuthThenDb,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WarningKind::Crc32Ketama => {
                "hash crc32 yields 15 bits, so ketama gives nearly all keys to one server \
                 (crc32a yields 32, but moves keys)"
            }
            WarningKind::ClientConnections => "client_connections has no effect, as in Twemproxy",
            WarningKind::AuthThenDb => {
                "with redis_auth Twemproxy ignores redis_db and keeps all data in database 0"
            }
        };
        write!(f, "line {}: pool {}: {kind}", self.line, self.pool)
    }
}
