//! A standalone or a pool, as planners see it: what of both is the same.

use crate::quantity::{Bytes, Cores};
use crate::resource::{
    Eviction, InstanceSpec, Kind, Managed, Metadata, ObjectRef, Owner, Persistence, Placement, Pool,
    PoolSpec, Program, Resource, ServiceStatus, SloClass, Standalone,
};
use shoal_topology::Mode;

/// A standalone or a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Service {
    /// One primary and its replicas.
    Standalone(Standalone),
    /// Shards behind proxies.
    Pool(Pool),
}

/// What each Redis of a service is.
#[derive(Clone, Copy, Debug)]
struct Redis {
    memory: Bytes,
    cores: Cores,
    persistence: Persistence,
    eviction: Eviction,
    mode: Mode,
}

/// What a Redis keeps beside its data, whatever that is: the replication backlog, and the buffers of replicas and clients.
const RESERVE_LEAST: Bytes = Bytes::mib(16);

impl Service {
    /// The object that this is; none of another kind.
    #[must_use]
    pub fn of(resource: &Resource) -> Option<Self> {
        match resource {
            Resource::Standalone(standalone) => Some(Service::Standalone(standalone.clone())),
            Resource::Pool(pool) => Some(Service::Pool(pool.clone())),
            _ => None,
        }
    }

    /// The object again, to be written.
    #[must_use]
    pub fn into_resource(self) -> Resource {
        match self {
            Service::Standalone(standalone) => Resource::Standalone(standalone),
            Service::Pool(pool) => Resource::Pool(pool),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Service::Standalone(_) => Kind::Standalone,
            Service::Pool(_) => Kind::Pool,
        }
    }

    /// What it says of itself.
    #[must_use]
    pub const fn metadata(&self) -> &Metadata {
        match self {
            Service::Standalone(standalone) => &standalone.metadata,
            Service::Pool(pool) => &pool.metadata,
        }
    }

    /// The same, to be changed.
    pub const fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Service::Standalone(standalone) => &mut standalone.metadata,
            Service::Pool(pool) => &mut pool.metadata,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata().name
    }

    /// As the owner of instances.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { kind: self.kind(), name: self.name().to_owned() }
    }

    /// What names this object and no later one.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef { kind: self.kind(), name: self.name().to_owned(), uid: self.metadata().uid.clone() }
    }

    /// What is known of it.
    #[must_use]
    pub const fn status(&self) -> &ServiceStatus {
        match self {
            Service::Standalone(standalone) => &standalone.status,
            Service::Pool(pool) => &pool.status,
        }
    }

    /// The same, to be changed.
    pub const fn status_mut(&mut self) -> &mut ServiceStatus {
        match self {
            Service::Standalone(standalone) => &mut standalone.status,
            Service::Pool(pool) => &mut pool.status,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        match self {
            Service::Standalone(standalone) => &standalone.spec.tenant,
            Service::Pool(pool) => &pool.spec.tenant,
        }
    }

    /// Whose the processes are.
    #[must_use]
    pub const fn managed(&self) -> Managed {
        match self {
            Service::Standalone(standalone) => standalone.spec.managed,
            Service::Pool(pool) => pool.spec.managed,
        }
    }

    /// Where its instances may stand.
    #[must_use]
    pub const fn placement(&self) -> &Placement {
        match self {
            Service::Standalone(standalone) => &standalone.spec.placement,
            Service::Pool(pool) => &pool.spec.placement,
        }
    }

    /// How many shards; a standalone is one.
    #[must_use]
    pub const fn shards(&self) -> u16 {
        match self {
            Service::Standalone(_) => 1,
            Service::Pool(pool) => pool.spec.shards,
        }
    }

    /// How many Redis processes a shard has.
    #[must_use]
    pub fn copies(&self) -> u16 {
        1 + match self {
            Service::Standalone(standalone) => standalone.spec.replicas(),
            Service::Pool(pool) => pool.spec.replicas(),
        }
    }

    /// How many proxies.
    #[must_use]
    pub const fn proxies(&self) -> u16 {
        match self {
            Service::Standalone(_) => 0,
            Service::Pool(pool) => pool.spec.proxies.count,
        }
    }

    /// The name of the shard of that index.
    #[must_use]
    pub fn shard_name(&self, index: u16) -> String {
        match self {
            Service::Standalone(_) => "s0".to_owned(),
            Service::Pool(pool) => pool.spec.shard_name(index),
        }
    }

    /// The pool's spec, if it is one.
    #[must_use]
    pub const fn as_pool(&self) -> Option<&PoolSpec> {
        match self {
            Service::Standalone(_) => None,
            Service::Pool(pool) => Some(&pool.spec),
        }
    }

    fn redis(&self) -> Redis {
        match self {
            Service::Standalone(Standalone { spec, .. }) => Redis {
                memory: spec.memory,
                cores: spec.cores(),
                persistence: spec.persistence(),
                eviction: spec.eviction(),
                mode: Mode::Storage,
            },
            Service::Pool(Pool { spec, .. }) => Redis {
                memory: spec.memory,
                cores: spec.cores(),
                persistence: spec.persistence(),
                eviction: spec.eviction(),
                mode: spec.mode,
            },
        }
    }

    fn slo_class(&self) -> SloClass {
        match self {
            Service::Standalone(standalone) => standalone.spec.slo_class,
            Service::Pool(pool) => pool.spec.slo_class,
        }
    }

    fn version(&self) -> Option<String> {
        match self {
            Service::Standalone(standalone) => standalone.spec.version.clone(),
            Service::Pool(pool) => pool.spec.version.clone(),
        }
    }

    /// The Redis of that shard and ordinal, as it should be; not placed.
    #[must_use]
    pub fn redis_instance(&self, shard: u16, ordinal: u16) -> InstanceSpec {
        let redis = self.redis();
        InstanceSpec {
            program: Program::Redis,
            owner: self.owner(),
            tenant: self.tenant().to_owned(),
            shard: Some(shard),
            ordinal,
            role: None,
            mode: redis.mode,
            persistence: redis.persistence,
            eviction: Some(redis.eviction),
            memory: redis.memory,
            reserve: reserve(redis.memory, redis.persistence, self.copies()),
            cores: redis.cores,
            slo_class: self.slo_class(),
            node: None,
            version: self.version(),
            adopted: None,
        }
    }

    /// The proxy of that ordinal, as it should be; not placed.
    #[must_use]
    pub fn proxy_instance(&self, ordinal: u16) -> Option<InstanceSpec> {
        let pool = self.as_pool()?;
        Some(InstanceSpec {
            program: Program::Proxy,
            owner: self.owner(),
            tenant: self.tenant().to_owned(),
            shard: None,
            ordinal,
            role: None,
            mode: pool.mode,
            persistence: Persistence::None,
            eviction: None,
            memory: pool.proxies.memory,
            reserve: Bytes::default(),
            cores: pool.proxies.cores,
            slo_class: self.slo_class(),
            node: None,
            version: None,
            adopted: None,
        })
    }
}

/// What a node keeps free beside a Redis's `maxmemory`. A fork copies the pages that are written while it lasts: half of
/// the data is much for that. A full copy for a replica forks as well, whatever is persisted.
fn reserve(memory: Bytes, persistence: Persistence, copies: u16) -> Bytes {
    let forks = persistence != Persistence::None || copies > 1;
    let share = if forks { memory.0 / 2 } else { memory.0 / 10 };
    Bytes(share.max(RESERVE_LEAST.0))
}
