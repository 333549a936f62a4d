//! Clients that keep copies of what they read: CLIENT TRACKING.
//!
//! ```text
//!   session that tracks ── all its requests ──▶ an upstream of its own for each shard, greeted by CLIENT TRACKING
//!   client ◀── reply, invalidation, reply ◀───── the server, in its order
//! ```
//!
//! A server tells the connection that has read a key. So a session that tracks shares no upstream: its lane is [`OWN_LANE`],
//! where others have those of their pool.
//!
//! Invariant: a client whose copy is not good any more has the invalidation behind the reply that it copied, or on the way. An
//! invalidation waits for the replies that came before it from any shard and wait for their turn themselves. Where a server's
//! word can have been lost (its connection is, or other shards own the keys), all copies are invalidated behind the last reply
//! of the time before; with BCAST, where the client may read by other connections, it is cut, as a subscriber is.

use shoal_resp::command::Command;
use shoal_resp::encode;

use super::blocking::UNBLOCKED;
use super::held::HELD_MAX;
use super::pubsub::{UNSENT_MAX, is_too_slow};
use super::request::{Request, Taken};
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::join::JoinKind;
use crate::policy::Policy;
use crate::session::{Hold, Phase as SessionPhase, Protocol};
use crate::tracking::{self, Choice, Home, INVALIDATE_ALL, Options, Order, Tracking};
use crate::upstream::{Upstream, Usage};

/// The lane of a session that shares none: no pool has so many.
pub(super) const OWN_LANE: usize = usize::MAX / 2;

impl Engine {
    /// CLIENT TRACKING.
    #[cold]
    pub(super) fn take_tracking(&mut self, request: Request<'_>) -> Taken {
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        // What was asked before goes another way than what comes.
        if session.outstanding() > 0 {
            return Taken::NotYet(Hold::Barrier);
        }
        let words: Vec<&[u8]> = (2..request.args.len()).map(|index| request.word(index)).collect();
        let options = match Order::read(&words) {
            Ok(Order::On(options)) => options,
            Ok(Order::Off) => {
                self.end_tracking(request.session);
                self.answer(request.session, b"+OK\r\n");
                return Taken::Yes;
            }
            Err(error) => return self.refuse(request, &error),
        };
        if request.protocol == Protocol::Resp2 {
            let error = "ERR CLIENT TRACKING is not supported in RESP2, where invalidations could only be sent to another \
                         connection: ask for RESP3 by HELLO 3 first";
            return self.refuse(request, error);
        }
        if self.pools[request.pool].replicates {
            let name = &self.pools[request.pool].settings.pool.name;
            let error = format!(
                "ERR CLIENT TRACKING is not supported in pool {name}: its durability is replicated, and writes go by \
                 connections that many clients share"
            );
            return self.refuse(request, &error);
        }
        let before = self.tracking(request.session).map(|tracking| tracking.options.clone());
        match options.after(before.as_ref()) {
            Ok(options) => self.track(request, options, before.as_ref()),
            Err(error) => self.refuse(request, &error),
        }
    }

    /// Has the session tracked by `options`; it was by `before`, if it was.
    fn track(&mut self, request: Request<'_>, options: Options, before: Option<&Options>) -> Taken {
        let broadcasts = options.broadcasts;
        let mut news = Vec::new();
        if let Some(before) = before {
            options.command(&before.prefixes, &mut news);
        }
        match self.tracking(request.session) {
            Some(tracking) => tracking.options = options,
            None => {
                let Some(mode) = self.mode(request.session) else { return Taken::Yes };
                mode.tracking = Some(Box::new(Tracking::new(options)));
                // What EXEC would read there would not be tracked; it says that the watch is lost.
                let watching = mode.watch.as_mut().and_then(|watch| watch.upstream.take());
                watching.into_iter().for_each(|upstream| self.let_go(upstream));
            }
        }
        if broadcasts {
            return self.ask_to_broadcast(request, &news, before.is_some());
        }
        if before.is_some() {
            let homes = self.tracking(request.session).map(|tracking| upstreams(&tracking.homes));
            for upstream in homes.unwrap_or_default() {
                self.tell_own(request.session, upstream, &news);
            }
        }
        self.answer(request.session, b"+OK\r\n");
        Taken::Yes
    }

