//! How much a tenant may ask for, and all above it.
//!
//! ```text
//!   held(T) = what T asks for itself + Σ over its children C of max(min(C), held(C))   ≤   max(T), at each level
//! ```
//!
//! So what is kept for a sibling (`min`) cannot be used up before the sibling asks for it.

use super::{Remarks, Stored};
use crate::quantity::{Bytes, Cores};
use crate::resource::{Kind, Managed, Quota, Resource, Tenant, TenantSpec, Usage};
use std::collections::BTreeSet;

/// A resource of a quota; amounts are bytes, thousandths of cores, and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaResource {
    /// Bytes.
    Memory,
    /// Thousandths of cores.
    Cores,
    /// Processes.
    Instances,
    /// As it says.
    RequestsPerSecond,
}

/// Bounds as plain numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain {
    pub min: Option<u64>,
    pub max: Option<u64>,
}

impl QuotaResource {
    /// Every one.
    pub const ALL: [QuotaResource; 4] = [
        QuotaResource::Memory,
        QuotaResource::Cores,
        QuotaResource::Instances,
        QuotaResource::RequestsPerSecond,
    ];

    /// Its name in a quota.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            QuotaResource::Memory => "memory",
            QuotaResource::Cores => "cores",
            QuotaResource::Instances => "instances",
            QuotaResource::RequestsPerSecond => "requestsPerSecond",
        }
    }

    /// How much of it.
    #[must_use]
    pub const fn of(self, usage: &Usage) -> u64 {
        match self {
            QuotaResource::Memory => usage.memory.0,
            QuotaResource::Cores => usage.cores.0,
            QuotaResource::Instances => usage.instances,
            QuotaResource::RequestsPerSecond => usage.requests_per_second,
        }
    }

    pub(super) fn bounds(self, quota: &Quota) -> Plain {
        let plain = |min, max| Plain { min, max };
        match self {
            QuotaResource::Memory => {
                plain(quota.memory.min.map(|min| min.0), quota.memory.max.map(|max| max.0))
            }
            QuotaResource::Cores => plain(quota.cores.min.map(|min| min.0), quota.cores.max.map(|max| max.0)),
            QuotaResource::Instances => plain(quota.instances.min, quota.instances.max),
            QuotaResource::RequestsPerSecond => {
                plain(quota.requests_per_second.min, quota.requests_per_second.max)
            }
        }
    }

    /// An amount as people write it.
    pub(super) fn show(self, amount: u64) -> String {
        match self {
            QuotaResource::Memory => format!("{} of memory", Bytes(amount)),
            QuotaResource::Cores => format!("{} cores", Cores(amount)),
            QuotaResource::Instances => format!("{amount} instances"),
            QuotaResource::RequestsPerSecond => format!("{amount} requests a second"),
        }
    }
}

/// What an object asks for; nothing, if somebody else runs it.
#[must_use]
pub fn usage_of(object: &Resource) -> Usage {
    match object {
        Resource::Pool(pool) if pool.spec.managed == Managed::Shoal => {
            let (spec, proxies) = (&pool.spec, pool.spec.proxies);
            let redis = u64::from(spec.shards) * (1 + u64::from(spec.replicas()));
            let (beside, count) = (u64::from(spec.sentinels()), u64::from(proxies.count));
            Usage {
                memory: spec.memory.times(redis),
                cores: spec.cores().times(redis).plus(proxies.cores.times(count)),
                instances: redis + beside + count,
                requests_per_second: spec.requests_per_second.unwrap_or(0),
            }
        }
        Resource::Standalone(standalone) if standalone.spec.managed == Managed::Shoal => {
            let spec = &standalone.spec;
            let redis = 1 + u64::from(spec.replicas());
            Usage {
                memory: spec.memory.times(redis),
                cores: spec.cores().times(redis),
                instances: redis + u64::from(spec.sentinels()),
                requests_per_second: spec.requests_per_second.unwrap_or(0),
            }
        }
        _ => Usage::default(),
    }
}

