//! What a worker counts. Each worker has its own copy, on its own cache lines; readers sum over the workers.

use std::sync::Arc;

use shoal_telemetry::{CacheLine, Counter, Gauge};

use crate::latency::Latencies;
use crate::settings::PoolSettings;

/// What one worker counted for one pool.
#[derive(Debug, Default)]
pub struct PoolStats {
    /// Sessions that ended by the client's own close.
    pub client_eof: Counter,
    /// Sessions that ended by an error of socket or protocol.
    pub client_err: Counter,
    /// Clients that were cut, or replies that were dropped, because others waited behind them for too long.
    pub client_stalled: Counter,
    /// Errors made up for a client because its request could not be forwarded or was not answered.
    pub forward_error: Counter,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Sessions since the start.
    pub sessions_total: Counter,
    /// Requests read from clients, answered here or forwarded.
    pub requests: Counter,
    /// From when a request was queued for its server to when its reply was whole; parts of split ones each.
    pub latency: Latencies,
    /// Requests that took longer than the pool's slow log allows, recorded there or not.
    pub slow: Counter,
    /// Sessions that an operator ended.
    pub killed: Counter,
    /// Names and passwords that were wrong.
    pub auth_failed: Counter,
    /// Requests that a user's rules do not allow.
    pub denied: Counter,
    /// Connections refused over max_connections, of the pool or a user.
    pub over_max_connections: Counter,
    /// Requests refused over requests_per_second.
    pub over_requests_per_second: Counter,
    /// Requests refused over bytes_per_second.
    pub over_bytes_per_second: Counter,
}

/// What one worker counted for one server.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// Connections that the server closed.
    pub server_eof: Counter,
    /// Connections that ended by an error.
    pub server_err: Counter,
    /// Connections that ended because a reply did not come in time.
    pub server_timedout: Counter,
    /// Connections open or being opened now.
    pub connections: Gauge,
    /// Connections since the start.
    pub connections_total: Counter,
    /// Requests forwarded, each part of a split one counted.
    pub requests: Counter,
    /// Their bytes.
    pub request_bytes: Counter,
    /// Replies received.
    pub responses: Counter,
    /// Their bytes.
    pub response_bytes: Counter,
    /// Requests that wait to be sent, as of the last publication.
    pub in_queue: Gauge,
    /// Their bytes.
    pub in_queue_bytes: Gauge,
    /// Requests that wait for their reply, as of the last publication.
    pub out_queue: Gauge,
    /// Their bytes.
    pub out_queue_bytes: Gauge,
    /// Batches: writes to the server that carried at least one request.
    pub batches: Counter,
    /// WAITs sent behind writes.
    pub waits: Counter,
    /// Writes that were applied, and answered by an error because replicas were not known to have them.
    pub unreplicated: Counter,
    /// What the last failure of a connection was, by [`Failure::kind`](crate::failure::Failure::kind).
    pub last_failure: Gauge,
    /// When it was, in microseconds since the Unix epoch; 0 if there was none.
    pub last_failure_at: Gauge,
}

/// What one worker counted for one pool and its servers.
#[derive(Clone, Debug, Default)]
pub struct PoolCounts {
    /// For the pool.
    pub pool: Arc<CacheLine<PoolStats>>,
    /// For each server, in the pool's own order.
    pub servers: Vec<Arc<CacheLine<ServerStats>>>,
}

/// What one worker counted.
#[derive(Debug)]
pub struct WorkerStats {
    /// The pools, in the order of the settings.
    pub pools: Vec<PoolCounts>,
}

impl WorkerStats {
    /// All zero.
    pub fn new(pools: &[Arc<PoolSettings>]) -> WorkerStats {
        WorkerStats { pools: pools.iter().map(|pool| counts(pool, None)).collect() }
    }

    /// The same counters for the pools and servers of `before` that are still there by name, new ones for the others.
    pub fn follow(&self, before: &[Arc<PoolSettings>], now: &[Arc<PoolSettings>]) -> WorkerStats {
        let known = |pool: &Arc<PoolSettings>| {
            let index = before.iter().position(|old| old.pool.name == pool.pool.name)?;
            Some((before[index].as_ref(), &self.pools[index]))
        };
        WorkerStats { pools: now.iter().map(|pool| counts(pool, known(pool))).collect() }
    }
}

fn counts(pool: &PoolSettings, before: Option<(&PoolSettings, &PoolCounts)>) -> PoolCounts {
    let server = |name: &str| {
        let (settings, counts) = before?;
        let index = settings.pool.shards.iter().position(|shard| shard.name == name)?;
        Some(counts.servers[index].clone())
    };
    PoolCounts {
        pool: before.map(|(_, counts)| counts.pool.clone()).unwrap_or_default(),
        servers: pool.pool.shards.iter().map(|shard| server(&shard.name).unwrap_or_default()).collect(),
    }
}
