//! Pub/Sub: subscriptions, on an upstream of the subscriber's own for each shard that it needs, and their messages.
//!
//! ```text
//!   SUBSCRIBE a b ──▶ SUBSCRIBE a on a's shard, SUBSCRIBE b on b's ──▶ when all servers have confirmed, so do we, in order
//!   PUBLISH a ──▶ a's shard ──▶ message ──▶ between two replies of the subscriber
//! ```
//!
//! A subscriber is never silently deaf: when one of its upstreams is lost, or channels move to other shards, it is cut, and
//! subscribes anew. One that does not read its messages is cut at Redis's own default bounds.

use std::time::Duration;

use shoal_resp::command::{Command, lookup_sub};
use shoal_resp::delimiter::Fed;
use shoal_resp::elements::behind_attributes;
use shoal_resp::encode;
use shoal_topology::Route;

use super::request::{Request, Taken, wrong_arity};
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::join::JoinKind;
use crate::local::{self, Local};
use crate::mode::Holding;
use crate::policy::{ANYWHERE_KEY, Policy};
use crate::session::{Hold, Phase as SessionPhase, Protocol, Session};
use crate::subscriber::{Change, Home, Kind, NAMES_MAX, SUBSCRIPTIONS_MAX, Sent, Subscriber, Unconfirmed};
use crate::time::Time;
use crate::upstream::{Phase, Usage};

/// Unsent bytes above which a subscriber is cut at once, and the length of the longest message. As Redis's
/// `client-output-buffer-limit pubsub`.
pub const UNSENT_MAX: usize = 32 * 1024 * 1024;

/// Unsent bytes above which a subscriber is cut if it stays above for [`SLOW_MAX`].
pub const SLOW_MIN: usize = 8 * 1024 * 1024;

/// How long a subscriber may be slow.
pub const SLOW_MAX: Duration = Duration::from_secs(60);

