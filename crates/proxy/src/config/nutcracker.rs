//! `nutcracker.yml`, with all of Twemproxy's keys, defaults and meanings.

use std::path::Path;

use shoal_topology::nutcracker::Config;

use crate::access::{Access, PasswordHash};
use crate::error::Error;
use crate::server_auth::ServerAuth;
use crate::settings::{
    CLIENT_STALL_TIMEOUT, Dialect, Durability, EjectedKeys, Ejection, MultiKey, PoolSettings, Secret,
    Settings, SlowLogSettings,
};

/// Reads the bytes of a `nutcracker.yml`, and what its author should be warned of.
///
/// # Errors
/// [`Error::Nutcracker`] with line, pool and key; a pool that speaks memcached is refused by name.
pub fn from_nutcracker(
    path: &Path,
    bytes: &[u8],
    workers: usize,
    multi_key: MultiKey,
) -> Result<(Settings, Vec<String>), Error> {
    let refuse = |source| Error::Nutcracker { path: path.to_owned(), source: Box::new(source) };
    let config = Config::from_bytes(bytes).map_err(refuse)?;
    config.refuse_memcached().map_err(refuse)?;
    let warnings = config.warnings().iter().map(ToString::to_string).collect();
    let topology = config.to_topology(1);
    topology
        .validate()
        .map_err(|source| Error::Topology { path: path.to_owned(), source: Box::new(source) })?;
    let pools = config.pools.into_iter().zip(topology.pools).map(|(written, pool)| PoolSettings {
        listen: written.listen,
        tls: None,
        server_tls: None,
        sentinel_tls: None,
        backlog: written.backlog,
        tcp_keepalive: written.tcpkeepalive,
        timeout: written.timeout,
        access: Access::of_passwords(
            written.redis_auth.as_ref().map(|it| PasswordHash::of(it.expose().as_bytes())).as_slice(),
        ),
        server_auth: written
            .redis_auth
            .map(|password| ServerAuth { user: None, passwords: vec![Secret::new(password.expose())] }),
        database: written.redis_db,
        preconnect: written.preconnect,
        server_connections: u16::try_from(written.server_connections).unwrap_or(u16::MAX),
        ejection: written.auto_eject_hosts.then_some(Ejection {
            failure_limit: written.server_failure_limit,
            retry_after: written.server_retry_timeout,
            keys: EjectedKeys::Move { empty_on_return: false },
        }),
        client_stall_timeout: CLIENT_STALL_TIMEOUT,
        gather: true,
        slow_log: SlowLogSettings::default(),
        multi_key,
        durability: Durability::Async,
        allow_flush: false,
        pass_admin_commands: false,
        keyless_scripts: None,
        dialect: Dialect::Nutcracker,
        followed: Vec::new(),
        pool,
    });
    Ok((Settings { pools: pools.collect(), workers }, warnings))
}
