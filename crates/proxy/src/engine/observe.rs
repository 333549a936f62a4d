//! The engine seen from outside: its sessions, upstreams and slow requests as values, and the end of sessions by an
//! operator's word.

use super::Engine;
use crate::arena::Key;
use crate::session::Session;
use crate::slow_log::{self, SlowRequest};
use crate::snapshot::{
    Census, HoldReason, Place, SessionFilter, SessionOrder, SessionPage, SessionQuery, SessionRow,
    UpstreamRow, phase_name, protocol_number,
};
use crate::time::Time;
use crate::upstream::{Phase, Upstream, Usage};

impl Engine {
    /// Lists sessions.
    ///
    /// Looks at every session once, and writes out those of the page alone: with ten thousand of them the others wait for a
    /// fraction of a millisecond.
    pub fn list_sessions(&self, query: &SessionQuery) -> SessionPage {
        let mut places = Vec::new();
        for (key, session) in self.sessions.iter() {
            if session.id > query.after && self.is_meant(session, &query.filter) {
                places.push((self.place(session, query.order), key));
            }
        }
        let matching = places.len();
        if query.limit < matching {
            places.select_nth_unstable(query.limit);
            places.truncate(query.limit);
        }
        places.sort_unstable();
        let rows = places
            .iter()
            .filter_map(|&(place, key)| Some((place, self.session_row(self.sessions.get(key)?))));
        SessionPage { matching, sessions: rows.collect() }
    }

    /// Ends the sessions that are meant as if their clients had gone; how many there were.
    pub fn kill_sessions(&mut self, filter: &SessionFilter) -> usize {
        let meant: Vec<Key> = self
            .sessions
            .iter()
            .filter(|(_, session)| self.is_meant(session, filter))
            .map(|(key, _)| key)
            .collect();
        for &key in &meant {
            if let Some(session) = self.sessions.get(key) {
                session.stats.killed.add(1);
            }
            self.end_session(key);
        }
        meant.len()
    }

    /// Lists the upstreams of `pool` and `shard`, or of all, `limit` of them at most; whether there are more.
    pub fn list_upstreams(
        &self,
        pool: Option<&str>,
        shard: Option<&str>,
        limit: usize,
    ) -> (Vec<UpstreamRow>, bool) {
        let mut lanes = Vec::new();
        for pool in &self.pools {
            let count = pool.lanes_each;
            let of_pool = pool.lanes.iter().enumerate();
            lanes.extend(of_pool.filter_map(|(place, key)| Some(((*key)?, place % count))));
        }
        lanes.sort_unstable();
        let mut rows: Vec<UpstreamRow> = Vec::new();
        for (key, upstream) in self.upstreams.iter() {
            let settings = &upstream.home.settings.pool;
            let own = settings.shards.get(upstream.home.shard).map_or("", |shard| &shard.name);
            if pool.is_some_and(|pool| pool != settings.name) || shard.is_some_and(|shard| shard != own) {
                continue;
            }
            if rows.len() == limit {
                return (rows, true);
            }
            let lane = lanes.binary_search_by_key(&key, |(key, _)| *key).ok().map(|at| lanes[at].1);
            rows.push(self.upstream_row(upstream, lane));
        }
        (rows, false)
    }

    /// The slow requests of `pool`, or of all, that are remembered: pool by pool, oldest first.
    pub fn list_slow(&self, pool: Option<&str>) -> Vec<SlowRequest> {
        let meant = self.pools.iter().filter(|own| pool.is_none_or(|pool| pool == own.settings.pool.name));
        meant.flat_map(|pool| pool.slow_log.entries().cloned()).collect()
    }

    /// Forgets the slow requests of `pool`, or of all; how many there were.
    pub fn reset_slow(&mut self, pool: Option<&str>) -> usize {
        let meant =
            self.pools.iter_mut().filter(|own| pool.is_none_or(|pool| pool == own.settings.pool.name));
        meant.map(|pool| pool.slow_log.reset()).sum()
    }

    /// Counts sessions that are held and bytes in buffers, for each pool by name; and bytes of memory in buffers that nobody
    /// uses.
    pub fn census(&self) -> (Vec<(String, Census)>, usize) {
        let mut pools: Vec<(String, Census)> =
            self.pools.iter().map(|pool| (pool.settings.pool.name.clone(), Census::default())).collect();
        for (_, session) in self.sessions.iter() {
            let Some((_, census)) = pools.get_mut(session.pool) else { continue };
            if let Some(hold) = session.hold {
                census.held[HoldReason::from(hold) as usize] += 1;
            }
            census.session_input += session.input.len();
            census.session_output += session.owed();
        }
        for (_, upstream) in self.upstreams.iter() {
            let name = &upstream.home.settings.pool.name;
            // The pool of a retired upstream may be gone.
            let Some((_, census)) = pools.iter_mut().find(|(own, _)| own == name) else { continue };
            census.upstream_output += upstream.output.len();
            census.upstream_kept += upstream.in_flight.kept();
        }
        (pools, self.buffers.idle_bytes())
    }

