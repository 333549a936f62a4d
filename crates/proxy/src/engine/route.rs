//! Upstreams: which one a session uses, how it is opened, and what its failure means for those who waited on it.

use std::sync::Arc;

use shoal_resp::encode;

use super::{Action, Engine, touch};
use crate::arena::Key;
use crate::failure::{Failure, with_fate};
use crate::server_auth::Tries;
use crate::session::{Delivered, Protocol};
use crate::settings::Dialect;
use crate::time::Time;
use crate::upstream::{Pending, Phase, Upstream, Usage};
use std::time::Duration;

/// The pause after the first failure to connect; it doubles up to [`RECONNECT_PAUSE_MAX`], with jitter.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);

impl Engine {
    /// The upstream of `lane` to `shard`, opened if it is not; an error if it failed a moment ago.
    #[inline]
    pub(super) fn upstream(
        &mut self,
        pool: usize,
        shard: usize,
        protocol: Protocol,
        lane: usize,
    ) -> Result<Key, Failure> {
        let entry = &mut self.pools[pool];
        if entry.detour.fails(shard) {
            return Err(Failure::Ejected);
        }
        let place = entry.lane_place(shard, protocol, lane);
        let key = match entry.lanes.get(place) {
            Some(Some(key)) => *key,
            None => return self.own_upstream(pool, shard),
            Some(None) => {
                let home = entry.home(shard);
                let mut upstream = Upstream::new(home, protocol);
                upstream.pool = pool;
                let key = self.upstreams.insert(upstream);
                entry.lanes[place] = Some(key);
                key
            }
        };
        if let Some(upstream) = self.upstreams.get_mut(key)
            && let Phase::Idle(not_before) = upstream.phase
        {
            if self.now < not_before {
                return Err(Failure::BackingOff);
            }
            if self.lacks_primary(pool, shard) {
                return Err(Failure::NoPrimary);
            }
            self.connect(key);
        }
        Ok(key)
    }

    /// Whether the upstream of `lane` to `shard` failed a moment ago.
    pub(super) fn is_backing_off(&self, pool: usize, shard: usize, protocol: Protocol, lane: usize) -> bool {
        let entry = &self.pools[pool];
        let key = entry.lanes.get(entry.lane_place(shard, protocol, lane)).copied().flatten();
        let phase = key.and_then(|key| self.upstreams.get(key)).map(|upstream| upstream.phase);
        matches!(phase, Some(Phase::Idle(not_before)) if self.now < not_before)
    }

    /// Opens the upstreams of all servers, as `preconnect` asks for.
    pub fn preconnect(&mut self) {
        for pool in 0..self.pools.len() {
            if !self.pools[pool].settings.preconnect {
                continue;
            }
            for shard in 0..self.pools[pool].settings.pool.shards.len() {
                for lane in 0..usize::from(self.pools[pool].settings.lanes()) {
                    // A server that is down is no reason not to start.
                    let _ = self.upstream(pool, shard, Protocol::Resp2, lane);
                }
            }
        }
    }

    pub(super) fn connect(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.phase = Phase::Connecting;
        upstream.has_replied = false;
        upstream.opened_at = self.now;
        upstream.heard_at = self.now;
        let stats = &upstream.home.stats;
        stats.connections.add(1);
        stats.connections_total.add(1);
        self.actions.push_back(Action::Connect(key));
    }

