//! What is allowed and probably not meant, with what to do.

use super::{Remark, Remarks, Stored, quota};
use crate::quantity::Bytes;
use crate::resource::{
    Eviction, Kind, Managed, Placement, PoolSpec, Resource, StandaloneSpec, Tenant, TenantSpec,
};
use shoal_topology::Mode;

/// Above that a shard takes minutes to copy, load and fail over: 20 GB.
pub const SHARD_WARNING: Bytes = Bytes(20_000_000_000);

/// The same for a standalone: 30 GB.
pub const STANDALONE_WARNING: Bytes = Bytes(30_000_000_000);

/// Above that many requests a second one Redis process, which has one thread, has no room for a bad moment.
pub const REQUESTS_WARNING: u64 = 200_000;

pub(super) fn of(stored: &Stored, object: &Resource) -> Vec<Remark> {
    let mut warnings = Remarks::default();
    match object {
        Resource::Pool(pool) => of_pool(stored, &pool.spec, &mut warnings),
        Resource::Standalone(standalone) => of_standalone(stored, &standalone.spec, &mut warnings),
        Resource::Tenant(tenant) => of_tenant(stored, tenant, &mut warnings),
        Resource::Node(_) | Resource::Instance(_) | Resource::Event(_) => {}
    }
    warnings.0
}

fn of_pool(stored: &Stored, spec: &PoolSpec, warnings: &mut Remarks) {
    let shards = u64::from(spec.shards.max(1));
    warnings.add_if(spec.memory > SHARD_WARNING, "spec.memory", || {
        let needed = spec.memory.times(shards).0.div_ceil(SHARD_WARNING.0);
        format!(
            "a shard of {} is above 20 GB: copying, loading and failing over take minutes; {needed} shards hold as much in smaller parts",
            spec.memory
        )
    });
    let requests = spec.requests_per_second.unwrap_or(0);
    warnings.add_if(requests.div_ceil(shards) > REQUESTS_WARNING, "spec.requestsPerSecond", || {
        format!(
            "{} requests a second on each of {shards} shards are above 200,000: use {} shards or more",
            requests.div_ceil(shards),
            requests.div_ceil(REQUESTS_WARNING)
        )
    });
    if spec.managed == Managed::Observe {
        return;
    }
    warnings.add_if(spec.mode == Mode::Storage && spec.replicas() == 0, "spec.replicas", || {
        "without a replica, what a node holds is gone with it: use 1".to_owned()
    });
    warnings.add_if(
        spec.mode == Mode::Cache && spec.eviction() == Eviction::Noeviction,
        "spec.eviction",
        || "a cache that does not evict answers OOM errors when it is full: use allkeys-lru".to_owned(),
    );
    warnings.add_if(spec.proxies.count == 1, "spec.proxies.count", || {
        "while the one proxy is away, so is the pool: use 2".to_owned()
    });
    of_placement(stored, &spec.placement, warnings);
}

fn of_standalone(stored: &Stored, spec: &StandaloneSpec, warnings: &mut Remarks) {
    warnings.add_if(spec.memory > STANDALONE_WARNING, "spec.memory", || {
        format!(
            "a standalone of {} is above 30 GB: copying, loading and failing over take minutes; use a pool of {} shards",
            spec.memory,
            spec.memory.0.div_ceil(SHARD_WARNING.0)
        )
    });
    let requests = spec.requests_per_second.unwrap_or(0);
    warnings.add_if(requests > REQUESTS_WARNING, "spec.requestsPerSecond", || {
        let shards = requests.div_ceil(REQUESTS_WARNING);
        format!("{requests} requests a second on one instance are above 200,000: use a pool of {shards} shards or more")
    });
    if spec.managed == Managed::Observe {
        return;
    }
    warnings.add_if(spec.replicas() == 0, "spec.replicas", || {
        "without a replica, what the node holds is gone with it: use 1".to_owned()
    });
    of_placement(stored, &spec.placement, warnings);
}

fn of_placement(stored: &Stored, placement: &Placement, warnings: &mut Remarks) {
    let nodes: Vec<_> = stored.all().filter(|object| object.kind() == Kind::Node).collect();
    let suits = |node: &&&Resource| {
        let labels = &node.metadata().labels;
        let Resource::Node(of_node) = node else { return false };
        placement.site.as_ref().is_none_or(|site| *site == of_node.spec.site)
            && placement.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let is_choosy = placement.site.is_some() || !placement.node_selector.is_empty();
    warnings.add_if(is_choosy && !nodes.iter().any(|node| suits(&node)), "spec.placement", || {
        format!("of {} nodes none is so: nothing will be placed until there is one", nodes.len())
    });
}

fn of_tenant(stored: &Stored, tenant: &Tenant, warnings: &mut Remarks) {
    let used = quota::used_by(stored, tenant.name());
    let TenantSpec { quota, .. } = &tenant.spec;
    for resource in quota::QuotaResource::ALL {
        let Some(max) = resource.bounds(quota).max else { continue };
        let used = resource.of(&used);
        warnings.add_if(used > max, &format!("spec.quota.{}.max", resource.name()), || {
            format!("{} are in use already: they stay, and nothing more is admitted", resource.show(used))
        });
    }
}
