//! Other pools, shards, weights and timeouts while clients are connected.
//!
//! Invariant: no session has requests outstanding under two configurations. One that has waits with its next request until
//! the replies are in, so that a pipeline never overtakes itself through a key's old and new home. Requests that were
//! parsed under the old configuration end there: an upstream whose server is gone is retired, not cut, and nothing is sent
//! twice.

use std::sync::Arc;

use super::admission::charge_the_rest;
use super::{Engine, Pool, Pools};
use crate::arena::Key;
use crate::failure::Failure;
use crate::gather::AnsweredIn;
use crate::health::Health;
use crate::server_auth::ServerAuth;
use crate::session::{Hold, NO_POOL, Phase as SessionPhase};
use crate::settings::PoolSettings;
use crate::tls::ServerTls;
use crate::upstream::{Home, Usage};

impl Engine {
    /// Goes over to other pools. Sessions and upstreams follow their pools and shards by name.
    ///
    /// # Errors
    /// If a pool has no router, which its validation would have told; nothing is changed then.
    pub fn reconfigure(&mut self, pools: Pools) -> Result<(), shoal_topology::Error> {
        let next: Vec<Pool> = pools
            .each()
            .map(|(settings, health, counts)| Pool::new(settings, health, counts, self.id_step))
            .collect::<Result<_, _>>()?;
        let mut before = std::mem::replace(&mut self.pools, next);
        let successor: Vec<Option<usize>> = before
            .iter()
            .map(|old| self.pools.iter().position(|pool| pool.settings.pool.name == old.settings.pool.name))
            .collect();
        for key in self.sessions.keys() {
            self.carry_pool(key, &before, &successor);
        }
        for (old, successor) in before.iter_mut().zip(&successor) {
            if let Some(index) = *successor {
                self.pools[index].slow_log = std::mem::take(&mut old.slow_log);
                self.pools[index].scripts = std::mem::take(&mut old.scripts);
                self.carry_upstreams(old, index);
                let now = &mut self.pools[index];
                let settings = now.settings.clone();
                let before = old.settings.clone();
                now.inherit_detour(old, |shard| same_server(&before, shard, &settings));
            }
            self.resumable.extend(old.break_gates());
            for key in old.lanes.iter().filter_map(|lane| *lane) {
                self.retire(key);
            }
        }
        let predecessor = |index: usize| successor.iter().position(|&now| now == Some(index));
        self.carry_held(&before, predecessor);
        self.retire_unshared();
        self.carry_access(&before, predecessor);
        for key in self.sessions.keys() {
            self.carry_session(key);
        }
        Ok(())
    }

    /// Has a session follow its pool, before anything else looks at it: whatever ends a request or a session from now on finds
    /// the pool as it is numbered now, or none. What was used is charged to the pool and the user that it was used under.
    fn carry_pool(&mut self, key: Key, before: &[Pool], successor: &[Option<usize>]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(old) = before.get(session.pool) {
            charge_the_rest(session, &old.settings.access, self.now);
        }
        session.pool = successor.get(session.pool).copied().flatten().unwrap_or(NO_POOL);
        session.answered_in = AnsweredIn::default();
    }

    /// Hands the upstreams that the pool at `index` can go on using over to it; the others stay in `old`.
    fn carry_upstreams(&mut self, old: &mut Pool, index: usize) {
        let lanes = old.lanes_each;
        let shared = usize::from(old.settings.server_connections);
        for place in 0..old.lanes.len() {
            let Some(key) = old.lanes[place] else { continue };
            let (shard, protocol, lane) = (place / lanes / 2, place / lanes % 2, place % lanes);
            let pool = &mut self.pools[index];
            let Some(shard) = same_server(&old.settings, shard, &pool.settings) else { continue };
            let shared_now = usize::from(pool.settings.server_connections);
            // Those for writes stand behind the others.
            let lane_now = match lane.checked_sub(shared) {
                Some(writes) => Some(shared_now + writes).filter(|&lane| lane < pool.lanes_each),
                None => Some(lane).filter(|&lane| lane < shared_now),
            };
            let Some(lane) = lane_now else { continue };
            let home = pool.home(shard);
            if let Some(upstream) = self.upstreams.get_mut(key) {
                upstream.home = home;
                upstream.pool = index;
                pool.lanes[(shard * 2 + protocol) * pool.lanes_each + lane] = Some(key);
                old.lanes[place] = None;
            }
        }
    }

    fn carry_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match self.pools.get(session.pool) {
            Some(pool) => {
                let settings = &pool.settings;
                session.lane = (session.id / self.id_step % u64::from(settings.server_connections)) as u16;
                // Whoever waited for an upstream may find another one, but nobody before all replies are in. A large request
                // ends where it was begun, and nothing follows it before it is answered.
                if session.stream.is_none() && (session.outstanding() > 0 || session.hold.is_some()) {
                    if session.hold != Some(Hold::Blocked) {
                        session.hold = Some(Hold::Barrier);
                    }
                    self.resumable.push_back(key);
                }
            }
            None => {
                if session.phase == SessionPhase::Open {
                    session.phase = SessionPhase::Draining;
                }
                self.finish_if_drained(key);
            }
        }
    }

    /// Lets an upstream end when the last request on it is answered.
    fn retire(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.usage = Usage::Retired;
        self.bury_if_retired(key);
    }

    /// Removes a retired upstream that owes nothing to anybody.
    pub(super) fn bury_if_retired(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.usage == Usage::Retired && upstream.awaits_primary() {
            // Nobody will say where it goes.
            return self.handle_upstream_failed(key, &Failure::NoPrimary);
        }
        if upstream.usage != Usage::Retired || !upstream.queue.is_empty() {
            return;
        }
        self.abandon(key);
    }
}

impl Pool {
    /// The server of `shard`, as an upstream to it keeps it.
    pub(super) fn home(&self, shard: usize) -> Home {
        Home {
            settings: self.settings.clone(),
            slow_micros: self.settings.slow_log.slow_micros(),
            shard,
            health: self.health.clone(),
            stats: self.counts.servers[shard].clone(),
            pool_stats: self.counts.pool.clone(),
        }
    }
}

/// The index in `now` of the shard that has index `shard` in `before`, if connections to it may be kept: the same name at the
/// same address, spoken to in the same way.
fn same_server(before: &PoolSettings, shard: usize, now: &PoolSettings) -> Option<usize> {
    let (tls_before, tls_now) = (before.server_tls.as_ref(), now.server_tls.as_ref());
    let same_user = ServerAuth::is_same_user(before.server_auth.as_ref(), now.server_auth.as_ref());
    if !same_user || before.database != now.database || !ServerTls::is_kept(tls_before, tls_now) {
        return None;
    }
    let old = &before.pool.shards[shard];
    now.pool.shards.iter().position(|new| new.name == old.name && new.primary == old.primary)
}

/// The health that goes with `now`, where `health` went with `before`: a server keeps its own by name and address.
pub fn follow_health(health: &Health, before: &PoolSettings, now: &PoolSettings) -> Arc<Health> {
    let known = |index: usize| {
        let new = &now.pool.shards[index];
        before.pool.shards.iter().position(|old| old.name == new.name && old.primary == new.primary)
    };
    Arc::new(health.follow(now.pool.shards.len(), now.ejection, known))
}
