//! While a shard is out of its pool: its keys go elsewhere and are remembered, or fail; while it returns, they wait.
//!
//! All of this is off the way of a request while every shard is in: one look at `Detour::is_active`. While one is out, a
//! key that is remembered costs an allocation, and every request is routed twice.

use std::sync::Arc;
use std::time::Duration;

use shoal_resp::command::{Command, Flags, lookup_sub};
use shoal_resp::request::Span;
use shoal_topology::{Distribution, Route, Router};

use super::{Action, Engine, Pool};
use crate::arena::Key;
use crate::failure::Failure;
use crate::health::Health;
use crate::mode::Holding;
use crate::moved_keys::{MOVED_KEYS_MAX, Moved, MovedKeys};
use crate::policy::Policy;
use crate::returning::gate::Gate;
use crate::session::Hold;
use crate::settings::{Dialect, PoolSettings};
use crate::time::Time;
use crate::upstream::{Pending, Phase, Usage};

/// How long clients are held for a return at most; then all goes on as before, and the return is tried again.
const HELD_MAX: Duration = Duration::from_millis(500);

/// What a worker knows of the shards of one pool that are out.
#[derive(Debug)]
pub(super) struct Detour {
    /// Which shards are out, where their keys fail.
    failing: Vec<bool>,
    /// Where keys are when all shards are in; only while one is out, and what is written elsewhere is remembered.
    home: Option<Router>,
    moved: MovedKeys,
    /// Closed or being waited for by returns.
    gates: Vec<Waiting>,
}

/// A worker's part of a return: what was sent before must be answered.
#[derive(Debug)]
struct Waiting {
    gate: Arc<Gate>,
    /// Where keys will be, if requests for those that change their place are held.
    next: Option<Router>,
    /// The upstreams that had requests, and the last request of each: session, sequence, part.
    sent: Vec<(Key, (Key, u32, u16))>,
    answered: bool,
    until: Time,
    held: Vec<Key>,
}

/// What becomes of a request while a shard is out.
pub(super) enum Detoured {
    /// It waits for a return that is under way.
    Held,
    /// It would write a key elsewhere that cannot be remembered; the index of its home.
    Forgotten(usize),
}

impl Detour {
    pub(super) fn new(settings: &PoolSettings, health: &Health, workers: u64) -> Detour {
        let share = MOVED_KEYS_MAX / usize::try_from(workers).unwrap_or(usize::MAX).max(1);
        let mut detour =
            Detour { failing: Vec::new(), home: None, moved: MovedKeys::new(share), gates: Vec::new() };
        detour.follow(settings, health);
        detour
    }

    /// Whether requests must be looked at.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        self.home.is_some() || !self.gates.is_empty()
    }

    /// Whether keys of `shard` fail at the moment.
    #[inline]
    pub(super) fn fails(&self, shard: usize) -> bool {
        self.failing.get(shard).copied().unwrap_or(false)
    }

    fn follow(&mut self, settings: &PoolSettings, health: &Health) {
        let live = health.live();
        let all_in = !live.contains(&false);
        self.failing = match settings.ejected_keys_fail() && !all_in {
            true => live.iter().map(|live| !live).collect(),
            false => Vec::new(),
        };
        // Where keys go by lot they have no home, and a value is found by luck alone.
        let remembers = settings.empties() && settings.pool.distribution != Distribution::Random;
        self.home = match remembers && !all_in {
            true => Router::new(&settings.pool, &vec![true; live.len()]).ok(),
            false => None,
        };
    }
}

/// The servers that a pool's keys are shared out over.
pub(super) fn routed(settings: &PoolSettings, health: &Health) -> Vec<bool> {
    let live = health.live();
    if settings.ejected_keys_fail() { vec![true; live.len()] } else { live }
}

