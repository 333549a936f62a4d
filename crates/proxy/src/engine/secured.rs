//! What the engine is told of TLS, which happens beside it: what it counts and lists.

use shoal_topology::Endpoint;

use super::Engine;
use crate::arena::Key;
use crate::tls::fault::Reason;
use crate::tls::{Secured, ServerTls};

impl Engine {
    /// The client of `key` has shaken hands.
    pub fn handle_session_secured(&mut self, key: Key, secured: Option<Secured>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.stats.tls.handshakes.add(1);
        session.secured = secured.map(Box::new);
    }

    /// The client of `key` did not shake hands; the names of its pool and of its peer.
    pub fn handle_session_unsecured(&mut self, key: Key, reason: Reason) -> Option<(&str, &str)> {
        let session = self.sessions.get(key)?;
        session.stats.tls.failures[reason as usize].add(1);
        let pool = self.pools.get(session.pool).map_or("", |pool| &pool.settings.pool.name);
        Some((pool, &session.peer))
    }

    /// How the server of `key` is spoken to by TLS, and where it is; `None` if it isn't.
    pub fn upstream_tls(&self, key: Key) -> Option<(&ServerTls, &Endpoint)> {
        let home = &self.upstreams.get(key)?.home;
        Some((home.settings.server_tls.as_ref()?, self.upstream_endpoint(key)?))
    }

    /// The server of `key` has shaken hands.
    pub fn handle_upstream_secured(&mut self, key: Key) {
        if let Some(upstream) = self.upstreams.get(key) {
            upstream.home.stats.tls.handshakes.add(1);
        }
    }

    /// The server of `key` did not shake hands, or refused us after it had.
    pub fn handle_upstream_unsecured(&mut self, key: Key, reason: Reason) {
        if let Some(upstream) = self.upstreams.get(key) {
            upstream.home.stats.tls.failures[reason as usize].add(1);
        }
    }
}