    /// Has all shards tell of their keys at once, and the client answered when all do.
    fn ask_to_broadcast(&mut self, request: Request<'_>, news: &[u8], tells: bool) -> Taken {
        let shards = self.pools[request.pool].settings.pool.shards.len();
        for shard in
            (0..shards).filter(|&shard| !self.is_passed_over(request.pool, shard)).collect::<Vec<_>>()
        {
            if tells {
                break; // it has them
            }
            if let Err(failure) = self.open_own(request.session, request.pool, shard) {
                self.end_tracking(request.session);
                return self.refuse_for(request, &failure, shard);
            }
        }
        // What is answered behind the greeting says that the greeting was.
        let raw = if tells { news } else { b"*1\r\n$7\r\nUNWATCH\r\n" };
        let without = !self.pools[request.pool].settings.ejected_keys_fail();
        self.tracker = Some(request.session);
        let taken = self.ask_all(Request { lane: OWN_LANE, ..request }, JoinKind::AllOk, raw, without);
        self.tracker = None;
        taken
    }

    /// Takes a request of a session that tracks; `None` if it does not.
    pub(super) fn take_tracked(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Option<Taken> {
        self.tracking(request.session)?;
        if self.pools[request.pool].replicates {
            return None; // its writes must not go out without a WAIT, whatever let it track
        }
        if self.pools[request.pool].detour.is_active()
            && let Some(detoured) =
                self.detour(request.session, request.pool, request.raw, request.args, command, policy)
        {
            return Some(self.detoured(request, &detoured));
        }
        self.tracker = Some(request.session);
        let taken = self.take_by_policy(Request { lane: OWN_LANE, ..request }, command, policy);
        self.tracker = None;
        // CLIENT CACHING speaks of the next command, but for CLIENT, and of a transaction as a whole.
        if !matches!(taken, Taken::NotYet(_)) && command.name != "CLIENT" {
            self.spend_caching(request.session);
        }
        Some(taken)
    }

    /// The command that CLIENT CACHING spoke of has been taken, or refused.
    pub(super) fn spend_caching(&mut self, key: Key) {
        if let Some(mode) = self.sessions.get_mut(key).and_then(|session| session.mode.as_deref_mut())
            && mode.transaction.is_none()
            && let Some(tracking) = mode.tracking.as_deref_mut()
        {
            tracking.caching = false;
        }
    }

    pub(super) fn tracking(&mut self, key: Key) -> Option<&mut Tracking> {
        self.sessions.get_mut(key)?.mode.as_mut()?.tracking.as_deref_mut()
    }

    /// The upstream to `shard` of the session whose request is being taken, opened if it is not; ready for that request.
    #[cold]
    pub(super) fn own_upstream(&mut self, pool: usize, shard: usize) -> Result<Key, Failure> {
        if self.pools[pool].detour.fails(shard) {
            return Err(Failure::Ejected);
        }
        let session = self.tracker.filter(|&key| self.tracking(key).is_some());
        let Some(session) = session else { return Err(Failure::Closed) };
        let home = self.tracking(session).and_then(|tracking| tracking.home(shard));
        let upstream = match home {
            Some(upstream) => upstream,
            None => self.open_own(session, pool, shard)?,
        };
        let caching = self.tracking(session).map(|tracking| tracking.caching_command()).unwrap_or_default();
        if !caching.is_empty() {
            self.tell_own(session, upstream, caching);
        }
        Ok(upstream)
    }

    fn open_own(&mut self, session: Key, pool: usize, shard: usize) -> Result<Key, Failure> {
        let Some(lane) = self.sessions.get(session).map(|session| usize::from(session.lane)) else {
            return Err(Failure::Closed);
        };
        if self.pools[pool].detour.fails(shard) {
            return Err(Failure::Ejected);
        }
        if self.lacks_primary(pool, shard) {
            return Err(Failure::NoPrimary);
        }
        if self.is_backing_off(pool, shard, Protocol::Resp3, lane) {
            return Err(Failure::BackingOff);
        }
        if self.pools[pool].held >= HELD_MAX {
            return Err(Failure::Local(format!(
                "{HELD_MAX} upstreams are held by clients of this worker (CLIENT TRACKING, WATCH, blocking commands, \
                 subscriptions). Try again later, or run more workers"
            )));
        }
        // Never a spare, whose greeting was another one.
        let mut upstream = Upstream::new(self.pools[pool].home(shard), Protocol::Resp3);
        upstream.usage = Usage::Tracking;
        upstream.pool = pool;
        upstream.holder = Some(session);
        let key = self.upstreams.insert(upstream);
        self.pools[pool].held += 1;
        if let Some(tracking) = self.tracking(session) {
            tracking.homes.push(Home { shard, upstream: key });
        }
        self.connect(key);
        Ok(key)
    }

    /// Sends a command of ours on an upstream of the session's own; its reply is dropped.
    pub(super) fn tell_own(&mut self, session: Key, upstream: Key, command: &[u8]) {
        let Some(next) = self.sessions.get(session).map(|session| session.next_sequence()) else { return };
        let Some(entry) = self.upstreams.get_mut(upstream) else { return };
        self.buffers.append(&mut entry.output, command);
        entry.queued_ours(session, next, command.len(), self.now);
        entry.home.stats.requests.add(1);
        entry.home.stats.request_bytes.add(command.len() as u64);
        touch(&mut entry.touched, &mut self.touched_upstreams, upstream);
    }

    /// What the server of an upstream is told in its greeting, if a session tracks by it.
    pub(super) fn tracking_greeting(&self, upstream: Key) -> Option<Vec<u8>> {
        let upstream = self.upstreams.get(upstream).filter(|it| it.usage == Usage::Tracking)?;
        let mode = self.sessions.get(upstream.holder?)?.mode.as_deref()?;
        let mut out = Vec::new();
        mode.tracking.as_deref()?.options.command(&[], &mut out);
        Some(out)
    }

    /// Whether a script that a shard lacks may be sent to it again for this session: what CLIENT CACHING said is spent.
    pub(super) fn may_call_again(&self, upstream: Key) -> bool {
        let Some(upstream) = self.upstreams.get(upstream) else { return false };
        let session = upstream.holder.and_then(|holder| self.sessions.get(holder));
        let tracking = session.and_then(|session| session.mode.as_deref()?.tracking.as_deref());
        match upstream.usage {
            Usage::Shared => true,
            Usage::Tracking => tracking.is_some_and(|it| it.options.choice != Some(Choice::OptIn)),
            _ => false,
        }
    }

    /// Takes a piece of a push that the server of a tracking session sent.
    #[cold]
    pub(super) fn handle_tracked_push(&mut self, key: Key, piece: &[u8]) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Some(holder) = upstream.holder else { return };
        if upstream.frame.len() + piece.len() > UNSENT_MAX {
            let what = format!(
                "an invalidation of more than {} MiB has ended the connection; ask again",
                UNSENT_MAX / (1024 * 1024)
            );
            return self.handle_upstream_failed(key, &Failure::Local(what));
        }
        self.buffers.append(&mut upstream.frame, piece);
        if !upstream.delimiter.is_fresh() {
            return;
        }
        let frame = std::mem::take(&mut upstream.frame);
        if tracking::is_invalidation(frame.as_slice())
            && let Some(session) = self.sessions.get(holder)
        {
            let behind = session.answered_up_to();
            self.invalidate(holder, behind, frame.as_slice());
        }
        self.buffers.release(frame);
    }

