//! What a process is started with.

use std::collections::BTreeMap;

use shoal_topology::{Mode, Pool, Shard, ShardState};

use super::leadership::{self, Leadership};
use crate::credentials::{PLATFORM, REPLICA};
use crate::redis_conf;
use crate::resource::{Instance, Node, PoolSpec, Program};
use crate::runtime::{self, Access, NodeRef, ProxyStart, RedisStart, Start, User};
use crate::service::Service;

/// The start of an instance; none while what it needs is not known, or is written wrongly.
pub(super) fn start(
    service: &Service,
    leadership: &Leadership,
    object: &Instance,
    node: &Node,
) -> Option<Start> {
    let spec = &object.spec;
    let program = match spec.program {
        Program::Redis => runtime::Program::Redis(RedisStart {
            version: spec.version.clone(),
            mode: spec.mode,
            maxmemory: spec.memory.0,
            eviction: spec.eviction.unwrap_or_else(|| redis_conf::eviction_default(spec.mode)),
            persistence: spec.persistence,
            settings: BTreeMap::new(),
        }),
        Program::Proxy => {
            let (epoch, pool) = served(service, leadership)?;
            runtime::Program::Proxy(Box::new(ProxyStart {
                epoch,
                pool,
                upstream: Some(proxy(service)),
                workers: Some(u16::try_from(spec.cores.0.div_ceil(1000)).unwrap_or(u16::MAX).max(1)),
                timeout_ms: Some(TIMEOUT_MS),
            }))
        }
        // Sentinel groups watch many services, and are not made yet.
        Program::Sentinel => return None,
    };
    Some(Start {
        name: object.name().to_owned(),
        uid: object.metadata.uid.0.clone(),
        generation: object.metadata.generation,
        owner: service.name().to_owned(),
        tenant: spec.tenant.clone(),
        node: NodeRef { name: node.name().to_owned(), address: node.spec.address.parse().ok()? },
        port: None,
        empty: spec.mode == Mode::Cache,
        users: users(service, spec.program),
        program,
    })
}

/// How long a proxy waits for a reply: longer than a Redis forks or fails over to a replica in, shorter than clients do.
const TIMEOUT_MS: u64 = 5_000;

/// What a pool's proxies serve, and its number; none before each shard has had a primary with an address.
pub(super) fn served(service: &Service, leadership: &Leadership) -> Option<(u64, Pool)> {
    let spec = service.as_pool()?;
    let epoch = leadership.epoch()?;
    let addresses: Option<Vec<_>> = leadership.addresses.iter().copied().collect();
    let shards = leadership.shards.iter().zip(addresses?);
    let shards = shards.map(|(shard, address)| Shard {
        name: shard.name.clone(),
        weight: 1,
        primary: leadership::endpoint(address),
        replicas: Vec::new(),
        state: ShardState::Up,
    });
    Some((epoch, pool(service.name(), spec, shards.collect())))
}

fn pool(name: &str, spec: &PoolSpec, shards: Vec<Shard>) -> Pool {
    Pool {
        name: name.to_owned(),
        mode: spec.mode,
        hash: spec.hash(),
        char_sign: Default::default(),
        distribution: spec.distribution(),
        hash_tag: spec.hash_tag,
        shards,
        credentials: None,
    }
}

/// Who may enter an instance. What a service's processes say to one another has a credential of its own; the tenant's is
/// what is handed out.
fn users(service: &Service, program: Program) -> Vec<User> {
    let mut users = vec![user(PLATFORM, "platform".to_owned(), Access::Platform)];
    if program == Program::Redis {
        users.push(user(REPLICA, format!("{}.replica", service.name()), Access::Replica));
        if service.as_pool().is_some() {
            users.push(proxy(service));
            return users;
        }
    }
    users.push(tenant(service));
    users
}

/// The user that tenants enter by: at the proxies of a pool, at the Redis of a standalone.
pub(super) fn tenant(service: &Service) -> User {
    user(&format!("tenant-{}", service.tenant()), format!("{}.tenant", service.name()), Access::Tenant)
}

/// The proxies' user, of the layout that a pool begins with.
pub(super) fn proxy(service: &Service) -> User {
    user("shoal-proxy-1", format!("{}.proxy-1", service.name()), Access::Proxy)
}

fn user(name: &str, credential: String, access: Access) -> User {
    User { name: name.to_owned(), credential, access }
}