impl Engine {
    /// A command of a subscriber in RESP2, where but a few are allowed; `None` if this is one.
    pub(super) fn take_while_subscribed(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Option<Taken> {
        let subscriber = self.sessions.get(request.session)?.mode.as_ref()?.subscriber.as_ref()?;
        if request.protocol != Protocol::Resp2 || subscriber.count() == 0 {
            return None;
        }
        match policy {
            Policy::Holding(Holding::Subscribe(_)) | Policy::Local(Local::Quit | Local::Reset) => None,
            Policy::Local(Local::Ping) if request.args.len() <= 2 => {
                let mut reply = Vec::new();
                encode::array_len(&mut reply, 2);
                encode::bulk(&mut reply, b"pong");
                encode::bulk(&mut reply, request.args.get(1).map(|_| request.word(1)).unwrap_or_default());
                self.answer(request.session, &reply);
                Some(Taken::Yes)
            }
            Policy::Local(Local::Ping) => None,
            _ => {
                let sub = request.args.get(1).and_then(|_| lookup_sub(command, request.word(1)));
                let name = sub.unwrap_or(command).name.to_ascii_lowercase();
                let error = format!(
                    "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                     this context"
                );
                Some(self.refuse(request, &error))
            }
        }
    }

    /// SUBSCRIBE, UNSUBSCRIBE and their like.
    pub(super) fn subscribe(&mut self, request: Request<'_>, change: Change) -> Taken {
        let Some(session) = self.sessions.get(request.session) else { return Taken::Yes };
        if session.outstanding() > 0 {
            return Taken::NotYet(Hold::Barrier);
        }
        let subscriber = session.mode.as_ref().and_then(|mode| mode.subscriber.as_ref());
        let named = (1..request.args.len()).map(|index| request.word(index));
        let known = match subscriber {
            Some(subscriber) if request.args.len() == 1 => subscriber.names(change.kind),
            _ => Vec::new(),
        };
        let names: Vec<&[u8]> = named.chain(known.iter().map(Vec::as_slice)).collect();
        let room = match subscriber {
            Some(subscriber) => subscriber.has_room(names.iter().copied()),
            None => Subscriber::default().has_room(names.iter().copied()),
        };
        if change.adds && !room {
            return self.refuse(
                request,
                &format!(
                    "ERR a client can have {SUBSCRIPTIONS_MAX} subscriptions through the proxy, with {NAMES_MAX} bytes of names"
                ),
            );
        }
        let targets = match self.targets(request, change, &names) {
            Ok(targets) => targets,
            Err(route) => return self.refuse_unroutable(request, &route),
        };
        if change.adds
            && let Err(error) = self.open_homes(request, &targets)
        {
            self.pools[request.pool].counts.pool.forward_error.add(1);
            self.close_idle_homes(request.session);
            self.answer(request.session, &error);
            return Taken::Yes;
        }
        self.change(request, change, &names, &targets)
    }

    /// The shards that each of `names` lives on: where it is subscribed to, if it is.
    fn targets(
        &mut self,
        request: Request<'_>,
        change: Change,
        names: &[&[u8]],
    ) -> Result<Vec<std::ops::Range<usize>>, Route> {
        let shards = self.pools[request.pool].settings.pool.shards.len();
        let mode = self.sessions.get(request.session).and_then(|session| session.mode.as_deref());
        let subscriber = mode.and_then(|mode| mode.subscriber.as_deref());
        let known = |name: &[u8]| subscriber.and_then(|it| it.shard(change.kind, name)).map(usize::from);
        let target = |name: &&[u8]| match known(name) {
            _ if change.kind == Kind::Pattern => Ok(0..shards),
            Some(shard) => Ok(shard..shard + 1),
            None if !change.adds => Ok(0..0),
            None => match self.pools[request.pool].router.route(name, &mut self.random) {
                Route::Shard(shard) => Ok(shard..shard + 1),
                unroutable => Err(unroutable),
            },
        };
        names.iter().map(target).collect()
    }

    /// Sees to it that the subscriber has an upstream to every shard of `targets`.
    fn open_homes(
        &mut self,
        request: Request<'_>,
        targets: &[std::ops::Range<usize>],
    ) -> Result<(), Vec<u8>> {
        // Many names, few places: patterns are all on all shards.
        let mut places = targets.to_vec();
        places.sort_by_key(|shards| (shards.start, shards.end));
        places.dedup();
        for shard in places.into_iter().flatten() {
            let Some(mode) = self.mode(request.session) else { return Ok(()) };
            let subscriber = mode.subscriber.get_or_insert_default();
            if subscriber.homes.iter().any(|home| home.shard == shard)
                || self.is_passed_over(request.pool, shard)
            {
                continue;
            }
            let upstream = self.hold_upstream(request, shard, Usage::Subscribed)?;
            if let Some(subscriber) = self.subscriber(request.session) {
                subscriber.homes.push(Home { shard, upstream, names: 0 });
            }
        }
        Ok(())
    }

    /// Whether no channel lives on `shard` now, since it is out and others have its keys. When it is back, subscribers are cut.
    pub(super) fn is_passed_over(&self, pool: usize, shard: usize) -> bool {
        let pool = &self.pools[pool];
        !pool.settings.ejected_keys_fail() && !pool.health.live().get(shard).copied().unwrap_or(true)
    }

    fn subscriber(&mut self, key: Key) -> Option<&mut Subscriber> {
        self.sessions.get_mut(key)?.mode.as_mut()?.subscriber.as_deref_mut()
    }

    /// Tells the servers, and prepares what the client is told when they have confirmed.
    fn change(
        &mut self,
        request: Request<'_>,
        change: Change,
        names: &[&[u8]],
        targets: &[std::ops::Range<usize>],
    ) -> Taken {
        let mut nobody = Subscriber::default();
        let subscriber = match self.sessions.get_mut(request.session).and_then(|it| it.mode.as_mut()) {
            Some(mode) => mode.subscriber.as_deref_mut().unwrap_or(&mut nobody),
            None => &mut nobody,
        };
        let mut reply = Vec::new();
        let mut of_home: Vec<Vec<&[u8]>> = vec![Vec::new(); subscriber.homes.len()];
        if names.is_empty() {
            subscriber.confirm(change, None, request.protocol, &mut reply);
        }
        for (name, target) in names.iter().zip(targets) {
            let shard = target.start as u16;
            if !subscriber.apply(change, name, shard, request.protocol, &mut reply) {
                continue;
            }
            for (home, names) in subscriber.homes.iter_mut().zip(&mut of_home) {
                if target.contains(&home.shard) {
                    names.push(name);
                    home.names = if change.adds { home.names + 1 } else { home.names.saturating_sub(1) };
                }
            }
        }
        let left = of_home.iter().map(Vec::len).sum();
        if left == 0 {
            self.close_idle_homes(request.session);
            self.answer(request.session, &reply);
            return Taken::Yes;
        }
        let upstreams: Vec<Key> = subscriber.homes.iter().map(|home| home.upstream).collect();
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let sequence = session.expect_reply(&mut self.pools[request.pool].crowd);
        if let Some(subscriber) = self.subscriber(request.session) {
            subscriber.unconfirmed = Some(Unconfirmed { sequence, adds: change.adds, left, reply });
        }
        for (key, names) in upstreams.into_iter().zip(of_home) {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            if names.is_empty() {
                continue;
            }
            let out = self.buffers.lend(&mut upstream.output);
            let before = out.len();
            Subscriber::command(change, &names, out);
            let length = out.len() - before;
            for nth in 0..names.len() {
                let length = if nth == 0 { length } else { 0 };
                upstream.queued(request.session, sequence, 0, self.asked, length, self.now);
            }
            touch(&mut upstream.touched, &mut self.touched_upstreams, key);
            upstream.home.stats.requests.add(1);
            upstream.home.stats.request_bytes.add(length as u64);
        }
        let timeout = self.pools[request.pool].settings.timeout;
        self.note_deadline(timeout);
        Taken::Last(Hold::Barrier)
    }

    /// Takes what a server sent to a subscriber.
    #[cold]
    pub(super) fn handle_subscribed_bytes(&mut self, key: Key, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(upstream) = self.upstreams.get_mut(key) else { return };
            if upstream.usage != Usage::Subscribed {
                // It was given back, and sends what nobody asked for.
                let what = "more than was asked for".to_owned();
                return self.handle_upstream_failed(key, &Failure::Garbage(what));
            }
            upstream.heard_at = self.now;
            let (piece, last) = match upstream.delimiter.feed(rest) {
                Ok(Fed::Frame { len, .. }) => (&rest[..len], true),
                Ok(Fed::Partial) => (rest, false),
                Err(error) => {
                    return self.handle_upstream_failed(key, &Failure::Garbage(error.to_string()));
                }
            };
            rest = &rest[piece.len()..];
            match upstream.phase {
                Phase::Ready => {}
                Phase::Greeting(_) => {
                    if !self.handle_greeted(key, piece, last) {
                        return;
                    }
                    continue;
                }
                Phase::Idle(_) | Phase::Connecting => return,
            }
            if upstream.frame.len() + piece.len() > UNSENT_MAX {
                return self.abandon(key);
            }
            if last && upstream.frame.is_empty() {
                self.handle_sent(key, piece);
                continue;
            }
            self.buffers.append(&mut upstream.frame, piece);
            if last {
                let frame = std::mem::take(&mut upstream.frame);
                self.handle_sent(key, frame.as_slice());
                self.buffers.release(frame);
            }
        }
        if let Some(upstream) = self.upstreams.get(key) {
            upstream.home.stats.response_bytes.add(bytes.len() as u64);
            upstream.home.health.replied(upstream.home.shard);
        }
        self.settle_unshared(key);
    }