/// What a tenant and all below it have asked for.
#[must_use]
pub fn used_by(stored: &Stored, tenant: &str) -> Usage {
    let below = Tree::of(stored, None).below(tenant);
    let asked = stored.all().filter(|object| object.tenant().is_some_and(|name| below.contains(name)));
    asked.map(usage_of).fold(Usage::default(), |sum, usage| Usage {
        memory: sum.memory.plus(usage.memory),
        cores: sum.cores.plus(usage.cores),
        instances: sum.instances.saturating_add(usage.instances),
        requests_per_second: sum.requests_per_second.saturating_add(usage.requests_per_second),
    })
}

pub(super) fn check(stored: &Stored, object: &Resource, reasons: &mut Remarks) {
    match object {
        Resource::Tenant(tenant) => check_tree(stored, tenant, reasons),
        Resource::Pool(_) | Resource::Standalone(_) => check_use(stored, object, reasons),
        Resource::Node(_) | Resource::Instance(_) | Resource::Event(_) => {}
    }
}

/// The tenants as they would be.
struct Tree<'a> {
    tenants: Vec<(&'a str, &'a TenantSpec)>,
}

impl<'a> Tree<'a> {
    fn of(stored: &'a Stored, changed: Option<&'a Tenant>) -> Self {
        let others = stored
            .each::<TenantSpec>()
            .filter(|tenant| changed.is_none_or(|new| new.name() != tenant.name()));
        Tree { tenants: others.chain(changed).map(|tenant| (tenant.name(), &tenant.spec)).collect() }
    }

    fn get(&self, name: &str) -> Option<&'a TenantSpec> {
        self.tenants.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec)
    }

    fn children(&self, name: &str) -> impl Iterator<Item = (&'a str, &'a TenantSpec)> {
        self.tenants.iter().filter(move |(_, spec)| spec.parent.as_deref() == Some(name)).copied()
    }

    /// The tenant and all above it, from below; ends where a parent is missing or comes again.
    fn upwards(&self, name: &str) -> Vec<(&'a str, &'a TenantSpec)> {
        let mut found: Vec<(&str, &TenantSpec)> = Vec::new();
        let mut next = Some(name);
        while let Some(entry) = next.and_then(|name| self.tenants.iter().find(|(known, _)| *known == name)) {
            if found.iter().any(|(seen, _)| *seen == entry.0) {
                break;
            }
            found.push(*entry);
            next = entry.1.parent.as_deref();
        }
        found
    }

    /// The tenant and all below it.
    fn below(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([name.to_owned()]);
        let mut left = vec![name.to_owned()];
        while let Some(name) = left.pop() {
            for (child, _) in self.children(&name) {
                if found.insert(child.to_owned()) {
                    left.push(child.to_owned());
                }
            }
        }
        found
    }

    /// What a tenant asks for itself, and what is asked for or kept for those below it.
    fn held(&self, name: &str, resource: QuotaResource, asked: &dyn Fn(&str) -> u64) -> u64 {
        let below = self.children(name).map(|(child, spec)| {
            let kept = resource.bounds(&spec.quota).min.unwrap_or(0);
            kept.max(self.held(child, resource, asked))
        });
        below.fold(asked(name), u64::saturating_add)
    }
}

/// Whether the bounds of a tenant fit its own, its children's and its parent's.
fn check_tree(stored: &Stored, tenant: &Tenant, reasons: &mut Remarks) {
    let tree = Tree::of(stored, Some(tenant));
    let parent = tenant.spec.parent.as_deref().and_then(|parent| Some((parent, tree.get(parent)?)));
    for resource in QuotaResource::ALL {
        let bounds = resource.bounds(&tenant.spec.quota);
        let path = format!("spec.quota.{}", resource.name());
        if let (Some(min), Some(max)) = (bounds.min, bounds.max) {
            reasons.add_if(min > max, &format!("{path}.min"), || {
                format!("{} are more than max, {}", resource.show(min), resource.show(max))
            });
        }
        let mut check_sum = |of: &str, spec: &TenantSpec| {
            let has = resource.bounds(&spec.quota);
            let kept: u64 = tree
                .children(of)
                .map(|(_, child)| resource.bounds(&child.quota).min.unwrap_or(0))
                .fold(0, u64::saturating_add);
            let Some(room) = has.min.or(has.max) else { return };
            reasons.add_if(kept > room, &format!("{path}.min"), || {
                let kept = resource.show(kept);
                format!(
                    "the children of tenant {of} would be kept {kept}, and it has {}",
                    resource.show(room)
                )
            });
        };
        check_sum(tenant.name(), &tenant.spec);
        if let Some((name, spec)) = parent {
            check_sum(name, spec);
        }
    }
}

