//! Pools of `durability: replicated`: writes are answered once replicas have them.
//!
//! ```text
//!   session without anything outstanding ── read ──▶ its lane, as everywhere
//!                                        └─ write ─▶ its write lane, and so does all that follows until nothing is outstanding
//!
//!   a write lane:  [ write, write, read, WAIT ] ──▶ server        the next batch gathers until the WAIT is answered
//!   client ◀── all but the end, kept in its slot ◀── reply
//!          ◀── the end, or an error in place of all ◀── the WAIT's answer, the end of the connection
//! ```
//!
//! A server executes nothing else on a connection whose WAIT it has not answered. So reads of sessions that don't write never
//! stand behind one. A session that writes with reads outstanding waits for them first, so that it is on one upstream of a shard at a
//! time and its requests are executed in its order.
//!
//! What must hold is in [`crate::replication`].

use shoal_resp::command::{Command, Flags, Group, lookup_sub};
use shoal_resp::encode;

use super::reply::note_idle;
use super::request::{Request, Taken};
use super::{Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::mode::Holding;
use crate::policy::Policy;
use crate::replication::{Kept, Tail, WRITE_LANES};
use crate::session::{Delivered, Hold};
use crate::settings::Durability;
use crate::time::Time;
use crate::upstream::{Due, Home, Pending, Usage};

/// An answer to WAIT that is longer than this is none.
const ANSWER_MAX: usize = 16 * 1024;

impl Engine {
    /// Takes a request of a pool whose writes are replicated before they are answered.
    #[cold]
    pub(super) fn take_replicated(
        &mut self,
        request: Request<'_>,
        command: &Command,
        policy: Policy,
    ) -> Taken {
        let writes = self.writes(request, command, policy);
        let id_step = self.id_step;
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        let is_idle = session.outstanding() == 0;
        session.writing &= !is_idle;
        // Before it changes lanes its reads must be answered: on the other lane the write could be executed first.
        if writes && !session.writing && !is_idle {
            return Taken::NotYet(Hold::Barrier);
        }
        session.writing |= writes;
        // Its reads follow its writes there as long as one is outstanding, or they could be executed first.
        let lane = match session.writing {
            true => {
                let first = self.pools[request.pool].settings.server_connections;
                usize::from(first) + (session.id / id_step % u64::from(WRITE_LANES)) as usize
            }
            false => usize::from(session.lane),
        };
        self.asked.kept = writes;
        let taken = self.take_by_policy(Request { lane, ..request }, command, policy);
        self.asked.kept = false;
        taken
    }

    /// Whether replicas may have to hear of the request.
    pub(super) fn writes(&self, request: Request<'_>, command: &Command, policy: Policy) -> bool {
        match policy {
            Policy::Local(_) => false,
            Policy::Container => {
                request.args.get(1).and_then(|_| lookup_sub(command, request.word(1))).is_some_and(may_write)
            }
            Policy::Holding(Holding::Exec) => {
                let mode = self.sessions.get(request.session).and_then(|session| session.mode.as_deref());
                mode.and_then(|mode| mode.transaction.as_ref()).is_some_and(|transaction| transaction.writes)
            }
            _ => may_write(command),
        }
    }

    /// Looks at the batch of an upstream with writes that are not replicated: whether it goes now, with a WAIT behind it.
    #[cold]
    pub(super) fn close_batch(&mut self, key: Key) -> bool {
        let Some(upstream) = self.upstreams.get_mut(key) else { return false };
        let sent = upstream.was_sent();
        if upstream.replication.is_waiting(sent) {
            return false; // the answer touches it
        }
        let is_whole = !upstream.receiving;
        if is_whole
            && !upstream.replication.is_sending(sent)
            && upstream.home.settings.gather
            && upstream.usage == Usage::Shared
            && let Err(until) = upstream.gather(self.now, self.pools[upstream.pool].crowd.is_any())
        {
            upstream.touched = true;
            self.gathering.push(key);
            self.next_gather = self.next_gather.min(until);
            return false;
        }
        if is_whole && upstream.replication.wants_wait() {
            self.append_wait(key);
        }
        if let Some(upstream) = self.upstreams.get(key) {
            upstream.home.stats.batches.add(1);
        }
        true
    }

    fn append_wait(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Some(last) = upstream.queue.back().copied() else { return };
        // Where the pool has become `async` since, the weakest WAIT serves to give what is kept back.
        let durability = upstream.home.settings.durability;
        let (replicas, timeout) = match durability {
            Durability::Replicated { replicas, timeout } => (replicas, timeout.as_millis().max(1)),
            Durability::Async => (0, 1),
        };
        let out = self.buffers.lend(&mut upstream.output);
        let before = out.len();
        if upstream.usage == Usage::Blocking {
            // Redis 7.0 lets a WAIT behind a command that was blocked count up to where that began to block: replicas need not
            // have what was popped. Any command between the two sets it right.
            encode::command(out, &[b"PING"]);
            let length = out.len() - before;
            upstream.queued_ours(last.session, last.sequence, length, self.now);
            upstream.home.stats.requests.add(1);
            upstream.home.stats.request_bytes.add(length as u64);
        }
        let out = upstream.output.tail();
        let before = out.len();
        encode::command(out, &[b"WAIT", replicas.to_string().as_bytes(), timeout.to_string().as_bytes()]);
        let length = out.len() - before;
        upstream.queued_wait(replicas, length, self.now);
        upstream.home.stats.requests.add(1);
        upstream.home.stats.request_bytes.add(length as u64);
        upstream.home.stats.waits.add(1);
        let timeout = upstream.home.settings.timeout;
        self.note_deadline(timeout);
    }

    /// Takes a piece of a reply that is not simply given on; false if the upstream has failed by it. `kind` is the reply's first
    /// byte, `begin` where its request begins, and `before` how much of it came before.
    #[cold]
    pub(super) fn handle_kept(
        &mut self,
        key: Key,
        pending: &Pending,
        piece: &[u8],
        last: bool,
        kind: u8,
        (begin, before): (u64, usize),
    ) -> bool {
        match pending.due {
            Due::Never | Due::AtOnce => true,
            Due::Wait => self.handle_wait(key, pending.part, piece, last),
            Due::Replicated => {
                let Some(upstream) = self.upstreams.get_mut(key) else { return false };
                let timeout = upstream.home.settings.timeout;
                if last && upstream.usage == Usage::Blocking {
                    // The WAIT behind it could not be looked at before.
                    upstream.queue.iter_mut().for_each(|ours| ours.queued_at = self.now);
                    self.note_deadline(timeout);
                } else if last && upstream.receiving && upstream.queue.is_empty() {
                    self.end_refused_stream(key, pending.session);
                }
                // Whoever is told that it failed is told at once.
                let is_error = matches!(kind, b'-' | b'!');
                let (head, tail) = Tail::of(piece);
                let kept = Kept { pending: *pending, begin, reply_bytes: before + piece.len(), tail };
                if is_error || !last {
                    self.give(pending, piece, last);
                    if last {
                        self.count_given(key, &kept);
                    }
                    return true;
                }
                if !head.is_empty() {
                    self.give(pending, head, false);
                }
                let Some(upstream) = self.upstreams.get_mut(key) else { return false };
                upstream.replication.keep(kept);
                true
            }
        }
    }

    /// Takes a piece of the answer to a WAIT that has to name `wanted` replicas.
    fn handle_wait(&mut self, key: Key, wanted: u16, piece: &[u8], last: bool) -> bool {
        let Some(upstream) = self.upstreams.get_mut(key) else { return false };
        self.buffers.append(&mut upstream.greeted, piece);
        if !last && upstream.greeted.len() <= ANSWER_MAX {
            return true;
        }
        let answer = std::mem::take(&mut upstream.greeted);
        let words = String::from_utf8_lossy(answer.as_slice()).trim_end().to_owned();
        self.buffers.release(answer);
        let reached = match words.split_at_checked(1) {
            Some((":", number)) => number.parse::<u64>().map_err(|_| ()),
            Some(("-", _)) => Ok(0),
            _ => Err(()),
        };
        let Ok(reached) = reached else {
            self.handle_upstream_failed(key, &Failure::Garbage("no answer to WAIT".to_owned()));
            return false;
        };
        let Some(upstream) = self.upstreams.get_mut(key) else { return false };
        let settled: Vec<Kept> = upstream.replication.settle().collect();
        if !upstream.output.is_empty() {
            touch(&mut upstream.touched, &mut self.touched_upstreams, key);
        }
        let is_enough = reached >= u64::from(wanted) && !words.starts_with('-');
        if is_enough {
            for kept in &settled {
                self.count_given(key, kept);
                self.give(&kept.pending, kept.tail.as_slice(), true);
            }
            return true;
        }
        let home = upstream.home.clone();
        let name = home.settings.pool.shards.get(home.shard).map_or("", |shard| &shard.name);
        let pool = &home.settings.pool.name;
        let why = match words.strip_prefix('-') {
            Some(words) => format!("shard {name} of pool {pool} answered WAIT: {words}"),
            None => {
                let within = match home.settings.durability {
                    Durability::Replicated { timeout, .. } => timeout.as_millis(),
                    Durability::Async => 0,
                };
                format!(
                    "{reached} of {wanted} replicas of shard {name} of pool {pool} confirmed it within {within} ms"
                )
            }
        };
        let mut error = Vec::new();
        encode::error(&mut error, &format!("UNREPLICATED applied, not yet replicated: {why}"));
        self.fail_kept(&home, &settled, &error);
        true
    }

    /// The connection of an upstream has ended: the writes on it that were answered were applied, and that is all that is known.
    pub(super) fn fail_unreplicated(&mut self, home: &Home, kept: &[Kept], failure: &[u8]) {
        if kept.is_empty() {
            return;
        }
        let why = failure.strip_prefix(b"-ERR ").unwrap_or(failure);
        let mut error = b"-UNREPLICATED applied, not known to be replicated: ".to_vec();
        error.extend_from_slice(why);
        self.fail_kept(home, kept, &error);
    }

    fn fail_kept(&mut self, home: &Home, kept: &[Kept], error: &[u8]) {
        home.stats.unreplicated.add(kept.len() as u64);
        for Kept { pending, .. } in kept {
            self.fail_request(pending.session, pending.sequence, pending.part, error, true);
        }
    }

    /// Counts the time of a write that is answered now.
    fn count_given(&mut self, key: Key, kept: &Kept) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let micros = match kept.pending.queued_at {
            Time::NEVER => 0, // of a blocking command: its time is the client's wish
            queued_at => self.now.micros_since(queued_at),
        };
        upstream.home.pool_stats.latency.record(kept.pending.group, micros);
        if micros >= upstream.home.slow_micros {
            self.note_slow_reply(key, &kept.pending, kept.begin, kept.reply_bytes);
        }
    }

    /// Gives a piece of a reply to whom it belongs.
    fn give(&mut self, pending: &Pending, piece: &[u8], last: bool) {
        let Some(session) = self.sessions.get_mut(pending.session) else { return };
        match session.deliver(&mut self.buffers, pending.sequence, piece, last) {
            Delivered::Taken => {
                if last {
                    note_idle(&mut self.pools, session);
                }
                self.reply_taken(pending.session);
            }
            Delivered::Part(join) => {
                let before = self.joins.held(join);
                let whole = self.joins.deliver(&mut self.buffers, join, pending.part, piece, last);
                session.joining(before, self.joins.held(join));
                self.go_on_with_join(pending.session, join, whole);
            }
        }
    }
}

/// Whether replicas may have to hear of the command. PUBLISH is no data.
pub(super) fn may_write(command: &Command) -> bool {
    command.flags.intersects(Flags::WRITE.with(Flags::MAY_REPLICATE)) && command.group != Group::PubSub
}
