//! TLS between a socket and the engine, without the socket.
//!
//! ```text
//!   socket ── ciphertext ──▶ Layer.handle_bytes ── plaintext ──▶ engine
//!   socket ◀── Layer.send ◀── Layer.seal ◀────── plaintext ──── engine
//! ```
//!
//! [`layer`] is one connection's state, [`handshakes`] bounds those that are not through with their handshake, [`fault`] says
//! why a connection came to nothing. The protocol itself is rustls's, which draws its own random numbers and asks the clock
//! when it looks at a certificate; nothing else here does.
//!
//! Invariant: all that was decrypted is handed on at once, so that nothing waits in here of which no socket would tell; and
//! what is sealed and unsent is at most [`layer::SEALED_MAX`] and a record.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use shoal_topology::Endpoint;

use crate::settings::Listen;

pub mod certificate;
pub mod fault;
pub mod handshakes;
pub mod layer;

/// From the connection to the end of the handshake, unless a pool says otherwise.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a pool's clients speak TLS.
#[derive(Clone, Debug)]
pub struct ListenTls {
    /// Certificate, key, and whose certificates clients must show.
    pub config: Arc<ServerConfig>,
    /// Where they connect; `None` where the pool listens, which then speaks nothing else.
    pub listen: Option<Listen>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// When the certificate expires, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// How a pool's servers are spoken to by TLS, or the sentinels that watch them.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Whose certificates are trusted, and our own if there is one.
    pub config: Arc<ClientConfig>,
    /// The name that their certificates must have; `None` for each server's own host.
    pub server_name: Option<ServerName<'static>>,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// Two are equal if their certificates were read at once.
impl PartialEq for ServerTls {
    fn eq(&self, other: &ServerTls) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
            && self.server_name == other.server_name
            && self.handshake_timeout == other.handshake_timeout
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// The name that the certificate of the server at `endpoint` must have; `None` if there is none to ask for.
    pub fn name_of(&self, endpoint: &Endpoint) -> Option<ServerName<'static>> {
        match (&self.server_name, endpoint) {
            (Some(name), _) => Some(name.clone()),
            (None, Endpoint::Tcp { host, .. }) => ServerName::try_from(host.clone()).ok(),
            (None, Endpoint::Unix { .. }) => None,
        }
    }

    /// Whether a connection made by `before` may go on being used where `now` is asked for. Certificates may have changed:
    /// that concerns new connections.
    pub fn is_kept(before: Option<&ServerTls>, now: Option<&ServerTls>) -> bool {
        match (before, now) {
            (None, None) => true,
            (Some(before), Some(now)) => before.server_name == now.server_name,
            _ => false,
        }
    }
}

/// By what a connection is secured, for lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secured {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, as the IANA's register names it.
    pub cipher: &'static str,
}
