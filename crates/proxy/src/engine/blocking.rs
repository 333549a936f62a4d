//! Commands that wait until there is something for them: BLPOP and its like, XREAD and XREADGROUP with BLOCK.
//!
//! Each goes out on an upstream that its session holds, once the session is owed nothing; nothing follows it until it is
//! answered. Its deadline is its own timeout and then the pool's; without a timeout of its own it has none.
//!
//! A client that goes takes the upstream with it at once, so that nothing is popped for nobody. What the server popped
//! before it knew of that is lost, as it is where Redis is asked without a proxy.

use std::time::Duration;

use shoal_resp::command::Command;
use shoal_resp::encode;

use super::Engine;
use super::request::{Request, Taken};
use super::tracking::OWN_LANE;
use crate::arena::Key;
use crate::session::{Hold, Phase};
use crate::time::Time;
use crate::upstream::Usage;

/// Bytes that are read from a client behind its blocking command: as long as it is read, its end is seen at once.
pub(super) const BEHIND_BLOCKING_MAX: usize = 64 * 1024;

/// What is answered when a blocking command cannot go on where it is; Redis has the same code for the same case.
pub(super) const UNBLOCKED: &str =
    "UNBLOCKED the shards of the pool have changed, and the key may be on another one: ask again";

impl Engine {
    /// Forwards a command that may block on `shard`, which all its keys are on.
    #[cold]
    pub(super) fn block(&mut self, request: Request<'_>, command: &Command, shard: usize) -> Taken {
        let Some(session) = self.sessions.get_mut(request.session) else { return Taken::Yes };
        if session.outstanding() > 0 {
            return Taken::NotYet(Hold::Barrier);
        }
        if session.ended {
            // Its client has gone while it waited for its turn. It gets what it is owed, and no more is asked for it.
            session.phase = Phase::Draining;
            return Taken::Yes;
        }
        if request.lane == OWN_LANE {
            return self.block_own(request, command, shard);
        }
        let upstream = match self.hold_upstream(request, shard, Usage::Blocking) {
            Ok(upstream) => upstream,
            Err(error) => {
                self.pools[request.pool].counts.pool.forward_error.add(1);
                self.answer(request.session, &error);
                return Taken::Yes;
            }
        };
        if let Some(mode) = self.mode(request.session) {
            mode.blocking = Some(upstream);
        }
        self.send_blocking(request, command, upstream);
        Taken::Last(Hold::Blocked)
    }

    /// The same for a session that tracks: what it reads is tracked, and no upstream more is held.
    fn block_own(&mut self, request: Request<'_>, command: &Command, shard: usize) -> Taken {
        match self.own_upstream(request.pool, shard) {
            Ok(upstream) => self.send_blocking(request, command, upstream),
            Err(failure) => return self.refuse_for(request, &failure, shard),
        }
        Taken::Last(Hold::Blocked)
    }

    fn send_blocking(&mut self, request: Request<'_>, command: &Command, upstream: Key) {
        self.send_alone(request, upstream);
        let waits = own_timeout(command, &request);
        if let Some(entry) = self.upstreams.get_mut(upstream)
            && let Some(last) = entry.queue.back_mut()
        {
            last.queued_at = match waits {
                Some(Duration::ZERO) => Time::NEVER,
                Some(waits) => self.now + waits,
                None => self.now, // the server refuses it at once
            };
        }
    }

    /// Whether the session waits in a blocking command.
    pub(super) fn is_blocked(&self, key: Option<Key>) -> bool {
        key.and_then(|key| self.sessions.get(key)).is_some_and(|session| session.hold == Some(Hold::Blocked))
    }

    /// The client of `key` has closed; if it waits in a blocking command, nobody does any more. Whether it did.
    pub fn handle_session_hangup(&mut self, key: Key) -> bool {
        let blocked = self.is_blocked(Some(key));
        if blocked {
            self.end_session(key);
        }
        blocked
    }

    /// A blocking command is answered: its session does not hold `upstream` any more.
    pub(super) fn end_blocking(&mut self, upstream: Key) {
        let Some(holder) = self.upstreams.get(upstream).and_then(|upstream| upstream.holder) else { return };
        if let Some(session) = self.sessions.get_mut(holder)
            && let Some(mode) = &mut session.mode
            && mode.blocking == Some(upstream)
        {
            mode.blocking = None;
            self.tidy_mode(holder);
        }
    }

    /// Tells a session whose blocking command has lost its place to ask again.
    pub(super) fn unblock(&mut self, key: Key) {
        let mode = self.sessions.get_mut(key).and_then(|session| session.mode.as_mut());
        let Some(upstream) = mode.and_then(|mode| mode.blocking.take()) else { return };
        let pending = self.upstreams.get(upstream).and_then(|upstream| upstream.queue.front().copied());
        let begun = self
            .upstreams
            .get(upstream)
            .is_some_and(|upstream| !upstream.delimiter.is_fresh() || upstream.replication.keeps());
        if begun {
            // It has its reply already: what is coming in is still passed on.
            self.give_back(upstream);
            return self.tidy_mode(key);
        }
        self.let_go(upstream);
        if let Some(pending) = pending {
            let mut error = Vec::new();
            encode::error(&mut error, UNBLOCKED);
            self.fail_request(key, pending.sequence, pending.part, &error, false);
        }
        self.tidy_mode(key);
    }
}

/// How long the command says that it waits at most, zero being for ever; `None` if it says what no server takes.
fn own_timeout(command: &Command, request: &Request<'_>) -> Option<Duration> {
    let (place, unit) = match command.name {
        "BLMPOP" | "BZMPOP" => (1, 1_000_000.0),
        "XREAD" | "XREADGROUP" => (super::request::block_option(request)? + 1, 1_000.0),
        _ => (request.args.len() - 1, 1_000_000.0),
    };
    let text = std::str::from_utf8(request.args.get(place)?.of(request.raw)).ok()?;
    let micros = text.parse::<f64>().ok()? * unit;
    (micros >= 0.0).then(|| Duration::from_micros(micros.ceil() as u64))
}