/// Whether the tenant, and each above it, has that much left; if not, what would fit.
fn check_use(stored: &Stored, object: &Resource, reasons: &mut Remarks) {
    let Some(tenant) = object.tenant() else { return };
    let tree = Tree::of(stored, None);
    let (wanted, had) = (usage_of(object), stored.get(object.kind(), object.name()).map(|old| usage_of(old)));
    for resource in QuotaResource::ALL {
        let others = |name: &str| -> u64 {
            let of_tenant = stored.all().filter(|other| other.tenant() == Some(name));
            let others =
                of_tenant.filter(|other| (other.kind(), other.name()) != (object.kind(), object.name()));
            others.map(|other| resource.of(&usage_of(other))).fold(0, u64::saturating_add)
        };
        let asked =
            |name: &str| others(name).saturating_add(if name == tenant { resource.of(&wanted) } else { 0 });
        let grows = resource.of(&wanted) > had.as_ref().map_or(0, |had| resource.of(had));
        // The tightest level says what would fit.
        let tightest = tree.upwards(tenant).into_iter().filter_map(|(level, spec)| {
            let max = resource.bounds(&spec.quota).max?;
            let over = tree.held(level, resource, &asked).checked_sub(max).filter(|over| *over > 0)?;
            Some((over, level, max))
        });
        if let Some((over, level, max)) = tightest.max_by_key(|(over, ..)| *over).filter(|_| grows) {
            let left = resource.of(&wanted).saturating_sub(over);
            let (path, fits) = what_fits(object, resource, left);
            let (wanted, max, left) =
                (resource.show(resource.of(&wanted)), resource.show(max), resource.show(left));
            reasons.add(
                path,
                format!("{wanted} exceed the quota of tenant {level}, {max}: {left} are left, {fits}"),
            );
        }
        let is_bounded =
            || tree.upwards(tenant).iter().any(|(_, spec)| resource.bounds(&spec.quota).max.is_some());
        if resource == QuotaResource::RequestsPerSecond && wanted.instances > 0 && is_bounded() {
            let is_unsaid = match object {
                Resource::Pool(pool) => pool.spec.requests_per_second.is_none(),
                Resource::Standalone(standalone) => standalone.spec.requests_per_second.is_none(),
                _ => false,
            };
            reasons.add_if(is_unsaid, "spec.requestsPerSecond", || {
                format!("the quota of tenant {tenant} bounds it: say how many are expected at the peak")
            });
        }
    }
}

/// Which field to change, and to what.
fn what_fits(object: &Resource, resource: QuotaResource, left: u64) -> (&'static str, String) {
    let redis = match object {
        Resource::Pool(pool) => u64::from(pool.spec.shards) * (1 + u64::from(pool.spec.replicas())),
        Resource::Standalone(standalone) => 1 + u64::from(standalone.spec.replicas()),
        _ => 1,
    };
    let redis = redis.max(1);
    match resource {
        QuotaResource::Memory => {
            let each = Bytes((left / redis) >> 20 << 20);
            ("spec.memory", format!("which is {each} for each of {redis} Redis"))
        }
        QuotaResource::Cores => {
            let beside = match object {
                Resource::Pool(pool) => pool.spec.proxies.cores.times(u64::from(pool.spec.proxies.count)).0,
                _ => 0,
            };
            match left.checked_sub(beside) {
                Some(left) => {
                    ("spec.cores", format!("which is {} for each of {redis} Redis", Cores(left / redis)))
                }
                None => ("spec.proxies.cores", format!("and the proxies alone ask for {}", Cores(beside))),
            }
        }
        QuotaResource::Instances if object.kind() == Kind::Pool => {
            ("spec.shards", "so use fewer shards, replicas or proxies".to_owned())
        }
        QuotaResource::Instances => ("spec.replicas", "so use fewer replicas".to_owned()),
        QuotaResource::RequestsPerSecond => {
            ("spec.requestsPerSecond", "so ask the tenant's owner for more".to_owned())
        }
    }
}
