//! A worker's logic: sessions, upstreams, and the way of a request between them. No sockets, no clock.
//!
//! ```text
//!             handle_session_bytes                     poll_upstream, upstream_output
//!   client ──────▶ parse ▸ policy ▸ route ──▶ Upstream.output ───────────────────────▶ server
//!                                                 Upstream.queue: who waits
//!   client ◀────── Session.output ◀── in order ◀── delimit ◀───────────────────────── server
//!             poll_session, session_output             handle_upstream_bytes
//! ```
//!
//! A round of the worker: tell the engine what time it is ([`Engine::begin_round`]), hand it all that arrived (`handle_*`),
//! [`Engine::settle`], then send what it offers (`poll_*`), each touched connection once.
//!
//! Invariant: nothing here waits, and no request touches the heap once the worker is warm: bytes are appended to buffers
//! from the worker's pool, and a request in flight is one record in its session and one in its upstream's queue.

use std::collections::VecDeque;
use std::sync::Arc;

use shoal_hashkit::Random;
use shoal_resp::command::Group;
use shoal_resp::request::{RequestLimits, Span};
use shoal_topology::{Endpoint, Router};

use crate::arena::{Arena, Key};
use crate::buffer::BufferPool;
use crate::following::shard::Primary;
use crate::gather::Crowd;
use crate::health::{Health, Now};
use crate::join::Joins;
use crate::policy::Policies;
use crate::scan::Cursors;
use crate::scripts::Scripts;
use crate::session::{Hold, Phase as SessionPhase, Protocol, Session};
use crate::settings::{Dialect, Durability, PoolSettings};
use crate::slow_log::SlowLog;
use crate::stats::{PoolCounts, WorkerStats};
use crate::time::Time;
use crate::upstream::{Asked, Phase, Upstream, Usage};

mod admission;
mod backpressure;
mod blocking;
mod dedicated;
mod detour;
pub mod drain;
mod fan_out;
mod held;
mod muted;
pub mod observe;
mod pubsub;
pub mod reconfigure;
mod replicate;
mod reply;
mod request;
mod route;
mod secured;
mod slow;
mod split;
mod stream;
mod switch;
#[cfg(test)]
mod tests;
mod timers;
mod tracking;
mod transaction;

/// What the engine wants of the world, besides sending what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection for this upstream, to the primary of its shard.
    Connect(Key),
    /// Close this upstream's connection; the engine may ask for a new one at once.
    Disconnect(Key),
    /// Close this session's connection: the engine has forgotten it.
    End(Key),
    /// Close this session's connection if there is nothing to read from it, and say so by [`SessionEnd::Parted`]; read what
    /// there is otherwise.
    Part(Key),
    /// Take up reading from this session, which was not read because it was held.
    Read(Key),
    /// Take up reading from this upstream's server, which was not read because a session is owed too much.
    ReadUpstream(Key),
    /// Look whether this shard's primary is still the primary: the pool's name and its own.
    Doubt(Box<(String, String)>),
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The client closed its sending side: what it is owed is still sent.
    Eof,
    /// The socket failed.
    Error,
    /// We closed it between two requests, because the process is leaving.
    Parted,
}

/// What the pools are, for one worker.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Their settings.
    pub settings: Vec<Arc<PoolSettings>>,
    /// Their servers' health, shared with the other workers.
    pub health: Vec<Arc<Health>>,
    /// Where this worker counts.
    pub stats: Arc<WorkerStats>,
}

/// What an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// The pools.
    pub pools: Pools,
    /// Starts the random choices: the `random` distribution's, and the jitter of reconnects.
    pub seed: u32,
    /// Session ids are this, plus multiples of `id_step`.
    pub first_id: u64,
    /// The number of workers.
    pub id_step: u64,
}