    /// Takes one whole frame that a server sent to a subscriber.
    fn handle_sent(&mut self, key: Key, frame: &[u8]) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Some(holder) = upstream.holder else { return };
        // What describes a message is of RESP3, and not for everybody.
        let frame = match frame.first() {
            Some(b'|') => behind_attributes(frame).unwrap_or(frame),
            _ => frame,
        };
        match Sent::of(frame) {
            Sent::Message => self.push(holder, frame),
            Sent::Confirmation => {
                upstream.has_replied = true;
                upstream.attempts = 0;
                let Some(pending) = upstream.queue.pop_front() else {
                    // The server has ended a subscription of itself, as it does when it gives a shard away.
                    return self.abandon(key);
                };
                // All that confirm one command are one reply.
                let goes_on = upstream.queue.front().is_some_and(|next| next.sequence == pending.sequence);
                upstream.home.stats.responses.add(u64::from(!goes_on));
                upstream.answered = pending.end;
                upstream.in_flight.release(&mut self.buffers, pending.end);
                self.confirmed(holder);
            }
            Sent::Error => {
                // The server has not failed: it refuses, in its own words.
                if let Some(pending) = upstream.queue.front().copied() {
                    self.fail_request(holder, pending.sequence, pending.part, frame, false);
                }
                self.abandon(key);
            }
            Sent::Other => {}
        }
    }

    /// A server has confirmed a subscription of `key`, or its end.
    fn confirmed(&mut self, key: Key) {
        let Some(subscriber) = self.subscriber(key) else { return };
        let Some(unconfirmed) = &mut subscriber.unconfirmed else { return };
        unconfirmed.left -= 1;
        if unconfirmed.left > 0 {
            return;
        }
        let Some(Unconfirmed { sequence, reply, .. }) = subscriber.unconfirmed.take() else { return };
        if let Some(session) = self.sessions.get_mut(key) {
            session.deliver(&mut self.buffers, sequence, &reply, true);
        }
        self.flush_messages(key);
        self.close_idle_homes(key);
        self.reply_taken(key);
    }

    /// Gives back the upstreams on which no subscription is left.
    fn close_idle_homes(&mut self, key: Key) {
        let Some(subscriber) = self.subscriber(key) else { return };
        let idle: Vec<Key> =
            subscriber.homes.extract_if(.., |home| home.names == 0).map(|home| home.upstream).collect();
        let none_left = subscriber.homes.is_empty() && subscriber.backlog.is_empty();
        for upstream in idle {
            self.give_back(upstream);
            self.settle_unshared(upstream);
        }
        if none_left && let Some(mode) = self.mode(key) {
            mode.subscriber = None;
        }
        self.tidy_mode(key);
    }

    /// Hands a message to a subscriber: behind the last reply, but never within one.
    fn push(&mut self, key: Key, frame: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.phase != SessionPhase::Open {
            return;
        }
        let within_reply = session.is_within_reply();
        let Some(subscriber) = session.mode.as_mut().and_then(|mode| mode.subscriber.as_deref_mut()) else {
            return;
        };
        let waits = within_reply
            || !subscriber.backlog.is_empty()
            || subscriber.unconfirmed.as_ref().is_some_and(|unconfirmed| unconfirmed.adds);
        // The same frame in both versions, but for what it is called.
        let kind: &[u8] = if session.protocol == Protocol::Resp3 { b">" } else { b"*" };
        if waits {
            subscriber.backlog.extend_from_slice(kind);
            subscriber.backlog.extend_from_slice(&frame[1..]);
        } else {
            self.buffers.append(&mut session.output, kind);
            self.buffers.append(&mut session.output, &frame[1..]);
        }
        let unsent = session.output.len() + subscriber.backlog.len();
        if is_too_slow(unsent, &mut subscriber.slow_since, self.now) {
            session.stats.client_stalled.add(1);
            return self.end_session(key);
        }
        touch(&mut session.touched, &mut self.touched_sessions, key);
        self.charge_unasked(key, frame.len());
    }

    /// Appends the messages that have waited to what is sent, if nothing is in their way.
    fn flush_messages(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_within_reply() {
            return;
        }
        let Some(subscriber) = session.mode.as_mut().and_then(|mode| mode.subscriber.as_deref_mut()) else {
            return;
        };
        if subscriber.unconfirmed.is_none() {
            let backlog = std::mem::take(&mut subscriber.backlog);
            self.buffers.append(&mut session.output, &backlog);
        }
    }

    /// The session `key`, with the messages and invalidations that waited among what is sent.
    #[cold]
    pub(super) fn with_messages(&mut self, key: Key) -> Option<&mut Session> {
        self.flush_messages(key);
        self.flush_invalidations(key);
        self.sessions.get_mut(key)
    }

    /// The subscriber would be deaf from now on: it is cut when it has been sent what it is owed.
    pub(super) fn cut_subscriber(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let subscriber = session.mode.as_mut().and_then(|mode| mode.subscriber.take());
        if session.phase == SessionPhase::Open {
            session.phase = SessionPhase::Draining;
        }
        touch(&mut session.touched, &mut self.touched_sessions, key);
        let Some(subscriber) = subscriber else { return };
        if let Some(unconfirmed) = &subscriber.unconfirmed {
            let mut error = Vec::new();
            encode::error(
                &mut error,
                "ERR a shard that subscriptions are on is gone or another one: connect and subscribe anew",
            );
            self.fail_request(key, unconfirmed.sequence, 0, &error, false);
        }
        for home in &subscriber.homes {
            // All but the one that is being lost.
            if self.upstreams.get(home.upstream).is_some_and(|upstream| upstream.usage.is_held()) {
                self.let_go(home.upstream);
            }
        }
        self.tidy_mode(key);
    }

    /// PUBSUB: what is subscribed to. Each shard knows of its own channels, and all know the patterns.
    pub(super) fn pubsub(&mut self, request: Request<'_>, command: &Command) -> Taken {
        let Some(sub) = lookup_sub(command, request.word(1)) else {
            return self.refuse(request, &local::unknown_subcommand(command.name, request.word(1)));
        };
        if !sub.accepts(request.args.len()) {
            return self.refuse(request, &wrong_arity(sub.name));
        }
        // A shard that is out and whose channels live elsewhere has no subscriber.
        let without = !self.pools[request.pool].settings.ejected_keys_fail();
        match sub.sub_name() {
            "CHANNELS" | "SHARDCHANNELS" => self.ask_all(request, JoinKind::Concat, request.raw, without),
            "NUMSUB" | "SHARDNUMSUB" => self.ask_all(request, JoinKind::Totals, request.raw, without),
            _ => self.forward_key(request, ANYWHERE_KEY),
        }
    }
}

/// Whether a client that has so many bytes of messages unsent is to be cut; notes since when there are many.
pub(super) fn is_too_slow(unsent: usize, slow_since: &mut Time, now: Time) -> bool {
    *slow_since = if unsent <= SLOW_MIN { Time::NEVER } else { now.min(*slow_since) };
    unsent > UNSENT_MAX || *slow_since + SLOW_MAX <= now
}
