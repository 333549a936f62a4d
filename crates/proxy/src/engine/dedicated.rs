//! Upstreams that are not shared: for large requests, and for those on which a large reply is coming in.
//!
//! ```text
//!                   a large reply's length is read
//!   Shared ──────────────────────────────────────────▶ Dedicated ── idle ──▶ a lane without upstream: Shared
//!     ▲  the lane gets a spare, or opens another          ▲  │               few spares: Spare
//!     └───────────────── Spare ◀── a large request ───────┘  └─────────────▶ otherwise it is closed
//! ```
//!
//! Invariant: a session never has requests outstanding on two upstreams of one shard. Who waits on an upstream that leaves
//! sharing sends nothing more until all it waits for is answered; a large request is sent when its session is owed nothing,
//! and nothing follows it until it is answered.

use std::time::Duration;

use super::held::HELD_SPARES_MAX;
use super::{Action, Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::session::{Hold, Protocol};
use crate::time::Time;
use crate::upstream::{Phase, Upstream, Usage};

/// Dedicated upstreams of one pool and worker. Beyond it large requests wait, and large replies stay on shared upstreams.
pub const DEDICATED_MAX: usize = 64;

/// Idle upstreams kept for the next large request or reply, of one shard and version of RESP.
const SPARES_MAX: usize = 2;

/// How long a spare is kept unused.
const SPARE_KEPT: Duration = Duration::from_secs(10);

/// Why there is no dedicated upstream.
pub(super) enum Denied {
    /// All are in use: the session waits for one.
    Busy,
    /// The shard is down.
    Failed(Failure),
}

impl Engine {
    /// A dedicated upstream to `shard`.
    pub(super) fn dedicated(
        &mut self,
        pool: usize,
        shard: usize,
        protocol: Protocol,
        lane: usize,
    ) -> Result<Key, Denied> {
        // The shared one knows whether the shard is down and when it is tried again.
        if self.is_backing_off(pool, shard, protocol, lane) {
            return Err(Denied::Failed(Failure::BackingOff));
        }
        if self.lacks_primary(pool, shard) {
            return Err(Denied::Failed(Failure::NoPrimary));
        }
        if self.pools[pool].dedicated >= DEDICATED_MAX && !self.reclaim_idle_upload(pool) {
            return Err(Denied::Busy);
        }
        let key = match self.take_spare(pool, shard, protocol) {
            Some(key) => key,
            None => {
                let key = self.upstreams.insert(Upstream::new(self.pools[pool].home(shard), protocol));
                self.connect(key);
                key
            }
        };
        self.dedicate(key, pool);
        Ok(key)
    }

    fn dedicate(&mut self, key: Key, pool: usize) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.usage = Usage::Dedicated;
            upstream.pool = pool;
            self.pools[pool].dedicated += 1;
        }
    }

    pub(super) fn take_spare(&mut self, pool: usize, shard: usize, protocol: Protocol) -> Option<Key> {
        let place = self.pools[pool].spares.iter().rposition(|&key| {
            self.upstreams
                .get(key)
                .is_some_and(|upstream| upstream.home.shard == shard && upstream.protocol == protocol)
        })?;
        Some(self.pools[pool].spares.remove(place))
    }

    /// Cuts a client that has begun a large request and then fell silent for longer than the client_stall_timeout; whether
    /// there was one. Only done when others need its upstream.
    fn reclaim_idle_upload(&mut self, pool: usize) -> bool {
        let limit = self.pools[pool].settings.client_stall_timeout;
        let idle = self.upstreams.iter().find_map(|(_, upstream)| {
            let waits = upstream.usage == Usage::Dedicated
                && upstream.pool == pool
                && upstream.receiving
                && upstream.output.is_empty();
            let last = upstream.queue.back()?;
            (waits && last.queued_at + limit <= self.now).then_some(last.session)
        });
        let Some(session) = idle else { return false };
        self.pools[pool].counts.pool.client_stalled.add(1);
        self.end_session(session);
        true
    }

    /// Takes `key` out of sharing if a large reply comes in on it.
    pub(super) fn detach(&mut self, key: Key) {
        let found = self.pools.iter().enumerate().find_map(|(index, pool)| {
            let place = pool.lanes.iter().position(|lane| *lane == Some(key))?;
            Some((index, place))
        });
        let Some((pool, place)) = found else { return };
        if self.pools[pool].dedicated >= DEDICATED_MAX {
            return;
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let (shard, protocol) = (upstream.home.shard, upstream.protocol);
        self.resumable.extend(upstream.holding.drain(..));
        for pending in upstream.queue.iter().filter(|pending| !pending.is_forsaken()) {
            if let Some(session) = self.sessions.get_mut(pending.session) {
                session.hold = Some(Hold::Barrier);
            }
        }
        let spare = self.take_spare(pool, shard, protocol);
        if let Some(spare) = spare.and_then(|spare| self.upstreams.get_mut(spare)) {
            spare.usage = Usage::Shared;
        }
        self.pools[pool].lanes[place] = spare;
        self.dedicate(key, pool);
    }

    /// Finds the next use of an upstream that is not shared and owes nothing to anybody.
    pub(super) fn settle_unshared(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        match upstream.usage {
            Usage::Shared | Usage::Spare | Usage::Watching | Usage::Subscribed | Usage::Tracking => {}
            Usage::Retired => self.bury_if_retired(key),
            Usage::Dedicated if !upstream.queue.is_empty() => self.close_if_unwanted(key),
            Usage::Blocking if !upstream.queue.is_empty() => {}
            Usage::Blocking => {
                self.end_blocking(key);
                self.give_back(key);
                self.settle_unshared(key);
            }
            Usage::Dedicated => {
                let most = if upstream.holder.is_some() { HELD_SPARES_MAX } else { SPARES_MAX };
                let (pool, shard, protocol) = (upstream.pool, upstream.home.shard, upstream.protocol);
                upstream.usage = Usage::Spare;
                upstream.holder = None;
                upstream.spare_since = self.now;
                self.leave_dedicated(pool);
                let entry = &self.pools[pool];
                let mut lanes = 0..usize::from(entry.settings.server_connections);
                let vacant = lanes.find_map(|lane| {
                    let place = entry.lane_place(shard, protocol, lane);
                    entry.lanes[place].is_none().then_some(place)
                });
                if let Some(place) = vacant {
                    self.pools[pool].lanes[place] = Some(key);
                    if let Some(upstream) = self.upstreams.get_mut(key) {
                        upstream.usage = Usage::Shared;
                    }
                } else if self.spares_of(pool, shard, protocol) < most {
                    self.pools[pool].spares.push(key);
                } else {
                    self.abandon(key);
                }
            }
        }
    }

    fn spares_of(&self, pool: usize, shard: usize, protocol: Protocol) -> usize {
        let fits = |upstream: &Upstream| upstream.home.shard == shard && upstream.protocol == protocol;
        let spares = self.pools[pool].spares.iter();
        spares.filter(|&&key| self.upstreams.get(key).is_some_and(fits)).count()
    }

    /// A dedicated upstream of `pool` is free: whoever waits for one may try.
    pub(super) fn leave_dedicated(&mut self, pool: usize) {
        self.pools[pool].dedicated -= 1;
        self.resumable.extend(self.awaiting_dedicated.drain(..));
    }

    /// Closes an upstream that is not shared if all that still comes on it is the rest of a reply that nobody wants.
    pub(super) fn close_if_unwanted(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let is_there = |session: Key| self.sessions.get(session).is_some();
        let mut owed = upstream.queue.iter().filter(|pending| !pending.is_forsaken());
        let is_wanted =
            owed.any(|pending| is_there(pending.session)) || upstream.replication.sessions().any(is_there);
        if !is_wanted {
            self.abandon(key);
        }
    }

    /// Closes an upstream that is not shared, and forgets it with all that was queued on it. Its server has not failed.
    pub(super) fn abandon(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.usage.is_held() {
            self.lose_held(key);
        } else if upstream.usage == Usage::Dedicated {
            let pool = upstream.pool;
            upstream.usage = Usage::Retired;
            self.leave_dedicated(pool);
        }
        self.forget_spare(key);
        let Some(mut upstream) = self.upstreams.remove(key) else { return };
        if upstream.receiving
            && let Some(last) = upstream.queue.back()
        {
            self.stop_stream(last.session);
        }
        if !matches!(upstream.phase, Phase::Idle(_)) {
            upstream.home.stats.connections.add(-1);
            self.actions.push_back(Action::Disconnect(key));
        }
        self.resumable.extend(upstream.holding.drain(..));
        let kept: Vec<_> = upstream.replication.end().into();
        if !kept.is_empty() {
            let mut error = Vec::new();
            Failure::Closed.write(&mut error, &upstream.home.settings, Some(upstream.home.shard));
            self.fail_unreplicated(&upstream.home, &kept, &error);
        }
        upstream.in_flight.release(&mut self.buffers, u64::MAX);
        for buffer in [upstream.output, upstream.greeting, upstream.greeted, upstream.frame] {
            self.buffers.release(buffer);
        }
    }

    fn forget_spare(&mut self, key: Key) {
        for pool in &mut self.pools {
            pool.spares.retain(|&spare| spare != key);
        }
    }

    /// An upstream that is not shared has failed: it is not opened again.
    pub(super) fn bury_failed(&mut self, key: Key) {
        if self.upstreams.get(key).is_some_and(|upstream| upstream.usage != Usage::Shared) {
            self.abandon(key);
        }
    }

    /// Closes spares that nobody has needed, and lets those try again who wait for a dedicated upstream.
    pub(super) fn tend_dedicated(&mut self) {
        let spares = self.pools.iter().flat_map(|pool| pool.spares.iter().copied());
        let unused: Vec<Key> = spares
            .filter(|&key| {
                self.upstreams.get(key).is_none_or(|upstream| upstream.spare_since + SPARE_KEPT <= self.now)
            })
            .collect();
        for key in unused {
            self.abandon(key);
        }
        self.resumable.extend(self.awaiting_dedicated.drain(..));
    }

    /// Other settings come into force: what is dedicated ends with its present use, spares end at once.
    pub(super) fn retire_unshared(&mut self) {
        let unshared = |(key, upstream): (Key, &Upstream)| match upstream.usage {
            // Also what sessions held a moment ago, and gave back because their keys move.
            Usage::Dedicated | Usage::Spare => Some(key),
            // What is still held was carried over, and goes on.
            _ => None,
        };
        for key in self.upstreams.iter().filter_map(unshared).collect::<Vec<_>>() {
            if let Some(upstream) = self.upstreams.get_mut(key) {
                upstream.usage = Usage::Retired;
            }
            self.bury_if_retired(key);
        }
        self.pools.iter_mut().for_each(|pool| pool.dedicated = 0); // what was given back had been counted
        self.resumable.extend(self.awaiting_dedicated.drain(..));
    }

    /// Notes that bytes of a large request were appended to `key`.
    pub(super) fn extend_request(&mut self, key: Key, bytes: &[u8], last: bool) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        self.buffers.append(&mut upstream.output, bytes);
        upstream.extended(bytes.len(), self.now);
        upstream.receiving = !last;
        upstream.home.stats.request_bytes.add(bytes.len() as u64);
        let timeout = upstream.home.settings.timeout;
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        self.note_deadline(timeout);
    }
}

impl Upstream {
    /// Whether the request on its way in waits for its client, so that no deadline of the server's runs.
    pub(super) fn awaits_client(&self) -> bool {
        self.receiving && self.output.is_empty()
    }

    /// Whether its server is not read.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_at != Time::NEVER
    }
}