/// A worker's logic.
#[derive(Debug)]
pub struct Engine {
    pools: Vec<Pool>,
    sessions: Arena<Session>,
    upstreams: Arena<Upstream>,
    joins: Joins,
    buffers: BufferPool,
    random: Random,
    limits: RequestLimits,
    /// Redis's own bounds for a client that has not given the password.
    limits_before_auth: RequestLimits,
    now: Time,
    unix_micros: u64,
    next_id: u64,
    id_step: u64,
    /// Scratch: what is noted of the request being taken.
    asked: Asked,
    /// Scratch: the words of the request being taken.
    args: Vec<Span>,
    /// Scratch: where its keys are among them.
    keys: Vec<usize>,
    /// Scratch: its keys by shards, if it is split.
    splitting: split::Splitting,
    touched_sessions: Vec<Key>,
    touched_upstreams: Vec<Key>,
    /// Scratch: the session whose request is being taken, if its upstreams are its own.
    tracker: Option<Key>,
    /// Upstreams whose output waits for company.
    gathering: Vec<Key>,
    /// Sessions whose hold may be over.
    resumable: VecDeque<Key>,
    /// Sessions that wait for a dedicated upstream.
    awaiting_dedicated: VecDeque<Key>,
    /// Upstreams whose servers are not read.
    paused: Vec<Key>,
    /// Whether something was sent to a client since they were last looked at.
    drained: bool,
    actions: VecDeque<Action>,
    next_deadline: Time,
    next_gather: Time,
    next_stall: Time,
    next_shrink: Time,
    leaving: Option<drain::Leaving>,
    next_gate: Time,
}

/// One pool as a worker sees it.
#[derive(Debug)]
struct Pool {
    settings: Arc<PoolSettings>,
    policies: Policies,
    router: Router,
    health: Arc<Health>,
    health_version: u64,
    /// When an ejected server comes back of itself (Twemproxy's way), in the process's microseconds.
    readmit_at: u64,
    /// The upstreams: by shard, then version of RESP, then lane.
    lanes: Vec<Option<Key>>,
    /// How many lanes there are of each shard and version of RESP; those for writes come behind the others.
    lanes_each: usize,
    /// Whether writes are answered when replicas have them.
    replicates: bool,
    /// How many upstreams are dedicated now.
    dedicated: usize,
    /// Upstreams that were, and wait for the next use.
    spares: Vec<Key>,
    /// How many upstreams sessions hold now.
    held: usize,
    counts: PoolCounts,
    /// What is different while a shard is out.
    detour: detour::Detour,
    slow_log: SlowLog,
    /// How cursors of a scan over all shards are written.
    cursors: Cursors,
    scripts: Scripts,
    /// When the primary of one of its shards may be doubted again.
    next_doubt: Time,
    /// Who could ask next.
    crowd: Crowd,
}

impl Engine {
    /// An engine without sessions.
    ///
    /// # Errors
    /// If a pool's topology has no router, which its validation would have told.
    pub fn new(parts: Parts) -> Result<Engine, shoal_topology::Error> {
        let pools = parts
            .pools
            .each()
            .map(|(settings, health, counts)| Pool::new(settings, health, counts, parts.id_step))
            .collect::<Result<_, _>>()?;
        Ok(Engine {
            pools,
            sessions: Arena::default(),
            upstreams: Arena::default(),
            joins: Joins::default(),
            buffers: BufferPool::default(),
            random: Random::seeded(parts.seed),
            limits: RequestLimits::default(),
            limits_before_auth: RequestLimits { args: 10, bulk: 16 * 1024, ..RequestLimits::default() },
            now: Time::default(),
            unix_micros: 0,
            next_id: parts.first_id,
            id_step: parts.id_step,
            asked: Group::Generic.into(),
            args: Vec::new(),
            keys: Vec::new(),
            splitting: split::Splitting::default(),
            touched_sessions: Vec::new(),
            touched_upstreams: Vec::new(),
            tracker: None,
            gathering: Vec::new(),
            resumable: VecDeque::new(),
            awaiting_dedicated: VecDeque::new(),
            paused: Vec::new(),
            drained: false,
            actions: VecDeque::new(),
            next_deadline: Time::NEVER,
            next_gather: Time::NEVER,
            next_stall: Time::NEVER,
            next_shrink: Time::default(),
            leaving: None,
            next_gate: Time::NEVER,
        })
    }

