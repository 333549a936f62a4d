//! What goes into the slow log. Called only for requests that were slow already, so nothing here is on the way of the others.

use super::Engine;
use crate::arena::Key;
use crate::failure::Failure;
use crate::slow_log::{self, Client, SlowRequest};
use crate::time::Time;
use crate::upstream::{Home, Pending};

/// A slow request as its upstream knew it.
struct Slow {
    upstream: Key,
    pending: Pending,
    /// Where it begins in the stream of requests; its end is in `pending`.
    begin: u64,
    reply_bytes: usize,
    /// `ok`, or the kind of its failure.
    outcome: &'static str,
}

impl Engine {
    /// Notes a slow request whose reply of `reply_bytes` bytes is whole.
    #[cold]
    #[inline(never)]
    pub(super) fn note_slow_reply(
        &mut self,
        upstream: Key,
        pending: &Pending,
        begin: u64,
        reply_bytes: usize,
    ) {
        self.note_slow(&Slow { upstream, pending: *pending, begin, reply_bytes, outcome: "ok" });
    }

    /// Counts a slow request, and remembers it unless there were too many at once.
    fn note_slow(&mut self, slow: &Slow) {
        let Some(upstream) = self.upstreams.get(slow.upstream) else { return };
        let Home { settings, shard, pool_stats, .. } = &upstream.home;
        pool_stats.slow.add(1);
        let pending = slow.pending;
        let Some(pool) = self.pools.iter_mut().find(|pool| pool.settings.pool.name == settings.pool.name)
        else {
            return; // its pool is gone, and with it its log
        };
        if !pool.slow_log.admits(settings.slow_log, self.now) {
            return;
        }
        let named = slow_log::name(upstream.request_bytes(slow.begin, pending.end));
        let client = self.sessions.get(pending.session).map(|session| Client {
            id: session.id,
            peer: session.peer.to_string(),
            name: slow_log::shown(&session.name),
        });
        let sent_at = upstream.in_flight.sent_at(pending.end);
        let shard = settings.pool.shards.get(*shard);
        let request = SlowRequest {
            at_unix_us: self.unix_micros,
            duration_us: self.now.micros_since(pending.queued_at),
            queued_us: sent_at.map(|sent_at| sent_at.micros_since(pending.queued_at)),
            server_us: sent_at.map(|sent_at| self.now.micros_since(sent_at)),
            pool: settings.pool.name.clone(),
            shard: shard.map(|shard| shard.name.clone()).unwrap_or_default(),
            endpoint: shard.map(|shard| shard.primary.to_string()).unwrap_or_default(),
            client,
            command: named.as_ref().map(|named| named.command),
            group: pending.group.name(),
            key_bytes: named.as_ref().map_or(0, |named| named.key_bytes),
            key: named.and_then(|named| named.key),
            request_bytes: pending.end - slow.begin,
            reply_bytes: slow.reply_bytes as u64,
            outcome: slow.outcome,
        };
        pool.slow_log.push(settings.slow_log, request);
    }

    /// Notes those of the requests that wait on `upstream` that were queued at `until` or before, are slow by now, and are
    /// about to be answered with `failure`. `arriving` keeps the oldest out, whose reply has begun.
    pub(super) fn note_failing(&mut self, upstream: Key, until: Time, arriving: bool, failure: &Failure) {
        let Some(entry) = self.upstreams.get(upstream) else { return };
        let slow_micros = entry.home.slow_micros;
        // What came of a reply that is whole was another's.
        let reply_bytes = if entry.delimiter.is_fresh() { 0 } else { entry.partial };
        let mut begin = entry.answered;
        let mut failing = Vec::new();
        for (nth, pending) in entry.queue.iter().enumerate() {
            let is_slow = self.now.micros_since(pending.queued_at) >= slow_micros;
            if pending.queued_at > until || !is_slow {
                break; // the queue is in the order of time
            }
            let is_excluded = pending.is_forsaken() || arriving && nth == 0;
            if !is_excluded {
                let reply_bytes = if nth == 0 { reply_bytes } else { 0 };
                failing.push(Slow {
                    upstream,
                    pending: *pending,
                    begin,
                    reply_bytes,
                    outcome: failure.kind().name(),
                });
            }
            begin = pending.end;
        }
        for slow in &failing {
            self.note_slow(slow);
        }
    }
}
