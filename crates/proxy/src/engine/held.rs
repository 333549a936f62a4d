//! Upstreams that a session holds: while it watches keys, waits in a blocking command, subscribes, or tracks ([`super::tracking`]).
//!
//! ```text
//!   Spare, or a new one ──▶ Watching, Blocking, Subscribed ──▶ clean: Dedicated ──▶ Spare
//!                                      │
//!                                      ├─▶ its session is gone, or it is not known to be clean: closed
//!                                      └─▶ its server is gone, or not the shard's any more: closed, and the session is told
//! ```
//!
//! Invariant: an upstream of these usages has a holder, a session whose mode names it.

use shoal_resp::encode;

use super::request::Request;
use super::{Engine, Pool};
use crate::arena::Key;
use crate::failure::Failure;
use crate::server_auth::ServerAuth;
use crate::session::NO_POOL;
use crate::tls::ServerTls;
use crate::upstream::{Upstream, Usage};

/// Upstreams of one pool and worker that sessions hold. Beyond it WATCH, blocking commands, subscriptions and what a session
/// that tracks asks of a further shard are refused by name: whoever waited for one would wait on clients that may hold theirs for ever.
pub const HELD_MAX: usize = 1024;

/// Upstreams that were held and are kept for the next who wants to hold one, of one shard and version of RESP.
pub(super) const HELD_SPARES_MAX: usize = 32;

/// What is answered to a WATCH whose shard may be another one by now.
const VOID: &str = "ERR the shards of the pool have changed: UNWATCH, and WATCH again";