    /// Starts a round at `now`, which is `unix_micros` after the Unix epoch.
    pub fn begin_round(&mut self, now: Time, unix_micros: u64) {
        self.now = now;
        self.unix_micros = unix_micros;
        for pool in 0..self.pools.len() {
            self.pools[pool].crowd.turn(now);
            if self.pools[pool].follow_health(now) {
                self.follow_ejections(pool);
            }
        }
    }

    /// Takes in a client of pool `pool` that has connected from `peer`.
    pub fn open_session(&mut self, pool: usize, peer: Box<str>) -> Key {
        let settings = &self.pools[pool].settings;
        let id = self.next_id;
        self.next_id += self.id_step;
        let lane = (id / self.id_step % u64::from(settings.server_connections)) as u16;
        let stats = self.pools[pool].counts.pool.clone();
        let mut session = Session::new(pool, stats.clone(), id, lane, peer, settings.access.is_open());
        session.traffic.opened(self.now);
        let arrived = session.arrive(&settings.access);
        stats.sessions_total.add(1);
        stats.sessions.add(1);
        let key = self.sessions.insert(session);
        if let Err(over) = arrived {
            self.refuse_session(key, &over);
        }
        key
    }

    /// The client of `key` has closed, or its socket failed.
    pub fn handle_session_end(&mut self, key: Key, end: SessionEnd) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match end {
            SessionEnd::Eof => {
                session.stats.client_eof.add(1);
                // What has arrived and is held will still be answered; nothing more comes.
                session.ended = true;
                if !self.handle_session_hangup(key) {
                    self.finish_if_drained(key);
                }
            }
            SessionEnd::Error => {
                session.stats.client_err.add(1);
                self.end_session(key);
            }
            // Something may have come since it was asked to part.
            SessionEnd::Parted if !session.is_quiet() => {}
            SessionEnd::Parted => self.end_session(key),
        }
    }

    /// Whether the bytes of `key`'s client are wanted at the moment.
    pub fn wants_bytes(&self, key: Key) -> bool {
        self.sessions.get(key).is_some_and(|session| {
            let is_open = session.phase == SessionPhase::Open && !session.ended;
            let behind = blocking::BEHIND_BLOCKING_MAX;
            is_open
                && (session.hold.is_none()
                    || session.hold == Some(Hold::Blocked) && session.input.len() < behind)
        })
    }

    /// Takes up what was held and may go on; call it when all that arrived was handed in, before polling.
    pub fn settle(&mut self) {
        if !self.paused.is_empty() {
            self.resume_upstreams();
        }
        while let Some(key) = self.resumable.pop_front() {
            self.resume(key);
        }
    }

    /// The next session with replies to send.
    #[inline]
    pub fn poll_session(&mut self) -> Option<Key> {
        while let Some(key) = self.touched_sessions.pop() {
            if let Some(session) = self.sessions.get_mut(key) {
                session.touched = false;
                let session = match session.mode {
                    None => session,
                    Some(_) => match self.with_messages(key) {
                        Some(session) => session,
                        None => continue,
                    },
                };
                if session.phase == SessionPhase::Broken {
                    session.stats.client_err.add(1);
                    self.end_session(key);
                } else if !session.output.is_empty() {
                    return Some(key);
                } else {
                    self.finish_if_drained(key);
                }
            }
        }
        None
    }

    /// The replies that wait to be sent to `key`'s client.
    #[inline]
    pub fn session_output(&self, key: Key) -> &[u8] {
        self.sessions.get(key).map_or(&[], |session| session.output.as_slice())
    }

    /// `count` bytes of [`Engine::session_output`] were sent.
    #[inline]
    pub fn handle_session_sent(&mut self, key: Key, count: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.output.consume(count);
        session.traffic.bytes_out += count as u64;
        self.buffers.reclaim(&mut session.output);
        self.drained |= !self.paused.is_empty();
        if session.hold.is_some() && session.hold_is_over() {
            self.resumable.push_back(key);
        }
        let empty = session.output.is_empty();
        if let Some(join) = session.passing {
            self.pass_on(key, join);
        } else if empty {
            self.finish_if_drained(key);
        }
    }

    /// The socket of `key`'s client takes bytes again.
    pub fn handle_session_writable(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.output.is_empty()
        {
            touch(&mut session.touched, &mut self.touched_sessions, key);
        }
    }

    /// The next upstream with a batch to send now.
    #[inline]
    pub fn poll_upstream(&mut self) -> Option<Key> {
        while let Some(key) = self.touched_upstreams.pop() {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            upstream.touched = false;
            if !upstream.greeting.is_empty() {
                return Some(key);
            }
            if upstream.phase != Phase::Ready || upstream.output.is_empty() {
                continue;
            }
            if upstream.replication.is_open() {
                if self.close_batch(key) {
                    return Some(key);
                }
                continue;
            }
            if upstream.home.settings.gather
                && upstream.usage == Usage::Shared
                && let Err(until) = upstream.gather(self.now, self.pools[upstream.pool].crowd.is_any())
            {
                upstream.touched = true;
                self.gathering.push(key);
                self.next_gather = self.next_gather.min(until);
                continue;
            }
            upstream.home.stats.batches.add(1);
            return Some(key);
        }
        // Those that gather stay touched: a reply or the timer looks at them again.
        std::mem::swap(&mut self.gathering, &mut self.touched_upstreams);
        None
    }

    /// The bytes that wait to be sent to `key`'s server.
    #[inline]
    pub fn upstream_output(&self, key: Key) -> &[u8] {
        match self.upstreams.get(key) {
            Some(upstream) if !upstream.greeting.is_empty() => upstream.greeting.as_slice(),
            Some(upstream) => upstream.output.as_slice(),
            None => &[],
        }
    }

    /// `count` bytes of [`Engine::upstream_output`] were sent.
    #[inline]
    pub fn handle_upstream_sent(&mut self, key: Key, count: usize) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if !upstream.greeting.is_empty() {
            upstream.greeting.consume(count);
            self.buffers.reclaim(&mut upstream.greeting);
            return;
        }
        upstream.sent(count, self.now);
        self.buffers.reclaim(&mut upstream.output);
        if !upstream.holding.is_empty() && upstream.output.len() <= upstream.output_max() / 2 {
            self.resumable.extend(upstream.holding.drain(..));
        }
    }

    /// The socket of `key`'s server takes bytes again.
    pub fn handle_upstream_writable(&mut self, key: Key) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        }
    }

    /// What else the engine wants of the world.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether something is left to poll or to settle in this round.
    pub fn has_work(&self) -> bool {
        !self.resumable.is_empty()
            || !self.touched_sessions.is_empty()
            || !self.actions.is_empty()
            || self.drained
    }

    /// Where `key` connects to.
    pub fn upstream_endpoint(&self, key: Key) -> Option<&Endpoint> {
        let home = &self.upstreams.get(key)?.home;
        if home.settings.primary(home.shard) != Primary::Known {
            return None; // it is connected when there is one
        }
        home.settings.pool.shards.get(home.shard).map(|shard| &shard.primary)
    }

    /// Whether a connection to a server is being made.
    pub fn is_connecting(&self) -> bool {
        let opening = |phase| matches!(phase, Phase::Connecting | Phase::Greeting(_));
        self.upstreams.iter().any(|(_, upstream)| opening(upstream.phase))
    }

    /// How many places for sessions there are: above it no index of a session's key is in use.
    pub fn session_places(&self) -> usize {
        self.sessions.places()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.count()
    }

    /// Tells everything that memory is held for, for tests of bounds: requests in upstreams' queues and open joins.
    pub fn outstanding(&self) -> (usize, usize) {
        (self.upstreams.iter().map(|(_, upstream)| upstream.queue.len()).sum(), self.joins.open_count())
    }

    /// The most bytes of replies that any session is owed.
    #[cfg(test)]
    fn owed_at_most(&self) -> usize {
        self.sessions.iter().map(|(_, session)| session.owed()).max().unwrap_or_default()
    }

    fn touch_session(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(key) {
            touch(&mut session.touched, &mut self.touched_sessions, key);
        }
    }

    /// Ends the session if nothing more comes and it is owed nothing.
    fn finish_if_drained(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else { return };
        let is_deaf = session.phase != SessionPhase::Open;
        let has_ended = session.ended && session.hold.is_none();
        if session.stream.is_some() && (has_ended || is_deaf && session.output.is_empty()) {
            return self.end_session(key); // the rest of the large request that it has begun never comes
        }
        if (is_deaf || has_ended) && session.outstanding() == 0 && session.output.is_empty() {
            self.end_session(key);
        } else {
            self.part_if_quiet(key);
        }
    }

    fn end_session(&mut self, key: Key) {
        let Some(mut session) = self.sessions.remove(key) else { return };
        if let Some(upstream) = session.stream.as_ref().and_then(|stream| stream.upstream) {
            self.abandon(upstream); // it was sent a part of a request
        }
        if let Some(pool) = self.pools.get(session.pool) {
            admission::charge_the_rest(&mut session, &pool.settings.access, self.now);
        }
        session.stats.sessions.add(-1);
        if let Some(mode) = &session.mode {
            self.close_held(&mode.upstreams());
        }
        for join in session.dissolve(&mut self.buffers) {
            self.joins.forsake(&mut self.buffers, join);
        }
        self.actions.push_back(Action::End(key));
    }

    fn health_now(&self) -> Now {
        Now { monotonic: self.now.as_micros().max(1), unix: self.unix_micros }
    }
}

