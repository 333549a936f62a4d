//! What a worker counts. Each worker has its own copy, on its own cache lines; readers sum over the workers.

use shoal_telemetry::{CacheLine, Counter, Gauge};

/// What one worker counted for one pool.
#[derive(Debug)]
pub struct PoolStats {
    /// Sessions that ended by the client's own close.
    pub client_eof: Counter,
    /// Sessions that ended by an error of socket or protocol.
    pub client_err: Counter,
    /// Errors made up for a client because its request could not be forwarded or was not answered.
    pub forward_error: Counter,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Sessions since the start.
    pub sessions_total: Counter,
    /// Requests read from clients, answered here or forwarded.
    pub requests: Counter,
    /// The servers, in the pool's own order.
    pub servers: Box<[CacheLine<ServerStats>]>,
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
}

/// What one worker counted.
#[derive(Debug)]
pub struct WorkerStats {
    /// The pools, in the order of the settings.
    pub pools: Box<[CacheLine<PoolStats>]>,
}

impl WorkerStats {
    /// All zero, for pools with these numbers of servers.
    pub fn new(servers: impl IntoIterator<Item = usize>) -> WorkerStats {
        WorkerStats { pools: servers.into_iter().map(|servers| CacheLine(PoolStats::new(servers))).collect() }
    }
}

impl PoolStats {
    fn new(servers: usize) -> PoolStats {
        PoolStats {
            client_eof: Counter::default(),
            client_err: Counter::default(),
            forward_error: Counter::default(),
            sessions: Gauge::default(),
            sessions_total: Counter::default(),
            requests: Counter::default(),
            servers: (0..servers).map(|_| CacheLine(ServerStats::default())).collect(),
        }
    }
}