    fn is_meant(&self, session: &Session, filter: &SessionFilter) -> bool {
        filter.id.is_none_or(|id| id == session.id)
            && filter.held.is_none_or(|held| held == session.hold.is_some())
            && filter.idle_us.is_none_or(|least| self.now.micros_since(session.traffic.heard_at) >= least)
            && filter.pool.as_deref().is_none_or(|pool| pool == self.pool_name(session))
            && filter.admits_peer(&session.peer)
            && filter.name.as_deref().is_none_or(|name| name == slow_log::shown(&session.name))
    }

    fn place(&self, session: &Session, order: SessionOrder) -> Place {
        let traffic = &session.traffic;
        let number = match order {
            SessionOrder::Id => 0,
            SessionOrder::Age => self.now.micros_since(traffic.opened_at),
            SessionOrder::Idle => self.now.micros_since(traffic.heard_at),
            SessionOrder::Outstanding => session.outstanding() as u64,
            SessionOrder::InputBytes => session.input.len() as u64,
            SessionOrder::OutputBytes => session.owed() as u64,
            SessionOrder::Requests => traffic.requests,
            SessionOrder::BytesIn => traffic.bytes_in,
            SessionOrder::BytesOut => traffic.bytes_out,
        };
        (u64::MAX - number, session.id)
    }

    fn pool_name(&self, session: &Session) -> &str {
        self.pools.get(session.pool).map_or("", |pool| &pool.settings.pool.name)
    }

    fn user_name(&self, session: &Session) -> &str {
        self.pools.get(session.pool).map_or("", |pool| &pool.settings.access.user(session.user()).name)
    }

    fn session_row(&self, session: &Session) -> SessionRow {
        let traffic = session.traffic;
        SessionRow {
            id: session.id,
            peer: session.peer.to_string(),
            name: slow_log::shown(&session.name),
            pool: self.pool_name(session).to_owned(),
            protocol: protocol_number(session.protocol),
            authenticated: session.authenticated,
            user: self.user_name(session).to_owned(),
            phase: phase_name(session.phase),
            held: session.hold.map(|hold| HoldReason::from(hold).name()),
            tls: session.secured.as_ref().map(|by| format!("{} {}", by.version, by.cipher)),
            age_us: self.now.micros_since(traffic.opened_at),
            idle_us: self.now.micros_since(traffic.heard_at),
            outstanding: session.outstanding(),
            input_bytes: session.input.len(),
            output_bytes: session.owed(),
            requests: traffic.requests,
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
        }
    }

    fn upstream_row(&self, upstream: &Upstream, lane: Option<usize>) -> UpstreamRow {
        let settings = &upstream.home.settings.pool;
        let own_lanes = usize::from(upstream.home.settings.server_connections);
        let shard = settings.shards.get(upstream.home.shard);
        let (unanswered, unsent) = upstream.backlog();
        let (phase, retry_at) = match upstream.phase {
            Phase::Idle(not_before) => ("idle", Some(not_before)),
            Phase::Connecting => ("connecting", None),
            Phase::Greeting(_) => ("greeting", None),
            Phase::Ready => ("ready", None),
        };
        let is_connected = retry_at.is_none();
        UpstreamRow {
            pool: settings.name.clone(),
            shard: shard.map(|shard| shard.name.clone()).unwrap_or_default(),
            endpoint: shard.map(|shard| shard.primary.to_string()).unwrap_or_default(),
            protocol: protocol_number(upstream.protocol),
            lane,
            usage: match upstream.usage {
                Usage::Shared if lane.is_some_and(|lane| lane >= own_lanes) => "writes",
                Usage::Shared => "shared",
                Usage::Dedicated => "dedicated",
                Usage::Spare => "spare",
                Usage::Watching => "watching",
                Usage::Blocking => "blocking",
                Usage::Subscribed => "subscribed",
                Usage::Tracking => "tracking",
                Usage::Retired => "retired",
            },
            phase,
            retry_in_us: retry_at.filter(|at| *at > self.now).map(|at| at.micros_since(self.now)),
            unanswered,
            unsent,
            unanswered_bytes: upstream.unanswered_bytes(),
            unsent_bytes: upstream.output.len(),
            oldest_us: upstream.queue.front().map(|front| self.now.micros_since(front.queued_at)),
            holding: upstream.holding.len(),
            attempts: upstream.attempts,
            age_us: is_connected.then(|| self.now.micros_since(upstream.opened_at)),
            heard_us: is_connected.then(|| self.now.micros_since(upstream.heard_at)),
            paused_us: Some(upstream.paused_at)
                .filter(|&at| at != Time::NEVER)
                .map(|at| self.now.micros_since(at)),
            kept_bytes: upstream.in_flight.kept(),
        }
    }
}