impl Pool {
    fn new(
        settings: Arc<PoolSettings>,
        health: Arc<Health>,
        counts: PoolCounts,
        workers: u64,
    ) -> Result<Pool, shoal_topology::Error> {
        let version = health.version();
        let router = Router::new(&settings.pool, &detour::routed(&settings, &health))?;
        let lanes_each = usize::from(settings.lanes());
        let lanes = settings.pool.shards.len() * 2 * lanes_each;
        Ok(Pool {
            readmit_at: readmit_at(&settings, &health),
            detour: detour::Detour::new(&settings, &health, workers),
            policies: Policies::new(settings.multi_key, settings.dialect, settings.pass_admin_commands),
            router,
            health,
            health_version: version,
            lanes: vec![None; lanes],
            lanes_each,
            replicates: settings.durability != Durability::Async,
            dedicated: 0,
            spares: Vec::new(),
            held: 0,
            counts,
            slow_log: SlowLog::default(),
            cursors: Cursors::of(&settings.pool),
            scripts: Scripts::default(),
            next_doubt: Time::default(),
            crowd: Crowd::default(),
            settings,
        })
    }

    /// Where the upstream of `lane` to `shard` is among the lanes.
    #[inline]
    fn lane_place(&self, shard: usize, protocol: Protocol, lane: usize) -> usize {
        (shard * 2 + usize::from(protocol == Protocol::Resp3)) * self.lanes_each + lane
    }

