//! A pool's data in files: what a backup holds, and what it may be restored into.
//!
//! ```text
//! <dir>/manifest.json     written last: without it there is no backup
//!      /shard-0.rdb, …    one for each shard, in the pool's order
//! ```
//!
//! Each shard is as it was at an instant of its own; nothing ties two shards' instants together, as nothing ties writes to
//! two shards together while the pool serves.

use serde::{Deserialize, Serialize};
use shoal_hashkit::Random;
use shoal_topology::{Endpoint, Mode, Pool, Route, Router};
use thiserror::Error;

use crate::quantity::Timestamp;
use crate::runtime::{Link, Observed, RedisSays, Role, Says};

/// The format that this program reads and writes.
pub const FORMAT: u32 = 1;

/// The name of the manifest.
pub const MANIFEST: &str = "manifest.json";

/// Keys by which it is seen whether two pools share keys out alike.
const SAMPLES: u32 = 20_000;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// When the first shard was asked for its data.
    pub began_at: Timestamp,
    /// When the last one had given it.
    pub ended_at: Timestamp,
    /// The pool as it was: by this keys were shared out.
    pub pool: Pool,
    /// The shards, in the pool's order.
    pub shards: Vec<ShardBackup>,
}

/// One shard's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardBackup {
    /// The shard's name.
    pub name: String,
    /// The file's name, beside the manifest.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
    /// Who gave the data.
    pub from: Endpoint,
    /// Whether that was a replica.
    pub from_replica: bool,
    /// When it had given it.
    pub taken_at: Timestamp,
    /// Its version: an older Redis cannot read what a newer one wrote.
    pub redis_version: String,
    /// Of its data's history.
    pub replication_id: String,
    /// Bytes of that history that it had, at least, when it was asked: what was written later may be in the file.
    pub offset: u64,
}

/// Why a backup cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadBackup {
    /// The manifest is none.
    #[error("manifest.json cannot be read: {0}")]
    Manifest(String),
    /// Another format.
    #[error("the backup has format {0}, and this version of Shoal knows {FORMAT} alone: use a newer one")]
    Format(u32),
    /// A file is not what was written.
    #[error("{file} of shard {shard} {why}: the backup is damaged; take another one")]
    Damaged {
        /// The shard.
        shard: String,
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The data is for another shape.
    #[error("the backup of {from} cannot be restored into {into}: {why}")]
    Shape {
        /// The pool of the backup.
        from: String,
        /// The pool that it was to go into.
        into: String,
        /// What differs.
        why: String,
    },
}

impl Manifest {
    /// Reads it.
    ///
    /// # Errors
    /// [`BadBackup::Manifest`], [`BadBackup::Format`].
    pub fn read(text: &str) -> Result<Self, BadBackup> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let bad = |error: serde_json::Error| BadBackup::Manifest(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(bad)?;
        if head.format != FORMAT {
            return Err(BadBackup::Format(head.format));
        }
        let manifest: Self = serde_json::from_str(text).map_err(bad)?;
        let files = manifest
            .shards
            .iter()
            .all(|shard| !shard.file.contains(['/', '\0']) && !shard.file.starts_with('.'));
        if !files || manifest.shards.len() != manifest.pool.shards.len() {
            return Err(BadBackup::Manifest("its shards are not those of its pool".to_owned()));
        }
        Ok(manifest)
    }

    /// As the file.
    #[must_use]
    pub fn write(&self) -> String {
        // Text and numbers: there is nothing that JSON cannot hold.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Whether each shard's data can become the data of the shard of the same place of `into`: every key must be looked for
    /// where it lies.
    ///
    /// # Errors
    /// [`BadBackup::Shape`].
    pub fn fits(&self, into: &Pool) -> Result<(), BadBackup> {
        let no =
            |why: String| BadBackup::Shape { from: self.pool.name.clone(), into: into.name.clone(), why };
        if into.mode == Mode::Cache {
            return Err(no("a cache always starts empty".to_owned()));
        }
        let (had, has) = (self.pool.shards.len(), into.shards.len());
        if had != has {
            return Err(no(format!("it had {had} shards, and the new one has {has}")));
        }
        let router = |pool: &Pool| {
            Router::new(pool, &vec![true; pool.shards.len()]).map_err(|error| no(error.to_string()))
        };
        let (old, new) = (router(&self.pool)?, router(into)?);
        // One that shares keys out by chance has none that lies anywhere in particular.
        let (mut one, mut other) = (Random::seeded(1), Random::seeded(1));
        for sample in 0..SAMPLES {
            let key = format!("sample:{{{sample}}}:{}", sample.wrapping_mul(2_654_435_761));
            let routes = (old.route(key.as_bytes(), &mut one), new.route(key.as_bytes(), &mut other));
            if let (Route::Shard(was), Route::Shard(is)) = routes
                && was != is
            {
                return Err(no(format!(
                    "keys are shared out otherwise (the key {key} went to shard {was} and would be looked for in shard {is}): \
                     hash, distribution, hash tag, and the shards' names and weights must be the same"
                )));
            }
        }
        Ok(())
    }
}

/// Whom of a shard's instances to ask for its data: a replica that follows, the one that is furthest; else the primary.
/// `None`: none of them answers, or none has the data whole.
#[must_use]
pub fn source<'o>(instances: &[&'o Observed]) -> Option<(&'o Observed, &'o RedisSays)> {
    let rank = |says: &RedisSays| match &says.role {
        Role::Replica { link: Link::Up, .. } => Some((1, says.offset)),
        Role::Primary { .. } => Some((0, says.offset)),
        Role::Replica { .. } => None,
    };
    let answering = instances.iter().filter_map(|observed| match &observed.says {
        Says::Redis(says) if !says.loading => Some((*observed, says)),
        _ => None,
    });
    let ranked = answering.filter_map(|(observed, says)| Some((rank(says)?, observed, says)));
    ranked.max_by_key(|(rank, ..)| *rank).map(|(_, observed, says)| (observed, says))
}

#[cfg(test)]
mod tests;