impl Engine {
    /// Servers of `pool` were ejected or have returned: what was asked of the first fails, the second are connected to at once.
    pub(super) fn follow_ejections(&mut self, pool: usize) {
        let entry = &mut self.pools[pool];
        entry.detour.follow(&entry.settings, &entry.health);
        let live = entry.health.live();
        let health = entry.health.clone();
        // Whatever a gate waited for, places are others now. One that is committed has just had its way.
        for waiting in entry.detour.gates.drain(..) {
            let _ = waiting.gate.break_off();
            self.resumable.extend(waiting.held);
        }
        if self.pools[pool].settings.dialect == Dialect::Nutcracker {
            return;
        }
        for key in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            if !Arc::ptr_eq(&upstream.home.health, &health) {
                continue;
            }
            let is_in = live.get(upstream.home.shard).copied().unwrap_or(true);
            match upstream.phase {
                Phase::Idle(_) if is_in => {
                    upstream.phase = Phase::Idle(self.now);
                    upstream.attempts = 0;
                }
                Phase::Idle(_) => {}
                _ if is_in => {}
                _ if upstream.queue.is_empty() => self.close_quietly(key),
                _ => self.handle_upstream_failed(key, &Failure::Ejected),
            }
        }
        if !self.pools[pool].settings.ejected_keys_fail() {
            self.unsettle_held(pool);
        }
    }

    /// Closes a connection that nobody waits on.
    fn close_quietly(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.usage != Usage::Shared {
            return self.abandon(key);
        }
        upstream.reset(&mut self.buffers);
        self.resumable.extend(upstream.holding.drain(..));
        upstream.phase = Phase::Idle(self.now);
        upstream.home.stats.connections.add(-1);
        for buffer in [&mut upstream.output, &mut upstream.greeting, &mut upstream.greeted] {
            self.buffers.release(std::mem::take(buffer));
        }
        self.actions.push_back(Action::Disconnect(key));
    }

    /// Whether a return is under way that moves keys; then `session` is told when it is over.
    pub(super) fn held_at_gate(&mut self, session: Key, pool: usize) -> bool {
        let gates = &mut self.pools[pool].detour.gates;
        let closed = gates.iter_mut().find(|waiting| waiting.next.is_some());
        closed.map(|waiting| waiting.held.push(session)).is_some()
    }

    /// Looks at a request while a shard of its pool is out: remembers what it writes elsewhere, and holds it if its keys are
    /// about to change their place. `None` if it may go its way.
    pub(super) fn detour(
        &mut self,
        session: Key,
        pool: usize,
        raw: &[u8],
        args: &[Span],
        command: &Command,
        policy: Policy,
    ) -> Option<Detoured> {
        let command = match policy {
            Policy::Container => lookup_sub(command, args.get(1)?.of(raw))?,
            Policy::Holding(Holding::Block) => command,
            Policy::Local(_) | Policy::Refused | Policy::Anywhere | Policy::Holding(_) => return None,
            _ => command,
        };
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        let writes = !command.flags.contains(Flags::READONLY);
        let detoured = match command.keys(raw, args, &mut keys) {
            Ok(()) => {
                let all_at_first = !matches!(policy, Policy::Split(_));
                let key = |&place: &usize| args[place].of(raw);
                self.detour_keys(session, pool, keys.iter().map(key), writes, all_at_first)
            }
            Err(_) => None, // the server says what is wrong with it
        };
        self.keys = keys;
        detoured
    }

    /// The same for a large request that is passed on while it comes in, whose only key is `key`.
    pub(super) fn detour_large(
        &mut self,
        session: Key,
        pool: usize,
        command: &Command,
        key: &[u8],
    ) -> Option<Detoured> {
        let writes = !command.flags.contains(Flags::READONLY);
        self.detour_keys(session, pool, std::iter::once(key), writes, true)
    }

    fn detour_keys<'k>(
        &mut self,
        session: Key,
        pool: usize,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        writes: bool,
        all_at_first: bool,
    ) -> Option<Detoured> {
        let entry = &mut self.pools[pool];
        for waiting in &mut entry.detour.gates {
            let Some(next) = &waiting.next else { continue };
            let moves =
                |key: &[u8]| next.route(key, &mut self.random) != entry.router.route(key, &mut self.random);
            if keys.clone().any(moves) {
                waiting.held.push(session);
                return Some(Detoured::Held);
            }
        }
        if !writes {
            return None;
        }
        let home_of = entry.detour.home.as_ref()?;
        let mut first = None;
        for key in keys {
            let Route::Shard(home) = home_of.route(key, &mut self.random) else { continue };
            let Route::Shard(own) = entry.router.route(key, &mut self.random) else { continue };
            let place = if all_at_first { *first.get_or_insert(own) } else { own };
            if place != home && !entry.detour.moved.note(key, home as u16, place as u16) {
                return Some(Detoured::Forgotten(home));
            }
        }
        None
    }

    /// A return of a shard begins its part here: once everything is answered that was sent before, [`Engine::poll_gate`] gives
    /// what is remembered. With `next`, requests whose keys will change their place are held meanwhile, and until the shard is
    /// in or the gate is broken off. False if the pool is not known here (any more).
    pub fn raise_gate(&mut self, health: &Arc<Health>, gate: Arc<Gate>, returning: Option<usize>) -> bool {
        let Some(entry) = self.pools.iter_mut().find(|pool| Arc::ptr_eq(&pool.health, health)) else {
            return false;
        };
        let next = returning.and_then(|shard| {
            let mut live = health.live();
            *live.get_mut(shard)? = true;
            Router::new(&entry.settings.pool, &live).ok()
        });
        if returning.is_some() && (next.is_none() || entry.health_version != health.version()) {
            return false;
        }
        let asked = self.upstreams.iter().filter(|(_, upstream)| Arc::ptr_eq(&upstream.home.health, health));
        // A blocking command is not waited for: it is told to ask again when the shard is in.
        let sessions = &self.sessions;
        let blocks = |session: Key| sessions.get(session).is_some_and(|it| it.hold == Some(Hold::Blocked));
        let asked = asked.filter(|(_, upstream)| match upstream.usage {
            Usage::Tracking => !upstream.holder.is_some_and(blocks),
            usage => !usage.is_held(),
        });
        let sent = asked.filter_map(|(key, upstream)| {
            let last = upstream.queue.back()?;
            Some((key, (last.session, last.sequence, last.part)))
        });
        let waiting = Waiting {
            gate,
            next,
            sent: sent.collect(),
            answered: false,
            until: self.now + HELD_MAX,
            held: Vec::new(),
        };
        self.next_gate = self.next_gate.min(waiting.until);
        entry.detour.gates.push(waiting);
        // What is noted from now on may still be on its way when the gate is answered.
        entry.detour.moved.seal();
        true
    }

    /// A gate before which all is answered, with what this worker remembers.
    pub fn poll_gate(&mut self) -> Option<(Arc<Gate>, Moved)> {
        for entry in &mut self.pools {
            let detour = &mut entry.detour;
            let upstreams = &self.upstreams;
            let quiet = |waiting: &Waiting| {
                !waiting.answered
                    && waiting.sent.iter().all(|&(key, last)| {
                        upstreams.get(key).is_none_or(|upstream| {
                            let is_last =
                                |pending: &Pending| (pending.session, pending.sequence, pending.part) == last;
                            !upstream.queue.iter().any(is_last)
                        })
                    })
            };
            let Some(place) = detour.gates.iter().position(quiet) else { continue };
            let gate = detour.gates[place].gate.clone();
            match detour.gates[place].next {
                // It stays closed until the shard is in.
                Some(_) => detour.gates[place].answered = true,
                None => drop(detour.gates.remove(place)),
            }
            return Some((gate, detour.moved.sealed().clone()));
        }
        None
    }

    /// Of what this worker sealed, `kept` alone is left.
    pub fn settle_moved(&mut self, health: &Arc<Health>, kept: Moved) {
        if let Some(entry) = self.pools.iter_mut().find(|pool| Arc::ptr_eq(&pool.health, health)) {
            entry.detour.moved.settle(kept);
        }
    }

    /// How many moved keys this worker remembers.
    pub fn moved_count(&self) -> usize {
        self.pools.iter().map(|pool| pool.detour.moved.count()).sum()
    }

    /// Lets those go on who are held at gates that were broken off, or that have been closed for too long.
    pub fn open_gates(&mut self) {
        let now = self.now;
        self.next_gate = Time::NEVER;
        for entry in &mut self.pools {
            let resumable = &mut self.resumable;
            let mut next = Time::NEVER;
            entry.detour.gates.retain_mut(|waiting| {
                let over = waiting.gate.is_broken() || now >= waiting.until && waiting.gate.break_off();
                match over {
                    true => resumable.extend(waiting.held.drain(..)),
                    // A gate that is committed opens when the shard is in, which is being written this very moment.
                    false if now >= waiting.until => next = next.min(now + Duration::from_millis(1)),
                    false => next = next.min(waiting.until),
                }
                !over
            });
            self.next_gate = self.next_gate.min(next);
        }
    }
}

impl Pool {
    /// Takes over what `old` remembered and held, where `number` tells the new index of a shard.
    pub(super) fn inherit_detour(&mut self, old: &mut Pool, number: impl Fn(usize) -> Option<usize>) {
        if self.settings.empties() {
            let old = std::mem::replace(&mut old.detour.moved, MovedKeys::new(0));
            self.detour.moved.inherit(old, number);
        }
    }

    /// Breaks off whatever return is under way.
    pub(super) fn break_gates(&mut self) -> Vec<Key> {
        let mut held = Vec::new();
        for waiting in self.detour.gates.drain(..) {
            let _ = waiting.gate.break_off(); // one that is committed is being obeyed by the old pool's health
            held.extend(waiting.held);
        }
        held
    }
}
