//! What happens because time has passed.

use std::time::Duration;

use super::Engine;
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Dialect;
use crate::time::Time;
use crate::upstream::{Due, Phase, Upstream, Usage};

/// How often unused memory goes back.
const SHRINK_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// When [`Engine::handle_timeout`] is to be called next, at the latest, not counting [`Engine::poll_gather`].
    pub fn poll_timeout(&self) -> Time {
        let soon = self.next_deadline.min(self.next_stall).min(self.next_shrink);
        soon.min(self.next_look()).min(self.next_gate)
    }

    /// When the next batch has waited long enough for company, and [`Engine::handle_timeout`] is to be called too. Microseconds
    /// count here, as they do not elsewhere.
    pub fn poll_gather(&self) -> Time {
        self.next_gather
    }

    /// Does what is due: requests time out, batches that gathered long enough go out, unused memory goes back.
    pub fn handle_timeout(&mut self) {
        if self.now >= self.next_gather {
            self.next_gather = Time::NEVER; // polling sends what is due, and sets it again for the rest
        }
        if self.now >= self.next_shrink {
            self.next_shrink = self.now + SHRINK_EVERY;
            self.shrink();
            self.tend_dedicated();
            self.publish();
        }
        if self.now >= self.next_stall {
            self.expire_stalls();
        }
        if self.now >= self.next_gate {
            self.open_gates();
        }
        if self.now >= self.next_deadline {
            self.expire();
        }
        self.look_for_leavers();
    }

    /// Gives memory back that nobody has needed of late.
    fn shrink(&mut self) {
        self.buffers.shrink();
        self.sessions.shrink();
        self.upstreams.shrink();
        self.sessions.iter_mut().for_each(Session::shrink);
        self.upstreams.iter_mut().for_each(Upstream::shrink);
    }

    /// Notes that a request was queued now, so that its deadline is looked at in time.
    #[inline]
    pub(super) fn note_deadline(&mut self, timeout: Option<Duration>) {
        if let Some(timeout) = timeout {
            self.next_deadline = self.next_deadline.min(self.now + timeout);
        }
    }

    /// Fails the requests whose time is over. The oldest of a queue is always due first, so only fronts are looked at.
    fn expire(&mut self) {
        self.next_deadline = Time::NEVER;
        for key in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get(key) else { continue };
            let Some(timeout) = upstream.home.settings.timeout else { continue };
            let Some(front) = upstream.queue.iter().find(|pending| pending.due != Due::Never) else {
                continue;
            };
            if upstream.awaits_client() {
                continue;
            }
            // A blocking command has time of its own once it can be sent.
            let since = match upstream.phase {
                Phase::Ready => front.queued_at,
                _ => front.queued_at.min(upstream.opened_at),
            };
            if self.now < since + timeout {
                self.next_deadline = self.next_deadline.min(since + timeout);
                continue;
            }
            // A server that has been silent all that time takes nothing on this connection any more. One that goes on
            // answering others is merely behind: in our own words the late request fails alone.
            let silent = !upstream.is_paused() && upstream.heard_at + timeout <= self.now
                || upstream.phase != Phase::Ready
                || front.due == Due::Wait; // the server takes nothing else of this connection before it answers
            // A subscriber that was told of a failure must not get messages of that channel all the same.
            let is_subscribed = upstream.usage == Usage::Subscribed;
            match upstream.home.settings.dialect {
                Dialect::Shoal if !silent && !is_subscribed => self.expire_alone(key, timeout),
                _ => self.handle_upstream_failed(key, &Failure::TimedOut),
            }
        }
    }

    fn expire_alone(&mut self, key: crate::arena::Key, timeout: Duration) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        let begun = !upstream.delimiter.is_fresh();
        self.note_failing(key, self.now - timeout, begun, &Failure::TimedOut);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let home = upstream.home.clone();
        let mut late = Vec::new();
        for (nth, pending) in upstream.queue.iter_mut().enumerate() {
            if pending.queued_at + timeout > self.now {
                self.next_deadline = self.next_deadline.min(pending.queued_at + timeout);
                break;
            }
            let is_arriving = begun && nth == 0;
            if !pending.is_forsaken() && !is_arriving {
                pending.due = Due::Never; // its reply, should it still come, is dropped
                late.push(*pending);
            }
        }
        if begun {
            // A reply is on its way in: it fails with the connection once the server falls silent.
            let heard_at = if upstream.is_paused() { self.now } else { upstream.heard_at };
            self.next_deadline = self.next_deadline.min(heard_at + timeout);
        }
        let mut error = Vec::new();
        Failure::TimedOut.write(&mut error, &home.settings, Some(home.shard));
        for pending in late {
            if pending.is_exec() {
                self.fail_exec(&pending, &error, true, false);
                continue;
            }
            self.fail_request(pending.session, pending.sequence, pending.part, &error, false);
        }
        // On a shared one the next request finds out whether the server has fallen silent. Nobody asks on these any more.
        let usage = self.upstreams.get(key).map(|upstream| upstream.usage);
        if let Some(Usage::Dedicated | Usage::Blocking | Usage::Retired) = usage {
            self.close_if_unwanted(key);
        }
    }

    /// Publishes the depths of queues.
    fn publish(&mut self) {
        for counts in self.pools.iter().flat_map(|pool| &pool.counts.servers) {
            for gauge in
                [&counts.in_queue, &counts.in_queue_bytes, &counts.out_queue, &counts.out_queue_bytes]
            {
                gauge.set(0);
            }
        }
        for (_, upstream) in self.upstreams.iter() {
            let (sent, unsent) = upstream.backlog();
            let stats = &upstream.home.stats;
            stats.in_queue.add(unsent as i64);
            stats.in_queue_bytes.add(upstream.output.len() as i64);
            stats.out_queue.add(sent as i64);
            stats.out_queue_bytes.add(upstream.unanswered_bytes() as i64);
        }
    }
}
