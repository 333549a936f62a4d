//! Writes down what is meant where nothing is said, so that a later version's defaults change nothing that is there.

use crate::resource::{PoolSpec, Resource, StandaloneSpec};

pub(super) fn fill(object: &mut Resource) {
    match object {
        Resource::Pool(pool) => fill_pool(&mut pool.spec),
        Resource::Standalone(standalone) => fill_standalone(&mut standalone.spec),
        Resource::Node(_) | Resource::Tenant(_) | Resource::Instance(_) | Resource::Event(_) => {}
    }
}

fn fill_pool(spec: &mut PoolSpec) {
    spec.hash = Some(spec.hash());
    spec.distribution = Some(spec.distribution());
    spec.replicas = Some(spec.replicas());
    spec.sentinels = Some(spec.sentinels());
    spec.cores = Some(spec.cores());
    spec.persistence = Some(spec.persistence());
    spec.eviction = Some(spec.eviction());
    // A storage pool's stays as it was said, to be refused by name.
    spec.ejection = spec.ejection.or_else(|| spec.ejection());
}

fn fill_standalone(spec: &mut StandaloneSpec) {
    spec.replicas = Some(spec.replicas());
    spec.sentinels = Some(spec.sentinels());
    spec.cores = Some(spec.cores());
    spec.persistence = Some(spec.persistence());
    spec.eviction = Some(spec.eviction());
}