    /// Routes by the servers that are in now; true if they are others than before.
    #[inline]
    fn follow_health(&mut self, now: Time) -> bool {
        if self.readmit_at <= now.as_micros() {
            for server in self.health.due(now.as_micros()) {
                self.health.readmit(server);
            }
        }
        let version = self.health.version();
        if version == self.health_version {
            return false;
        }
        self.health_version = version;
        self.readmit_at = readmit_at(&self.settings, &self.health);
        // The same pool had a router before, and liveness alone cannot make it fail.
        if let Ok(router) = Router::new(&self.settings.pool, &detour::routed(&self.settings, &self.health)) {
            self.router = router;
        }
        true
    }
}

/// When an ejected server comes back of itself: in our dialect never, since it is probed first.
fn readmit_at(settings: &PoolSettings, health: &Health) -> u64 {
    match settings.dialect {
        Dialect::Nutcracker => health.next_due().unwrap_or(u64::MAX),
        Dialect::Shoal => u64::MAX,
    }
}

impl Pools {
    fn each(self) -> impl Iterator<Item = (Arc<PoolSettings>, Arc<Health>, PoolCounts)> {
        let counts = self.stats.pools.clone();
        self.settings
            .into_iter()
            .zip(self.health)
            .zip(counts)
            .map(|((settings, health), counts)| (settings, health, counts))
    }
}

#[inline]
fn touch(touched: &mut bool, list: &mut Vec<Key>, key: Key) {
    if !*touched {
        *touched = true;
        list.push(key);
    }
}
