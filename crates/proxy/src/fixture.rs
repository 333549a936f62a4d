//! What the simulations of this crate share: a pool, and the requests and replies in the streams of bytes that a model stands
//! at the end of.

use std::time::Duration;

use shoal_resp::delimiter::{Delimiter, Fed};
use shoal_resp::request::{Parsed, RequestLimits, parse_request};
use shoal_topology::{Distribution, Endpoint, Mode, Pool, Shard, ShardState};

use crate::settings::{Dialect, Durability, Listen, MultiKey, PoolSettings, SlowLogSettings};

/// Where the first shard listens; the others follow.
const FIRST_PORT: u16 = 7000;

/// A cache pool of shards called `s0`, `s1` and so on.
pub fn pool(shards: usize) -> Pool {
    let shard = |index: usize| Shard {
        name: format!("s{index}"),
        weight: 1,
        primary: format!("127.0.0.1:{}", usize::from(FIRST_PORT) + index).parse().unwrap(),
        replicas: Vec::new(),
        state: ShardState::Up,
    };
    Pool {
        name: "alpha".into(),
        mode: Mode::Cache,
        hash: Default::default(),
        char_sign: Default::default(),
        distribution: Distribution::Ketama,
        hash_tag: None,
        shards: (0..shards).map(shard).collect(),
        credentials: None,
    }
}

/// The same pool in our dialect, with a timeout of 100 ms, two connections to each server and nothing else asked for.
pub fn settings(shards: usize) -> PoolSettings {
    PoolSettings {
        tls: None,
        server_tls: None,
        sentinel_tls: None,
        pool: pool(shards),
        listen: Listen::Tcp { host: "127.0.0.1".into(), port: 1 },
        backlog: 1,
        tcp_keepalive: false,
        timeout: Some(Duration::from_millis(100)),
        access: Default::default(),
        server_auth: None,
        database: 0,
        preconnect: false,
        server_connections: 2,
        ejection: None,
        client_stall_timeout: Duration::from_millis(50),
        gather: true,
        slow_log: SlowLogSettings::default(),
        multi_key: MultiKey::Refuse,
        durability: Durability::Async,
        allow_flush: false,
        pass_admin_commands: false,
        keyless_scripts: None,
        dialect: Dialect::Shoal,
        followed: Vec::new(),
    }
}

/// Which shard of the pool is there.
pub fn shard_at(endpoint: &Endpoint) -> usize {
    match endpoint {
        Endpoint::Tcp { port, .. } => usize::from(port - FIRST_PORT),
        Endpoint::Unix { path } => panic!("{path}"),
    }
}

/// Takes the first request off what was sent to a server, if it is whole: its words.
pub fn take_request(sent: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    match parse_request(sent, &RequestLimits::default(), &mut args) {
        Ok(Parsed::Request { len, .. }) => {
            let words = args.iter().map(|span| span.of(sent).to_vec()).collect();
            sent.drain(..len);
            Some(words)
        }
        Ok(Parsed::Partial { .. }) => None,
        other => panic!("a server was sent {other:?}"),
    }
}

/// Takes the first reply off what was sent to a client, if it is whole.
pub fn take_reply(sent: &mut Vec<u8>) -> Option<Vec<u8>> {
    if sent.is_empty() {
        return None;
    }
    match Delimiter::new().feed(sent).expect("a client is sent nothing but RESP") {
        Fed::Frame { len, .. } => Some(sent.drain(..len).collect()),
        Fed::Partial => None,
    }
}
