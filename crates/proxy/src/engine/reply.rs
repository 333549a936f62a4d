//! The way back: bytes of a server become replies of sessions.

use shoal_resp::delimiter::{ATTRIBUTED, Fed};
use shoal_resp::elements::behind_attributes;

use super::{Engine, Pool, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::join::{JoinId, JoinKind};
use crate::session::{Delivered, Place, Protocol, Session};
use crate::settings::Dialect;
use crate::upstream::{Due, Phase, Usage};

/// A reply of more bytes than this takes its upstream out of sharing as soon as that is known.
const LARGE_REPLY_MIN: u64 = 64 * 1024;

/// An answer to AUTH, HELLO or SELECT that is longer than this is none.
const GREETED_MAX: usize = 16 * 1024;

/// Bytes of attributes before a reply, above which the upstream fails: they are collected until it is known what they describe.
const ATTRIBUTES_MAX: usize = 64 * 1024;

/// What a frame of a server's is.
enum Kind {
    Reply,
    /// A reply that begins with these bytes, with its attributes or without.
    Attributed(Vec<u8>),
    /// Nothing of it, or not yet, is for whoever waits for a reply.
    Push,
    /// The upstream has failed by it.
    Wrong,
}

impl Engine {
    /// Takes what the server of `key` sent, in pieces of any size.
    pub fn handle_upstream_bytes(&mut self, key: Key, bytes: &[u8]) {
        let mut rest = bytes;
        let mut replies = 0;
        let mut attributed;
        while !rest.is_empty() {
            let Some(upstream) = self.upstreams.get_mut(key) else { return };
            if upstream.usage == Usage::Subscribed {
                return self.handle_subscribed_bytes(key, rest);
            }
            upstream.heard_at = self.now;
            let mut begun_as = upstream.delimiter.kind();
            let (mut piece, last, kind) = match upstream.delimiter.feed(rest) {
                Ok(Fed::Frame { len, kind }) => (&rest[..len], true, kind),
                Ok(Fed::Partial) => (rest, false, upstream.delimiter.kind()),
                Err(error) => {
                    self.handle_upstream_failed(key, &Failure::Garbage(error.to_string()));
                    return;
                }
            };
            if !last {
                upstream.partial = if begun_as == 0 { piece.len() } else { upstream.partial + piece.len() };
            }
            rest = &rest[piece.len()..];
            let upstream = match kind {
                b'+' | b':' | b'$' | b'*' => upstream,
                _ => match (self.look_at_kind(key, kind, begun_as, piece), self.upstreams.get_mut(key)) {
                    (Kind::Reply, Some(upstream)) => upstream,
                    (Kind::Attributed(whole), Some(upstream)) => {
                        attributed = whole;
                        (piece, begun_as) = (&attributed, 0);
                        upstream
                    }
                    (Kind::Push, _) => continue,
                    _ => return,
                },
            };
            let kind = kind & !ATTRIBUTED;
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
            let pending = match upstream.queue.front() {
                // Whoever asks next must not be given what a server said of itself.
                Some(pending) if pending.end > upstream.was_sent() && !upstream.receiving => {
                    let what = "a reply to a request that it was not sent yet".to_owned();
                    self.handle_upstream_failed(key, &Failure::Garbage(what));
                    return;
                }
                Some(pending) if pending.due != Due::Never || last => *pending,
                Some(_) => continue,
                None => {
                    self.handle_upstream_failed(key, &Failure::Garbage("a reply to no request".to_owned()));
                    return;
                }
            };
            let begin = upstream.answered;
            if last {
                upstream.queue.pop_front();
                upstream.answered = pending.end;
                upstream.has_replied = true;
                upstream.attempts = 0;
                replies += 1;
            }
            if pending.due != Due::AtOnce {
                let before = if begun_as == 0 { 0 } else { upstream.partial };
                if !self.handle_kept(key, &pending, piece, last, kind, (begin, before)) {
                    return;
                }
                continue;
            }
            if last {
                let micros = self.now.micros_since(pending.queued_at);
                upstream.home.pool_stats.latency.record(pending.group, micros);
                let is_refusal = upstream.receiving && upstream.queue.is_empty();
                if micros >= upstream.home.slow_micros {
                    let before = if begun_as == 0 { 0 } else { upstream.partial };
                    self.note_slow_reply(key, &pending, begin, before + piece.len());
                }
                if is_refusal {
                    self.end_refused_stream(key, pending.session);
                }
            }
            let Some(session) = self.sessions.get_mut(pending.session) else { continue };
            match session.deliver(&mut self.buffers, pending.sequence, piece, last) {
                Delivered::Taken => {
                    note_idle(&mut self.pools, session);
                    touch(&mut session.touched, &mut self.touched_sessions, pending.session);
                    if session.hold.is_some() && session.hold_is_over() {
                        self.resumable.push_back(pending.session);
                    }
                }
                Delivered::Part(join) => {
                    let before = self.joins.held(join);
                    let whole = self.joins.deliver(&mut self.buffers, join, pending.part, piece, last);
                    session.joining(before, self.joins.held(join));
                    self.go_on_with_join(pending.session, join, whole);
                }
            }
        }
        if let Some(upstream) = self.upstreams.get_mut(key) {
            let settled = upstream.settled();
            upstream.in_flight.release(&mut self.buffers, settled);
            let home = &upstream.home;
            home.stats.responses.add(replies);
            home.stats.response_bytes.add(bytes.len() as u64);
            if replies > 0 {
                home.health.replied(home.shard);
            }
            if !upstream.delimiter.is_fresh()
                && upstream.usage == Usage::Shared
                && (upstream.partial as u64).saturating_add(upstream.delimiter.bulk_remaining())
                    > LARGE_REPLY_MIN
            {
                self.detach(key);
            }
        }
        self.pause_if_owed_too_much(key);
        if self.upstreams.get(key).is_some_and(|upstream| upstream.usage != Usage::Shared) {
            self.settle_unshared(key);
        }
    }

    /// Looks at what is not among the commonest replies: errors, and what RESP3 alone has.
    fn look_at_kind(&mut self, key: Key, kind: u8, begun_as: u8, piece: &[u8]) -> Kind {
        if kind == b'|' || kind & ATTRIBUTED != 0 && matches!(begun_as, 0 | b'|') {
            return self.look_behind_attributes(key, kind, begun_as, piece);
        }
        let Some(upstream) = self.upstreams.get(key) else { return Kind::Wrong };
        let wrong = match kind & !ATTRIBUTED {
            b'-' => {
                if piece.starts_with(b"-READONLY") {
                    self.doubt(key); // it was made a replica under us
                }
                return Kind::Reply;
            }
            b'+' | b':' | b'$' | b'*' => return Kind::Reply,
            kind if upstream.protocol == Protocol::Resp2 => {
                format!("'{}' where RESP2 is spoken", char::from(kind).escape_default())
            }
            b'>' if upstream.usage == Usage::Tracking => {
                self.handle_tracked_push(key, piece);
                return Kind::Push;
            }
            b'>' => return Kind::Push, // nobody subscribes or tracks by this upstream, so a push on it is for nobody
            _ => return Kind::Reply,
        };
        self.handle_upstream_failed(key, &Failure::Garbage(wrong));
        Kind::Wrong
    }

    /// Takes a piece that begins with an attribute or ends one. A client of RESP3 is given the attributes of what it is given; they
    /// are dropped where RESP2 is spoken, and where a reply is not given as it came: a part of a joined one, an answer to us.
    #[cold]
    fn look_behind_attributes(&mut self, key: Key, kind: u8, begun_as: u8, piece: &[u8]) -> Kind {
        let Some(upstream) = self.upstreams.get_mut(key) else { return Kind::Wrong };
        if begun_as == 0 {
            upstream.attributes.clear();
        }
        if upstream.attributes.len() > ATTRIBUTES_MAX {
            let what = format!("attributes of more than {ATTRIBUTES_MAX} bytes");
            self.handle_upstream_failed(key, &Failure::Garbage(what));
            return Kind::Wrong;
        }
        upstream.attributes.extend_from_slice(piece);
        if kind == b'|' {
            return Kind::Push; // what they describe is still to come
        }
        let whole = std::mem::take(&mut upstream.attributes);
        let Ok(behind) = behind_attributes(&whole) else {
            self.handle_upstream_failed(key, &Failure::Garbage("an attribute that is none".to_owned()));
            return Kind::Wrong;
        };
        let pending = upstream.queue.front().filter(|_| upstream.phase == Phase::Ready);
        let is_given = upstream.protocol == Protocol::Resp3
            && pending.is_some_and(|pending| {
                let session = self.sessions.get(pending.session);
                let place = session.map(|session| session.place(pending.sequence));
                pending.due == Due::AtOnce && matches!(place, Some(Place::Front { .. } | Place::Behind))
            });
        // The same frame as if it stood there without: what begins it has been seen.
        match self.look_at_kind(key, kind & !ATTRIBUTED, 0, behind) {
            Kind::Reply if is_given => Kind::Attributed(whole),
            Kind::Reply => Kind::Attributed(behind.to_vec()),
            other => other,
        }
    }

    /// The server has answered a large request by its first words, and takes no more of it.
    #[cold]
    pub(super) fn end_refused_stream(&mut self, key: Key, owner: Key) {
        self.stop_stream(owner);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.receiving = false;
        if upstream.usage == Usage::Dedicated {
            upstream.usage = Usage::Retired;
            let pool = upstream.pool;
            self.leave_dedicated(pool);
        }
    }

    /// More of `join` has come; `whole` says that all its parts are.
    pub(super) fn go_on_with_join(&mut self, owner: Key, join: JoinId, whole: bool) {
        let is_large = self.joins.is_passing(join) || !whole && self.joins.is_large(join);
        if !is_large {
            if whole {
                self.close_join(join);
            }
            return;
        }
        let sequence = self.joins.get_mut(join).sequence;
        let front = self.sessions.get(owner).map(|session| session.place(sequence));
        if let Some(Place::Joining { front: true, .. }) = front {
            self.pass_on(owner, join);
        }
    }

    /// Takes a piece of an answer to a greeting; false if the upstream has failed by it.
    pub(super) fn handle_greeted(&mut self, key: Key, piece: &[u8], last: bool) -> bool {
        let Some(upstream) = self.upstreams.get_mut(key) else { return false };
        self.buffers.append(&mut upstream.greeted, piece);
        if upstream.greeted.len() > GREETED_MAX {
            self.handle_upstream_failed(
                key,
                &Failure::Garbage("an endless answer to AUTH, HELLO or SELECT".to_owned()),
            );
            return false;
        }
        if !last {
            return true;
        }
        let answer = std::mem::take(&mut upstream.greeted);
        let refusal = answer.as_slice().first() == Some(&b'-');
        let words = String::from_utf8_lossy(answer.as_slice()).trim_matches(['-', '\r', '\n']).to_owned();
        self.buffers.release(answer);
        let settings = &upstream.home.settings;
        // Twemproxy does not look at the answer to AUTH: what the server says to each command tells the client.
        let is_auth = settings.server_auth.is_some() && !words.contains("DB index");
        let is_overlooked =
            settings.dialect == Dialect::Nutcracker && is_auth && upstream.protocol == Protocol::Resp2;
        // A server that lets us have no name serves all the same; its return is another matter.
        let is_naming = upstream.phase == Phase::Greeting(1) && upstream.home.health.client_name().is_some();
        if upstream.tries.refused(refusal) && !is_overlooked && !is_naming {
            self.handle_upstream_failed(key, &Failure::Greeting(words));
            return false;
        }
        upstream.phase = match upstream.phase {
            Phase::Greeting(left) if left > 1 => Phase::Greeting(left - 1),
            _ => Phase::Ready,
        };
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        true
    }

    /// A reply went to `session`: it has something to send, and may take requests again.
    pub(super) fn reply_taken(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.hold.is_some() && session.hold_is_over() {
            self.resumable.push_back(key);
        }
        self.touch_session(key);
    }

    /// All parts of `join` are answered.
    pub(super) fn close_join(&mut self, join: JoinId) {
        let entry = self.joins.get_mut(join);
        if entry.kind == JoinKind::Same {
            self.note_loaded(join);
        } else if entry.again.is_some() && self.call_again(join) {
            return;
        }
        let mut reply = crate::buffer::Buffer::default();
        let out = self.buffers.lend(&mut reply);
        let mut out = std::mem::take(out);
        let held = self.joins.held(join);
        let (owner, sequence) = self.joins.close(&mut self.buffers, join, &mut out);
        if let Some(session) = self.sessions.get_mut(owner) {
            session.joining(held, 0);
            session.joined(&mut self.buffers, sequence, &out);
            note_idle(&mut self.pools, session);
            self.reply_taken(owner);
        }
        *reply.tail() = out;
        self.buffers.release(reply);
    }
}

/// Notes that `session` was answered: if that was all, it could ask next. A session whose pool is gone never does.
#[inline]
pub(super) fn note_idle(pools: &mut [Pool], session: &mut Session) {
    if session.outstanding() == 0
        && let Some(pool) = pools.get_mut(session.pool)
    {
        pool.crowd.answered(&mut session.answered_in);
    }
}
