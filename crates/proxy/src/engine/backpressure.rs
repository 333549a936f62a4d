//! Servers are not read while the client whose reply comes next is owed too much.
//!
//! ```text
//!   server ──▶ Upstream ──▶ Session.output ──▶ client that reads slowly, or not at all
//!                 ▲               │ above a bound
//!                 └── paused ◀────┘      paused for client_stall_timeout in all, while others wait behind: the client is cut
//! ```
//!
//! Bounds: [`AHEAD_MAX`] for a reply that is passed on while it comes in, [`OWED_MAX`] for all that a session is owed.
//! A client that does not read hurts others for the client_stall_timeout at most, and the memory of nobody.

use super::{Action, Engine, touch};
use crate::arena::Key;
use crate::failure::Failure;
use crate::join::JoinId;
use crate::session::{AHEAD_MAX, OWED_MAX, Phase, Place};
use crate::time::Time;
use crate::upstream::{Due, Pending};

impl Engine {
    /// Whether the bytes of `key`'s server are wanted at the moment.
    #[inline]
    pub fn wants_upstream_bytes(&self, key: Key) -> bool {
        self.upstreams.get(key).is_some_and(|upstream| upstream.paused_at == Time::NEVER)
    }

    /// Stops reading the server of `key` if the session whose reply comes next is owed too much.
    #[inline]
    pub(super) fn pause_if_owed_too_much(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let Some(front) = upstream.queue.front() else { return };
        let Some(session) = self.sessions.get(front.session) else { return };
        if session.owed() > AHEAD_MAX && self.must_pause(key) {
            self.pause(key);
        }
    }

    fn pause(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.paused_at != Time::NEVER {
            return;
        }
        let Some(front) = upstream.queue.front() else { return };
        upstream.paused_at = self.now;
        upstream.stalled.begin((front.session, front.sequence), front.queued_at);
        let left = upstream.stalled.left(upstream.home.settings.client_stall_timeout);
        self.next_stall = self.next_stall.min(self.now + left);
        self.paused.push(key);
    }

    /// Whether what the server of `key` sends next would have to be kept beyond the bounds.
    fn must_pause(&self, key: Key) -> bool {
        let Some(upstream) = self.upstreams.get(key) else { return false };
        let Some(front) = upstream.queue.front() else { return false };
        if front.is_forsaken() {
            return false;
        }
        let Some(session) = self.sessions.get(front.session) else { return false };
        match session.place(front.sequence) {
            Place::Front { began: true } => session.output.len() > AHEAD_MAX,
            Place::Front { began: false } => session.output.len() > OWED_MAX,
            Place::Behind => session.owed() > OWED_MAX,
            // What a join cannot go on without is never held back for its other parts' sake.
            Place::Joining { join, front: true } if self.joins.needs(join, front.part) => {
                session.output.len() > AHEAD_MAX && self.joins.is_passing(join)
            }
            Place::Joining { join, front: true } => self.joins.held(join) > OWED_MAX,
            Place::Joining { join, front: false } => {
                session.owed() > OWED_MAX && !self.joins.needs(join, front.part)
            }
            Place::Gone => false,
        }
    }

    /// Reads those servers again for which the reason not to is over.
    pub(super) fn resume_upstreams(&mut self) {
        self.drained = false;
        for key in std::mem::take(&mut self.paused) {
            self.pass_on_join_of(key);
            if self.must_pause(key) {
                self.paused.push(key);
            } else {
                self.unpause(key);
            }
        }
    }

    /// Passes on what a paused upstream's join holds: its turn may have come.
    fn pass_on_join_of(&mut self, key: Key) {
        let Some(front) = self.upstreams.get(key).and_then(|upstream| upstream.queue.front()).copied() else {
            return;
        };
        let Some(session) = self.sessions.get(front.session) else { return };
        if let Place::Joining { join, front: true } = session.place(front.sequence) {
            self.pass_on(front.session, join);
        }
    }

    fn unpause(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.paused_at == Time::NEVER {
            return;
        }
        upstream.stalled.own += self.now.since(upstream.paused_at);
        upstream.stalled.until = self.now;
        upstream.paused_at = Time::NEVER;
        upstream.heard_at = self.now; // its silence was of our making
        self.actions.push_back(Action::ReadUpstream(key));
    }

    /// Passes on what has come of `join`, whose reply is the next one of `owner`, if it is large.
    pub(super) fn pass_on(&mut self, owner: Key, join: JoinId) {
        let Some(session) = self.sessions.get_mut(owner) else { return };
        let before = self.joins.held(join);
        let (muted, unsent) = (session.mutes_next(), session.output.len());
        if !self.joins.is_passing(join) {
            let out = self.buffers.lend(&mut session.output);
            self.joins.begin_passing(join, out);
            self.joins.drop_if_too_long(join, out);
            session.passing = self.joins.is_passing(join).then_some(join);
            if muted {
                session.take_back(unsent);
            }
        }
        if session.passing.is_none() || session.output.len() > AHEAD_MAX {
            return;
        }
        let out = self.buffers.lend(&mut session.output);
        let mut tail = std::mem::take(out);
        let passed = self.joins.pass_on(&mut self.buffers, join, &mut tail);
        *session.output.tail() = tail;
        if muted {
            session.take_back(unsent);
        }
        session.joining(before, self.joins.held(join));
        match passed {
            Err(_) => session.phase = Phase::Broken,
            Ok(()) if self.joins.end_passed(join) => {
                session.passing = None;
                session.end_joined(&mut self.buffers);
            }
            Ok(()) => {}
        }
        if session.hold.is_some() && session.hold_is_over() {
            self.resumable.push_back(owner);
        }
        touch(&mut session.touched, &mut self.touched_sessions, owner);
    }

    /// Gives up on clients that have kept others waiting for too long.
    pub(super) fn expire_stalls(&mut self) {
        self.next_stall = Time::NEVER;
        for key in self.paused.clone() {
            let Some(upstream) = self.upstreams.get(key) else { continue };
            let Some(front) = upstream.queue.front().copied() else { continue };
            let limit = upstream.home.settings.client_stall_timeout;
            let paused = self.now.since(upstream.paused_at);
            let left = upstream.stalled.left(limit).saturating_sub(paused);
            let is_other = |other: &Pending| !other.is_forsaken() && other.session != front.session;
            // The answer to a WAIT comes behind what is not read: whoever needs it waits, the front's own session too.
            let others = upstream.queue.iter().any(is_other) || upstream.replication.keeps();
            if others && left.is_zero() {
                self.give_up(key, front.session);
            } else {
                // Somebody may come to wait behind it at any time, so it is looked at again even if nobody does now.
                self.next_stall = self.next_stall.min(self.now + if others { left } else { limit });
            }
        }
    }

    /// The session whose reply comes next on `key` has used up its time: its reply is dropped, and if it was begun, the session.
    fn give_up(&mut self, key: Key, owner: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let home = upstream.home.clone();
        let begun = !upstream.delimiter.is_fresh();
        let Some(front) = upstream.queue.front_mut() else { return };
        front.due = Due::Never;
        let front = *front;
        let mut error = Vec::new();
        Failure::Stalled.write(&mut error, &home.settings, Some(home.shard));
        home.pool_stats.client_stalled.add(1);
        let is_next = self.sessions.get(owner).is_some_and(|session| {
            matches!(session.place(front.sequence), Place::Front { .. } | Place::Joining { front: true, .. })
        });
        if is_next {
            self.end_session(owner);
        } else {
            self.fail_request(owner, front.sequence, front.part, &error, begun);
        }
        self.paused.retain(|&paused| paused != key);
        self.unpause(key);
    }
}