impl Engine {
    /// An upstream to `shard` for the session of `request` alone, or the error that it is answered.
    pub(super) fn hold_upstream(
        &mut self,
        request: Request<'_>,
        shard: usize,
        usage: Usage,
    ) -> Result<Key, Vec<u8>> {
        let (pool, protocol) = (request.pool, request.protocol);
        let entry = &self.pools[pool];
        let failure = match entry.detour.fails(shard) {
            true => Some(Failure::Ejected),
            false if self.lacks_primary(pool, shard) => Some(Failure::NoPrimary),
            false => self.is_backing_off(pool, shard, protocol, request.lane).then_some(Failure::BackingOff),
        };
        let mut error = Vec::new();
        if let Some(failure) = failure {
            failure.write(&mut error, &entry.settings, Some(shard));
            return Err(error);
        }
        if entry.held >= HELD_MAX {
            let name = &entry.settings.pool.name;
            let text = format!(
                "ERR pool {name} has no upstream left for WATCH, blocking commands and subscriptions: {HELD_MAX} are held \
                 by clients of this worker. Try again later, or run more workers"
            );
            encode::error(&mut error, &text);
            return Err(error);
        }
        let key = match self.take_spare(pool, shard, protocol) {
            Some(key) => key,
            None => {
                let key = self.upstreams.insert(Upstream::new(self.pools[pool].home(shard), protocol));
                self.connect(key);
                key
            }
        };
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.usage = usage;
            upstream.pool = pool;
            upstream.holder = Some(request.session);
            self.pools[pool].held += 1;
        }
        Ok(key)
    }

    /// A held upstream is clean once what was sent on it is answered: then it is anybody's.
    pub(super) fn give_back(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.usage.is_held() && upstream.usage != Usage::Tracking {
            upstream.usage = Usage::Dedicated;
            if let Some(pool) = self.pools.get_mut(upstream.pool) {
                pool.held -= 1;
                pool.dedicated += 1;
            }
        }
    }

    /// Closes an upstream that its session holds and needs no more.
    pub(super) fn let_go(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.usage.is_held() {
            upstream.usage = Usage::Retired;
            if let Some(pool) = self.pools.get_mut(upstream.pool) {
                pool.held -= 1;
            }
        }
        self.abandon(key);
    }

    /// A held upstream is being closed for another reason than its session's wish.
    pub(super) fn lose_held(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.usage = Usage::Retired;
        if let Some(pool) = self.pools.get_mut(upstream.pool) {
            pool.held -= 1;
        }
        let Some(holder) = upstream.holder else { return };
        let Some(session) = self.sessions.get_mut(holder) else { return };
        let Some(mode) = &mut session.mode else { return };
        if let Some(watch) = &mut mode.watch
            && watch.upstream == Some(key)
        {
            watch.upstream = None;
        }
        if mode.blocking == Some(key) {
            mode.blocking = None;
        }
        if mode.tracking.as_ref().is_some_and(|it| it.homes.iter().any(|home| home.upstream == key)) {
            self.lose_own(holder, key);
            return self.tidy_mode(holder);
        }
        if mode.subscriber.as_ref().is_some_and(|it| it.homes.iter().any(|home| home.upstream == key)) {
            self.cut_subscriber(holder);
        }
        self.tidy_mode(holder);
    }

    /// Other shards own keys of `pool` now than a moment ago: nothing that a session holds can be relied on.
    pub(super) fn unsettle_held(&mut self, pool: usize) {
        for key in self.sessions.keys() {
            if self.sessions.get(key).is_some_and(|session| session.pool == pool && session.mode.is_some()) {
                self.unsettle_session(key);
            }
        }
    }

    /// The shards of a session's pool have changed: its transaction and its watch are void.
    fn unsettle_session(&mut self, key: Key) {
        self.void_tracking(key);
        let Some(mode) = self.sessions.get_mut(key).and_then(|session| session.mode.as_deref_mut()) else {
            return;
        };
        if let Some(transaction) = &mut mode.transaction {
            transaction.outdated = true;
        }
        let subscribed = mode.subscriber.is_some();
        let watching = mode.watch.as_mut().and_then(|watch| watch.upstream.take());
        if let Some(upstream) = watching {
            // A WATCH that is not answered yet is told; EXEC will be, otherwise.
            let asked = self.upstreams.get(upstream).and_then(|upstream| upstream.queue.front().copied());
            self.let_go(upstream);
            if let Some(asked) = asked {
                let mut error = Vec::new();
                encode::error(&mut error, VOID);
                self.fail_request(key, asked.sequence, asked.part, &error, false);
            }
        }
        self.unblock(key);
        if subscribed {
            self.cut_subscriber(key);
        }
    }

    /// Carries what sessions hold over to other settings: `before` are the old pools, `predecessor` says which of them each was
    /// whose sessions have followed it. Where the topology is another one, it is void.
    pub(super) fn carry_held(&mut self, before: &[Pool], predecessor: impl Fn(usize) -> Option<usize>) {
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let Some(mode) = session.mode.as_deref_mut() else { continue };
            let now = (session.pool != NO_POOL).then_some(session.pool);
            let old = now.and_then(&predecessor).and_then(|old| before.get(old));
            let stays = now.filter(|&now| old.is_some_and(|old| old.places_as(&self.pools[now])));
            if let Some(now) = stays {
                let version = self.pools[now].health_version;
                if let Some(transaction) = &mut mode.transaction {
                    transaction.version = version;
                }
                if let Some(watch) = &mut mode.watch {
                    watch.version = version;
                }
            }
            for held in mode.upstreams() {
                let Some(upstream) = self.upstreams.get_mut(held) else { continue };
                // Where the pool is gone it is counted with another's until it is closed, a few lines below.
                upstream.pool = now.unwrap_or_default();
                if let Some(pool) = self.pools.get_mut(upstream.pool) {
                    pool.held += 1;
                    if stays.is_some() {
                        upstream.home = pool.home(upstream.home.shard);
                    }
                }
            }
            if now.is_some_and(|now| self.pools[now].replicates) {
                self.cut_tracker(key); // writes go by shared upstreams there
            }
            if stays.is_none() {
                self.unsettle_session(key);
            }
        }
    }

    /// The session has ended: what it held is closed.
    pub(super) fn close_held(&mut self, upstreams: &[Key]) {
        for &key in upstreams {
            self.let_go(key);
        }
    }

    /// Closes and forgets everything that the session holds: RESET.
    pub(super) fn leave_modes(&mut self, key: Key) {
        let mode = self.sessions.get_mut(key).and_then(|session| session.mode.take());
        if let Some(mode) = mode {
            self.close_held(&mode.upstreams());
        }
    }

    /// Drops the session's mode if there is nothing in it.
    pub(super) fn tidy_mode(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.mode.as_ref().is_some_and(|mode| mode.is_empty())
        {
            session.mode = None;
        }
    }
}

impl Pool {
    /// Whether each key has the same server under `now`, spoken to in the same way.
    fn places_as(&self, now: &Pool) -> bool {
        let (before, after) = (&self.settings, &now.settings);
        before.pool == after.pool
            && ServerAuth::is_same_user(before.server_auth.as_ref(), after.server_auth.as_ref())
            && before.database == after.database
            && ServerTls::is_kept(before.server_tls.as_ref(), after.server_tls.as_ref())
            && self.health.live() == now.health.live()
    }
}
