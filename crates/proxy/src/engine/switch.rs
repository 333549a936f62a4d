//! The primary of a shard changes: Sentinel has made another instance the primary.
//!
//! ```text
//!   Stop     every connection to the old one is cut: what was sent fails, its fate unknown; what was not waits
//!   Unknown  what waits fails by name, and so does what comes
//!   To       what waits, and what comes, goes to the new one
//! ```
//!
//! Invariant: from the moment that a worker has taken Stop, nothing of a request goes to the old primary from it, and nothing
//! that was sent there in whole or in part is sent again. Only when all workers have taken Stop are any told of the next
//! primary ([`crate::following`]).

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Engine};
use crate::arena::Key;
use crate::failure::Failure;
use crate::following::shard::Primary;
use crate::scan::Cursors;
use crate::settings::PoolSettings;
use crate::upstream::{Phase, Upstream, Usage};

/// The least pause between two doubts of one worker about the primaries of a pool.
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Goes over to `settings`, which tell another primary of `shard`, or that there is none, and nothing else that is new.
    pub fn switch(&mut self, settings: &Arc<PoolSettings>, shard: usize) {
        let name = &settings.pool.name;
        let Some(index) = self.pools.iter().position(|pool| pool.settings.pool.name == *name) else { return };
        let pool = &mut self.pools[index];
        let before = std::mem::replace(&mut pool.settings, settings.clone());
        // Every instance has cursors of its own.
        pool.cursors = Cursors::of(&settings.pool);
        let primary = settings.primary(shard);
        let is_new = primary != Primary::Known
            || before.pool.shards.get(shard).map(|shard| &shard.primary)
                != settings.pool.shards.get(shard).map(|shard| &shard.primary);
        for key in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            let of_shard = upstream.is_of(settings, shard);
            let is_current = Arc::ptr_eq(&upstream.home.settings, &before);
            // It was opened since nobody is sent to: there is no connection to cut.
            let waits = is_current && upstream.awaits_primary();
            if is_current {
                upstream.home.settings = settings.clone();
            }
            match primary {
                _ if !of_shard => {}
                Primary::Unknown => self.handle_upstream_failed(key, &Failure::NoPrimary),
                Primary::Switching | Primary::Known => {
                    if is_new && !waits {
                        self.cut_off(key);
                    }
                    self.lead_on(key, primary);
                }
            }
        }
    }

    /// Cuts the connection of `key`, if there is one. Who was not asked yet for them waits on.
    fn cut_off(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if matches!(upstream.phase, Phase::Idle(_)) {
            upstream.phase = Phase::Idle(self.now);
            upstream.attempts = 0;
            return;
        }
        // What is held or retired, and large requests, are bound to what was sent before.
        let unsent = (upstream.usage == Usage::Shared).then(|| upstream.take_unsent());
        self.handle_upstream_failed(key, &Failure::Switched);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.phase = Phase::Idle(self.now);
        upstream.attempts = 0;
        if let Some(unsent) = unsent
            && !unsent.is_empty()
        {
            upstream.put_back(unsent);
            self.connect(key);
        }
    }

    /// Has those connect who wait for a primary.
    fn lead_on(&mut self, key: Key, primary: Primary) {
        let waits = self.upstreams.get(key).is_some_and(|upstream| upstream.phase == Phase::Connecting);
        if waits && primary == Primary::Known && !self.actions.contains(&Action::Connect(key)) {
            self.actions.push_back(Action::Connect(key));
        }
    }

    /// Why nothing can be asked of `shard`, as far as its primary goes.
    pub(super) fn lacks_primary(&self, pool: usize, shard: usize) -> bool {
        self.pools[pool].settings.primary(shard) == Primary::Unknown
    }

    /// The instance of `key` does not act as a primary: if its shard follows Sentinel, somebody is to look.
    #[cold]
    pub(super) fn doubt(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let home = &upstream.home;
        if home.settings.followed(home.shard).is_none() {
            return;
        }
        let name = &home.settings.pool.name;
        let shard = home.settings.pool.shards.get(home.shard).map(|shard| shard.name.clone());
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.settings.pool.name == *name) else { return };
        if let Some(shard) = shard
            && pool.next_doubt <= self.now
        {
            pool.next_doubt = self.now + DOUBT_PAUSE;
            self.actions.push_back(Action::Doubt(Box::new((name.clone(), shard))));
        }
    }
}

impl Upstream {
    /// Whether it is to be connected when its shard has a primary.
    pub(super) fn awaits_primary(&self) -> bool {
        self.phase == Phase::Connecting && self.home.settings.primary(self.home.shard) == Primary::Switching
    }

    /// Whether it goes to what `settings` call `shard`, under whatever settings it was opened.
    fn is_of(&self, settings: &PoolSettings, shard: usize) -> bool {
        let own = self.home.settings.pool.shards.get(self.home.shard).map(|own| &own.name);
        self.home.settings.pool.name == settings.pool.name
            && own.is_some()
            && own == settings.pool.shards.get(shard).map(|shard| &shard.name)
    }
}
