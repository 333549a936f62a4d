//! Leaving: the process ends, because another one accepts in its place or because it was told to, and its sessions with it.
//!
//! ```text
//!   0 ─────────── spread ─────────────▶ spread + grace ──────────▶
//!   sessions are asked to leave, one     the last call: nothing       what servers owe is waited for, as their
//!   after the other; each goes at its    more is taken from anyone    pools' timeouts say; what is owed to clients
//!   first quiet moment                                                that do not read is dropped
//! ```
//!
//! A session is quiet when it is owed nothing, nothing of a request has arrived, and its socket has nothing to read. So a
//! client that waits for its reply before it asks on is closed between two requests. What a client is not answered was not
//! forwarded.

use std::time::Duration;

use super::{Action, Engine};
use crate::arena::Key;
use crate::session::{Hold, Phase, Session};
use crate::time::Time;

/// How often the sessions that are to leave are looked through.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many looks in a row, after the last call, a session may have replies unread: a second.
const UNREAD_LOOKS: u8 = 20;

/// How long an engine takes to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The span over which sessions are asked to leave, evenly: that many clients do not come back all at once.
    pub spread: Duration,
    /// How long after it sessions that are never quiet are still served.
    pub grace: Duration,
}

/// An engine that is leaving.
#[derive(Debug)]
pub(super) struct Leaving {
    since: Time,
    leave: Leave,
    /// Sessions at the beginning.
    sessions: usize,
    /// When they are looked through next.
    next_look: Time,
    last_call: bool,
    cut: usize,
}

impl Engine {
    /// Lets all sessions leave, from now on.
    pub fn leave(&mut self, leave: Leave) {
        self.leaving = Some(Leaving {
            since: self.now,
            leave,
            sessions: self.sessions.count(),
            next_look: self.now,
            last_call: false,
            cut: 0,
        });
        self.look_for_leavers();
    }

    /// Whether all have left.
    pub fn has_left(&self) -> bool {
        self.leaving.is_some() && self.sessions.count() == 0
    }

    /// How many sessions were cut: they had sent half a request when the last call came, or did not read their replies.
    pub fn cut_count(&self) -> usize {
        self.leaving.as_ref().map_or(0, |leaving| leaving.cut)
    }

    /// When [`Engine::look_for_leavers`] is due.
    pub(super) fn next_look(&self) -> Time {
        self.leaving.as_ref().map_or(Time::NEVER, |leaving| leaving.next_look)
    }

    /// Asks those whose turn it is to leave, and lets go who is quiet.
    pub(super) fn look_for_leavers(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        if self.now < leaving.next_look {
            return;
        }
        leaving.next_look = self.now + LOOK_EVERY;
        let elapsed = self.now.since(leaving.since);
        leaving.last_call |= elapsed >= leaving.leave.spread + leaving.leave.grace;
        let last_call = leaving.last_call;
        let staying = leaving.staying(elapsed);
        let asked = self.sessions.iter().filter(|(_, session)| session.leaving).count();
        let mut to_ask = (self.sessions.count() - asked).saturating_sub(staying);
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            if !session.leaving && to_ask > 0 {
                session.leaving = true;
                to_ask -= 1;
            }
            if last_call {
                self.call_last(key);
            } else {
                self.part_if_quiet(key);
            }
        }
    }

    /// Closes `key` if it is to leave and quiet. The worker looks whether its socket is.
    pub(super) fn part_if_quiet(&mut self, key: Key) {
        if self.sessions.get(key).is_some_and(|session| session.leaving && session.is_quiet()) {
            self.actions.push_back(Action::Part(key));
        }
    }

    /// Takes nothing more from `key`, and ends it once no server owes it a reply and it has read what it was owed.
    fn call_last(&mut self, key: Key) {
        let (Some(session), Some(leaving)) = (self.sessions.get_mut(key), &mut self.leaving) else { return };
        if session.phase == Phase::Open && session.hold != Some(Hold::Blocked) {
            session.phase = Phase::Draining;
            session.hold = None;
            leaving.cut += usize::from(session.stream.is_none() && !session.input.is_empty());
        }
        if session.stream.is_some() && session.phase != Phase::Open {
            leaving.cut += 1;
            return self.end_session(key); // its server waits for the rest, and would for ever
        }
        if self.handle_session_hangup(key) {
            return; // it may wait for ever, and is told so by its end
        }
        let (Some(session), Some(leaving)) = (self.sessions.get_mut(key), &mut self.leaving) else { return };
        session.unread_looks = if session.output.is_empty() { 0 } else { session.unread_looks + 1 };
        if session.unread_looks > UNREAD_LOOKS {
            leaving.cut += usize::from(session.input.is_empty());
            self.end_session(key);
        } else {
            self.finish_if_drained(key);
        }
    }
}

impl Leaving {
    /// How many sessions may still be served as if nothing were, `elapsed` after the beginning.
    fn staying(&self, elapsed: Duration) -> usize {
        if elapsed >= self.leave.spread {
            return 0;
        }
        let left = (self.leave.spread - elapsed).as_micros() * self.sessions as u128;
        // The first goes at once.
        left.div_ceil(self.leave.spread.as_micros().max(1)).saturating_sub(1) as usize
    }
}

impl Session {
    /// Whether it is owed nothing and nothing of a request has arrived.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Open
            && self.outstanding() == 0
            && self.output.is_empty()
            && self.input.is_empty()
            && self.unfinished.is_none()
            && self.stream.is_none()
            && self.hold.is_none()
            && self.mode.as_ref().is_none_or(|mode| mode.is_quiet())
    }
}