    /// Gives `frame` to the client once all requests before `behind` are answered.
    fn invalidate(&mut self, key: Key, behind: u32, frame: &[u8]) {
        let Some(tracking) = self.tracking(key) else { return };
        tracking.wait(behind, frame);
        self.flush_invalidations(key);
        let now = self.now;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let output = session.output.len();
        let Some(tracking) = session.mode.as_mut().and_then(|mode| mode.tracking.as_deref_mut()) else {
            return;
        };
        if is_too_slow(output + tracking.waiting_bytes(), &mut tracking.slow_since, now) {
            session.stats.client_stalled.add(1);
            return self.end_session(key);
        }
        touch(&mut session.touched, &mut self.touched_sessions, key);
        self.charge_unasked(key, frame.len());
    }

    /// Appends the invalidations that need not wait any more to what is sent.
    pub(super) fn flush_invalidations(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_within_reply() {
            return;
        }
        let first = session.first_unanswered();
        let is_open = session.phase == SessionPhase::Open;
        let Some(tracking) = session.mode.as_mut().and_then(|mode| mode.tracking.as_deref_mut()) else {
            return;
        };
        while let Some(frame) = tracking.next(first) {
            if is_open {
                self.buffers.append(&mut session.output, &frame);
            }
        }
    }

    /// An upstream of the session's own is lost, and with it what the server would have said.
    pub(super) fn lose_own(&mut self, key: Key, upstream: Key) {
        let Some(tracking) = self.tracking(key) else { return };
        tracking.homes.retain(|home| home.upstream != upstream);
        if tracking.options.broadcasts {
            return self.void_tracking(key);
        }
        let Some(behind) = self.sessions.get(key).map(|session| session.answered_up_to()) else { return };
        self.invalidate(key, behind, INVALIDATE_ALL);
    }

