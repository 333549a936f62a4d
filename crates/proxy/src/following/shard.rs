//! What the settings say of a shard whose primary is found by Sentinel.

use std::sync::Arc;

use shoal_topology::{Endpoint, Shard};

pub use crate::io::follower::status::Status;
use crate::settings::{PoolSettings, Secret};

/// Where the sentinels are that watch a shard, and what they call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they listen.
    pub endpoints: Vec<Endpoint>,
    /// The name under which they monitor the shard's primary.
    pub watched_as: String,
    /// The user that the sentinels are told, if they have users.
    pub user: Option<String>,
    /// The password that the sentinels are told, if they ask for one.
    pub password: Option<Secret>,
}

/// What is known of the primary of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Nothing: requests fail by name.
    Unknown,
    /// It was another one a moment ago, or a reload has the shard follow Sentinel: nothing is sent to anybody, and requests
    /// wait.
    Switching,
    /// It is the shard's `primary`.
    Known,
}

impl Primary {
    /// Its name on the admin port.
    pub fn name(self) -> &'static str {
        match self {
            Primary::Unknown => "unknown",
            Primary::Switching => "switching",
            Primary::Known => "known",
        }
    }
}

/// A shard that follows Sentinel.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Whom.
    pub sentinels: Arc<Sentinels>,
    /// Whether the shard's `primary` is one.
    pub primary: Primary,
    /// What there is to show of it. No other shard has the same: it tells one that was removed from one that was put in its
    /// place.
    pub status: Arc<Status>,
}

impl Followed {
    /// A shard of which nothing is known yet.
    pub fn new(sentinels: Sentinels) -> Followed {
        Followed { sentinels: Arc::new(sentinels), primary: Primary::Unknown, status: Arc::default() }
    }
}

/// What stands in a shard's `primary` as long as none is known: no instance can be there.
pub fn nowhere(watched_as: &str) -> Endpoint {
    Endpoint::Tcp { host: watched_as.to_owned(), port: 0 }
}

impl PoolSettings {
    /// The shard at `index`, if it follows Sentinel.
    pub fn followed(&self, index: usize) -> Option<&Followed> {
        self.followed.get(index)?.as_ref()
    }

    /// What is known of the primary of the shard at `index`.
    pub fn primary(&self, index: usize) -> Primary {
        self.followed(index).map_or(Primary::Known, |followed| followed.primary)
    }

    /// The index of the shard of that name.
    pub fn shard_named(&self, name: &str) -> Option<usize> {
        self.pool.shards.iter().position(|shard| shard.name == name)
    }

    /// The same settings with another primary of the shard at `index`; `None` for none.
    #[must_use]
    pub fn with_primary(&self, index: usize, primary: Primary, at: Option<&Endpoint>) -> PoolSettings {
        let mut settings = self.clone();
        if let (Some(Some(followed)), Some(shard)) =
            (settings.followed.get_mut(index), settings.pool.shards.get_mut(index))
        {
            followed.primary = primary;
            shard.primary = at.cloned().unwrap_or_else(|| nowhere(&followed.sentinels.watched_as));
        }
        settings
    }

    /// Takes over what `before` knew of the primaries of shards that both have under one name and one `master_name`. Requests
    /// for the others wait until their sentinels have been asked.
    pub fn inherit_primaries(&mut self, before: Option<&PoolSettings>) {
        for (shard, followed) in self.pool.shards.iter_mut().zip(&mut self.followed) {
            let Some(followed) = followed else { continue };
            let known = before.and_then(|before| named(before, &shard.name));
            match known.filter(|(_, known)| known.sentinels.watched_as == followed.sentinels.watched_as) {
                Some((old, known)) => {
                    followed.primary = known.primary;
                    followed.status = known.status.clone();
                    shard.primary = old.primary.clone();
                }
                None => followed.primary = Primary::Switching,
            }
        }
    }

    /// Whether every shard that follows Sentinel has a primary.
    pub fn primaries_known(&self) -> bool {
        self.followed.iter().flatten().all(|followed| followed.primary == Primary::Known)
    }
}

fn named<'s>(settings: &'s PoolSettings, name: &str) -> Option<(&'s Shard, &'s Followed)> {
    let index = settings.shard_named(name)?;
    Some((&settings.pool.shards[index], settings.followed(index)?))
}
