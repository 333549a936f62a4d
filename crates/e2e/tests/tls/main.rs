//! TLS with real certificates, real servers and real clients, towards both sides.

use std::net::SocketAddr;
use std::path::PathBuf;

use shoal_e2e::tls::{Authority, Identity, TlsClient, Trust};
use shoal_e2e::{OwnPool, OwnProxy, RedisServer, Workplace, ports};

mod hostile;
mod large;
mod listener;
mod programs;
mod servers;

/// A workplace with an authority and a certificate by it.
struct Ground {
    workplace: Workplace,
    folder: PathBuf,
    authority: Authority,
    own: Identity,
}

impl Ground {
    fn new() -> Ground {
        let workplace = Workplace::new();
        let folder = workplace.subdir("certificates");
        let authority = Authority::new(&folder, "ours");
        let own = authority.issue(&folder, "own");
        Ground { workplace, folder, authority, own }
    }

    fn trust(&self) -> Trust<'_> {
        Trust::in_authority(&self.authority)
    }

    fn connect(&self, addr: SocketAddr) -> TlsClient {
        TlsClient::connect(addr, &self.trust()).expect("a handshake")
    }

    /// The proxy with one pool, `demo`, whose plain port is the pool's own; and where it speaks TLS, by `more` keys of `tls`.
    fn proxy(
        &self,
        servers: &[SocketAddr],
        more: &str,
        pool: impl Fn(OwnPool) -> OwnPool,
    ) -> (OwnProxy, SocketAddr) {
        let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let tls = format!("{{listen: '{addr}', {}{more}}}", self.own.yaml());
        let pool = pool(OwnPool::storage("demo", servers).key("tls", &tls));
        (OwnProxy::start(&self.workplace, 2, &[pool]), addr)
    }
}

fn addrs(servers: &[RedisServer]) -> Vec<SocketAddr> {
    servers.iter().map(RedisServer::addr).collect()
}