    /// Other shards own keys of the session's pool now. What it has asked is answered where it was asked, and nothing that it
    /// has read is good any more.
    pub(super) fn void_tracking(&mut self, key: Key) {
        let broadcasts = self.tracking(key).is_some_and(|tracking| tracking.options.broadcasts);
        self.end_homes(key, broadcasts);
    }

    /// The session cannot be tracked any more: it is cut when it has been sent what it is owed.
    pub(super) fn cut_tracker(&mut self, key: Key) {
        self.end_homes(key, true);
    }

    fn end_homes(&mut self, key: Key, cuts: bool) {
        let Some(tracking) = self.tracking(key) else { return };
        let homes = upstreams(&std::mem::take(&mut tracking.homes));
        let Some(session) = self.sessions.get_mut(key) else { return };
        let blocked = session.hold == Some(Hold::Blocked);
        if session.outstanding() > 0 && !blocked {
            session.hold = Some(Hold::Barrier); // what comes would go by other upstreams, and overtake it
        }
        let behind = session.next_sequence();
        if let Some(mode) = session.mode.as_deref_mut()
            && let Some(watch) = &mut mode.watch
            && watch.upstream.is_some_and(|upstream| homes.contains(&upstream))
        {
            watch.upstream = None; // EXEC says so
        }
        for upstream in homes {
            let Some(entry) = self.upstreams.get(upstream) else { continue };
            let asked = entry.queue.iter().find(|it| !it.is_forsaken()).copied();
            // What is popped already is still passed on. What is coming in may be an invalidation, too, or nobody's.
            let is_next = entry.queue.front().is_some_and(|front| !front.is_forsaken());
            let is_answering = is_next && !entry.delimiter.is_fresh() && entry.delimiter.kind() != b'>';
            match asked {
                Some(asked) if blocked && !is_answering => {
                    self.let_go(upstream);
                    let mut error = Vec::new();
                    encode::error(&mut error, UNBLOCKED);
                    self.fail_request(key, asked.sequence, asked.part, &error, false);
                }
                _ => self.retire_own(upstream),
            }
        }
        if !cuts {
            return self.invalidate(key, behind, INVALIDATE_ALL);
        }
        if let Some(session) = self.sessions.get_mut(key)
            && session.phase == SessionPhase::Open
        {
            session.phase = SessionPhase::Draining;
        }
        if let Some(mode) = self.mode(key) {
            mode.tracking = None;
        }
        self.tidy_mode(key);
        self.touch_session(key);
    }

    /// Nobody asks any more on an upstream of a session's own; what was asked is answered.
    fn retire_own(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key).filter(|it| it.usage == Usage::Tracking) else {
            return;
        };
        upstream.usage = Usage::Retired;
        if let Some(pool) = self.pools.get_mut(upstream.pool) {
            pool.held -= 1;
        }
        self.bury_if_retired(key);
    }

    /// The session, which is owed nothing, tracks no more.
    pub(super) fn end_tracking(&mut self, key: Key) {
        self.flush_invalidations(key);
        let Some(mode) = self.sessions.get_mut(key).and_then(|session| session.mode.as_deref_mut()) else {
            return;
        };
        let Some(tracking) = mode.tracking.take() else { return };
        let homes = upstreams(&tracking.homes);
        if let Some(watch) = &mut mode.watch
            && watch.upstream.is_some_and(|upstream| homes.contains(&upstream))
        {
            watch.upstream = None; // EXEC says so
        }
        self.close_held(&homes);
        self.tidy_mode(key);
    }
}

fn upstreams(homes: &[Home]) -> Vec<Key> {
    homes.iter().map(|home| home.upstream).collect()
}