    /// The connection that [`Action::Connect`] asked for stands.
    pub fn handle_upstream_connected(&mut self, key: Key) {
        let tracking = self.tracking_greeting(key);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let settings = &upstream.home.settings;
        let out = self.buffers.lend(&mut upstream.greeting);
        let mut greetings = match (upstream.protocol, &settings.server_auth) {
            (Protocol::Resp3, Some(auth)) => auth.greet_resp3(out),
            (Protocol::Resp2, Some(auth)) => auth.greet(out),
            (Protocol::Resp3, None) => {
                encode::command(out, &[b"HELLO", b"3"]);
                1
            }
            (Protocol::Resp2, None) => 0,
        };
        upstream.tries = Tries::begin(settings.server_auth.as_ref());
        if settings.database != 0 {
            encode::command(out, &[b"SELECT", settings.database.to_string().as_bytes()]);
            greetings += 1;
        }
        if let Some(tracking) = tracking {
            out.extend_from_slice(&tracking);
            greetings += 1;
        }
        if let Some(name) = upstream.home.health.client_name() {
            encode::command(out, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
            greetings += 1;
        }
        self.buffers.reclaim(&mut upstream.greeting);
        upstream.heard_at = self.now;
        upstream.phase = if greetings == 0 { Phase::Ready } else { Phase::Greeting(greetings) };
        touch(&mut upstream.touched, &mut self.touched_upstreams, key);
    }

    /// The connection of `key` failed, or could not be made: everybody who waits on it is told.
    pub fn handle_upstream_failed(&mut self, key: Key, failure: &Failure) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if matches!(upstream.phase, Phase::Idle(_)) {
            return;
        }
        self.note_failing(key, self.now, false, failure);
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let home = upstream.home.clone();
        let begun = !upstream.delimiter.is_fresh();
        for pool in self.pools.iter_mut().filter(|pool| Arc::ptr_eq(&pool.settings, &home.settings)) {
            pool.scripts.lose(home.shard as u16);
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        if upstream.receiving
            && let Some(last) = upstream.queue.back()
        {
            let owner = last.session;
            self.stop_stream(owner);
        }
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        // A server that takes connections and answers nothing on them is as one that takes none.
        let fruitless = !upstream.has_replied;
        let was_opening = matches!(upstream.phase, Phase::Connecting | Phase::Greeting(_));
        let opened_at = upstream.opened_at.as_micros();
        let sent = upstream.was_sent();
        let kept = upstream.replication.end();
        let waiting = upstream.reset(&mut self.buffers);
        let holding = std::mem::take(&mut upstream.holding);
        upstream.attempts = if fruitless { upstream.attempts + 1 } else { 0 };
        let attempts = upstream.attempts;
        for buffer in [&mut upstream.output, &mut upstream.greeting, &mut upstream.greeted] {
            self.buffers.release(std::mem::take(buffer));
        }
        let settings = &home.settings;
        home.stats.connections.add(-1);
        match failure {
            Failure::Closed => home.stats.server_eof.add(1),
            Failure::TimedOut => home.stats.server_timedout.add(1),
            _ => home.stats.server_err.add(1),
        }
        home.stats.last_failure.set(failure.kind() as i64);
        home.stats.last_failure_at.set(self.unix_micros as i64);
        // In our own words a server that closes an idle connection has not failed; our own lack of means is never its failure.
        let is_shared = upstream.usage == Usage::Shared;
        let counts =
            settings.dialect == Dialect::Nutcracker && is_shared || was_opening || !waiting.is_empty();
        // A server that does not let us track serves others all the same.
        let is_refusal = upstream.usage == Usage::Tracking && matches!(failure, Failure::Greeting(_));
        if counts && !is_refusal && !matches!(failure, Failure::Local(_)) {
            home.health.failed(home.shard, opened_at, self.health_now());
        }
        let not_before = match settings.dialect {
            Dialect::Nutcracker => Time::default(),
            Dialect::Shoal if !fruitless => self.now,
            Dialect::Shoal => self.now + self.reconnect_pause(attempts),
        };
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.phase = Phase::Idle(not_before);
        }
        let mut error = Vec::new();
        failure.write(&mut error, settings, Some(home.shard));
        let is_followed = settings.followed(home.shard).is_some();
        self.fail_unreplicated(&home, &Vec::from(kept), &error);
        for (nth, pending) in waiting.iter().enumerate() {
            if pending.is_forsaken() {
                continue;
            } else if pending.is_exec() {
                self.fail_exec(pending, &error, pending.end <= sent, begun && nth == 0);
            } else if is_followed {
                let error = with_fate(&error, "request", pending.end <= sent);
                self.fail_request(pending.session, pending.sequence, pending.part, &error, begun && nth == 0);
            } else {
                self.fail_request(pending.session, pending.sequence, pending.part, &error, begun && nth == 0);
            }
        }
        self.resumable.extend(holding);
        self.actions.push_back(Action::Disconnect(key));
        if is_followed && !matches!(failure, Failure::Switched | Failure::NoPrimary) {
            self.doubt(key);
        }
        self.bury_failed(key);
    }

    fn reconnect_pause(&mut self, attempts: u32) -> Duration {
        let pause =
            RECONNECT_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(RECONNECT_PAUSE_MAX);
        // Between half of the pause and the whole of it, so that workers and proxies do not come all at once.
        let half = pause / 2;
        half + half.mul_f64(f64::from(self.random.next() % 1024) / 1024.0)
    }

    /// Answers EXEC with `error`; `sent` says whether the server may have got it.
    pub(super) fn fail_exec(&mut self, exec: &Pending, error: &[u8], sent: bool, begun: bool) {
        let error = with_fate(error, "transaction", sent);
        self.fail_request(exec.session, exec.sequence, exec.part, &error, begun);
    }

    /// Answers a forwarded request, or a part of one, with `error` instead of the server's reply.
    pub(super) fn fail_request(&mut self, session: Key, sequence: u32, part: u16, error: &[u8], begun: bool) {
        let Some(entry) = self.sessions.get_mut(session) else { return };
        entry.stats.forward_error.add(1);
        match entry.replace(&mut self.buffers, sequence, error, begun) {
            Delivered::Taken => self.reply_taken(session),
            Delivered::Part(join) => {
                if self.joins.is_passing(join) {
                    entry.phase = crate::session::Phase::Broken; // the reply's beginning is gone already
                    return self.reply_taken(session);
                }
                let before = self.joins.held(join);
                let whole = self.joins.replace(&mut self.buffers, join, part, error);
                entry.joining(before, self.joins.held(join));
                if whole {
                    self.close_join(join);
                }
            }
        }
    }
}
