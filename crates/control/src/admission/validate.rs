//! Whether an object says what can be.

use super::{Remarks, Stored};
use crate::quantity::{Bytes, Cores};
use crate::resource::{
    Durability, Eviction, InstanceSpec, Kind, Managed, Metadata, Node, NodeSpec, Persistence, Pool, PoolSpec,
    Resource, Standalone, StandaloneSpec, Tenant, TenantSpec,
};
use shoal_topology::{Distribution, Mode, nearest};
use std::net::IpAddr;
use std::time::Duration;

/// The longest name, in characters: names of instances, files and DNS records are made of it.
pub const NAME_MAX: usize = 40;

/// The most bytes of labels and annotations together.
pub const ANNOTATIONS_MAX: usize = 64 * 1024;

/// The most shards of a pool.
pub const POOL_SHARDS_MAX: u16 = 1024;

/// The most replicas of a shard.
pub const REPLICAS_MAX: u16 = 5;

/// The most proxies of a pool.
pub const PROXIES_MAX: u16 = 256;

/// The least memory of a Redis: an empty one takes about 1 MiB, its clients' buffers more.
pub const MEMORY_MIN: Bytes = Bytes::mib(8);

/// The most endpoints of something existing, for each shard.
pub const EXISTING_MAX: usize = 16;

/// Whether it is a DNS label (RFC 1123, in small letters) of at most [`NAME_MAX`] characters.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= NAME_MAX
        && name.bytes().all(inner)
        && !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(super) fn check(stored: &Stored, object: &Resource, reasons: &mut Remarks) {
    check_metadata(object.metadata(), reasons);
    match object {
        Resource::Node(node) => check_node(stored, node, reasons),
        Resource::Tenant(tenant) => check_tenant(stored, tenant, reasons),
        Resource::Standalone(standalone) => check_standalone(stored, standalone, reasons),
        Resource::Pool(pool) => check_pool(stored, pool, reasons),
        Resource::Instance(_) | Resource::Event(_) => {
            reasons.add("kind", format!("{} are made by the platform alone", object.kind().plural()));
        }
    }
}

fn check_metadata(metadata: &Metadata, reasons: &mut Remarks) {
    reasons.add_if(!is_dns_label(&metadata.name), "metadata.name", || {
        let fitting = fitting_name(&metadata.name);
        let hint = if fitting.is_empty() { String::new() } else { format!(", such as {fitting}") };
        format!("{:?} is no name: use at most {NAME_MAX} of a-z, 0-9 and - between them{hint}", metadata.name)
    });
    let texts = metadata.labels.iter().chain(&metadata.annotations);
    let size: usize = texts.map(|(key, value)| key.len() + value.len()).sum();
    reasons.add_if(size > ANNOTATIONS_MAX, "metadata.annotations", || {
        format!("labels and annotations have {size} bytes, and may have {ANNOTATIONS_MAX}")
    });
}

/// The name that somebody might have meant.
fn fitting_name(name: &str) -> String {
    let small = name.to_lowercase();
    let label: String =
        small.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(NAME_MAX).collect();
    label.trim_matches('-').to_owned()
}

fn check_node(stored: &Stored, node: &Node, reasons: &mut Remarks) {
    let spec = &node.spec;
    reasons.add_if(spec.address.parse::<IpAddr>().is_err(), "spec.address", || {
        format!("{:?} is no IP address: on one machine use 127.0.1.1, 127.0.1.2 and so on", spec.address)
    });
    let other = stored
        .each::<NodeSpec>()
        .find(|other| other.spec.address == spec.address && other.name() != node.name());
    if let Some(other) = other {
        reasons.add("spec.address", format!("node {} has {} already", other.name(), spec.address));
    }
    reasons.add_if(spec.memory == Bytes::ZERO, "spec.memory", || "a node needs some: 8GiB".to_owned());
    reasons.add_if(spec.cores == Cores::ZERO, "spec.cores", || "a node needs some: 4".to_owned());
    for (path, name) in [
        ("spec.site", Some(&spec.site)),
        ("spec.zone", spec.zone.as_ref()),
        ("spec.rack", spec.rack.as_ref()),
        ("spec.nodeGroup", spec.node_group.as_ref()),
    ] {
        reasons.add_if(name.is_some_and(|name| !is_dns_label(name)), path, || {
            format!("use at most {NAME_MAX} of a-z, 0-9 and - between them")
        });
    }
}

fn check_tenant(stored: &Stored, tenant: &Tenant, reasons: &mut Remarks) {
    let mut above = tenant.spec.parent.as_deref();
    let mut steps = 0;
    while let Some(name) = above {
        if name == tenant.name() {
            return reasons.add("spec.parent", format!("{name} would be its own parent"));
        }
        let Some(Resource::Tenant(parent)) = stored.get(Kind::Tenant, name).map(AsRef::as_ref) else {
            return reasons.add("spec.parent", unknown_tenant(stored, name));
        };
        above = parent.spec.parent.as_deref();
        steps += 1;
        if steps > TENANT_LEVELS_MAX {
            return reasons.add("spec.parent", format!("tenants may stand {TENANT_LEVELS_MAX} levels deep"));
        }
    }
}

/// How deep tenants may stand below each other.
const TENANT_LEVELS_MAX: usize = 8;

fn unknown_tenant(stored: &Stored, name: &str) -> String {
    let names: Vec<&str> = stored.each::<TenantSpec>().map(|tenant| tenant.name()).collect();
    match nearest(name, &names) {
        Some(near) => format!("there is no tenant {name}: did you mean {near}?"),
        None if names.is_empty() => format!("there is no tenant {name}: declare it first"),
        None => format!("there is no tenant {name}: declare it first, or use one of {}", names.join(", ")),
    }
}

/// What standalones and pools have in common.
struct Service<'a> {
    tenant: &'a str,
    memory: Bytes,
    cores: Cores,
    replicas: u16,
    sentinels: u16,
    version: Option<&'a str>,
    managed: Managed,
    has_existing: bool,
}

fn check_service(stored: &Stored, object: &Resource, service: &Service<'_>, reasons: &mut Remarks) {
    let is_known = service.tenant == "default" || stored.get(Kind::Tenant, service.tenant).is_some();
    reasons.add_if(!is_known, "spec.tenant", || unknown_tenant(stored, service.tenant));
    if service.managed == Managed::Shoal {
        reasons.add_if(service.memory < MEMORY_MIN, "spec.memory", || {
            format!("{} is too little: a Redis needs {MEMORY_MIN} at least", service.memory)
        });
        reasons.add_if(service.cores == Cores::ZERO, "spec.cores", || {
            "a Redis needs some: 100m at least".to_owned()
        });
        let is_new = stored.get(object.kind(), object.name()).is_none();
        reasons.add_if(service.has_existing && is_new, "spec.managed", || {
            "what is there already is first looked at: `managed: observe`, and then `shoal adopt`".to_owned()
        });
    } else {
        reasons.add_if(!service.has_existing, "spec.existing", || {
            "say where it is that is to be observed".to_owned()
        });
    }
    reasons.add_if(service.replicas > REPLICAS_MAX, "spec.replicas", || {
        format!("{} are too many: {REPLICAS_MAX} at most", service.replicas)
    });
    reasons.add_if(!matches!(service.sentinels, 0 | 3 | 5), "spec.sentinels", || {
        format!("{} are no majority's number: use 0, 3 or 5", service.sentinels)
    });
    reasons.add_if(service.sentinels > 0 && service.replicas == 0, "spec.sentinels", || {
        "there is no replica that could take over: use 0, or `replicas: 1`".to_owned()
    });
    let is_version = |text: &str| {
        let parts: Vec<&str> = text.split('.').collect();
        (1..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u16>().is_ok())
    };
    reasons.add_if(service.version.is_some_and(|version| !is_version(version)), "spec.version", || {
        "write a version of Redis, such as \"7.0\"".to_owned()
    });
    check_names_of_instances(stored, object, reasons);
}

/// Standalones and pools share a space of names: those of instances are made of them.
fn check_names_of_instances(stored: &Stored, object: &Resource, reasons: &mut Remarks) {
    let other_kind = if object.kind() == Kind::Pool { Kind::Standalone } else { Kind::Pool };
    let name = object.name();
    reasons.add_if(stored.get(other_kind, name).is_some(), "metadata.name", || {
        format!(
            "there is a {} {name}, whose instances would have the same names",
            other_kind.name().to_lowercase()
        )
    });
    // Instances of the standalone `demo-s0` would be named as those of the first shard of the pool `demo`.
    let pool_of = |standalone: &str| -> Option<String> {
        let (pool, shard) = standalone.rsplit_once("-s")?;
        (!shard.is_empty() && shard.bytes().all(|byte| byte.is_ascii_digit())).then(|| pool.to_owned())
    };
    let clash = match object.kind() {
        Kind::Standalone => pool_of(name).filter(|pool| stored.get(Kind::Pool, pool).is_some()),
        _ => {
            let mut names = stored.each::<StandaloneSpec>().map(|standalone| standalone.name());
            names.find(|standalone| pool_of(standalone).as_deref() == Some(name)).map(str::to_owned)
        }
    };
    if let Some(other) = clash {
        reasons.add("metadata.name", format!("instances of {name} and of {other} would have the same names"));
    }
}

fn check_standalone(stored: &Stored, standalone: &Standalone, reasons: &mut Remarks) {
    let spec = &standalone.spec;
    let service = Service {
        tenant: &spec.tenant,
        memory: spec.memory,
        cores: spec.cores(),
        replicas: spec.replicas(),
        sentinels: spec.sentinels(),
        version: spec.version.as_deref(),
        managed: spec.managed,
        has_existing: spec.existing.is_some(),
    };
    check_service(stored, &standalone.clone().into(), &service, reasons);
    if let Some(existing) = &spec.existing {
        check_endpoints("spec.existing.instances", existing.instances.len(), reasons);
    }
}

fn check_endpoints(path: &str, count: usize, reasons: &mut Remarks) {
    reasons.add_if(count == 0 || count > EXISTING_MAX, path, || {
        format!("{count} addresses: name 1 to {EXISTING_MAX}")
    });
}

fn check_pool(stored: &Stored, pool: &Pool, reasons: &mut Remarks) {
    let spec = &pool.spec;
    let service = Service {
        tenant: &spec.tenant,
        memory: spec.memory,
        cores: spec.cores(),
        replicas: spec.replicas(),
        sentinels: spec.sentinels(),
        version: spec.version.as_deref(),
        managed: spec.managed,
        has_existing: spec.existing.is_some(),
    };
    check_service(stored, &pool.clone().into(), &service, reasons);
    reasons.add_if(!(1..=POOL_SHARDS_MAX).contains(&spec.shards), "spec.shards", || {
        format!("{} is not between 1 and {POOL_SHARDS_MAX}", spec.shards)
    });
    reasons.add_if(!(1..=PROXIES_MAX).contains(&spec.proxies.count), "spec.proxies.count", || {
        format!("{} is not between 1 and {PROXIES_MAX}", spec.proxies.count)
    });
    reasons.add_if(spec.proxies.cores == Cores::ZERO, "spec.proxies.cores", || {
        "a proxy needs some: 500m".to_owned()
    });
    reasons.add_if(spec.proxies.memory < Bytes::mib(32), "spec.proxies.memory", || {
        "a proxy needs 32MiB at least".to_owned()
    });
    match spec.mode {
        Mode::Storage => check_storage(spec, reasons),
        Mode::Cache => check_cache(spec, reasons),
    }
    if let Some(existing) = &spec.existing {
        check_endpoints("spec.existing.proxies", existing.proxies.len(), reasons);
        reasons.add_if(existing.shards.len() != usize::from(spec.shards), "spec.existing.shards", || {
            format!("{} are named, and `shards` says {}", existing.shards.len(), spec.shards)
        });
        for (at, shard) in existing.shards.iter().enumerate() {
            check_endpoints(&format!("spec.existing.shards[{at}].instances"), shard.instances.len(), reasons);
            let is_again = existing.shards[..at].iter().any(|other| other.name == shard.name);
            reasons.add_if(is_again, &format!("spec.existing.shards[{at}].name"), || {
                format!("{} stands twice", shard.name)
            });
            reasons.add_if(shard.weight == 0, &format!("spec.existing.shards[{at}].weight"), || {
                "a shard of no weight has no keys: use 1 or more".to_owned()
            });
        }
    }
}

fn check_storage(spec: &PoolSpec, reasons: &mut Remarks) {
    reasons.add_if(spec.distribution() == Distribution::Random, "spec.distribution", || {
        "under random a key is found by chance only: use modula or ketama".to_owned()
    });
    reasons.add_if(spec.ejection.is_some(), "spec.ejection", || {
        "a storage shard is never left out, since its keys stand nowhere else: leave it away, or use `mode: cache`"
            .to_owned()
    });
    reasons.add_if(
        spec.managed == Managed::Shoal && spec.eviction() != Eviction::Noeviction,
        "spec.eviction",
        || "a storage pool evicts nothing: use noeviction, or `mode: cache`".to_owned(),
    );
    let is_alone = spec.durability == Durability::Replicated && spec.replicas() == 0;
    reasons.add_if(is_alone, "spec.durability", || "replicated needs `replicas: 1` or more".to_owned());
}

fn check_cache(spec: &PoolSpec, reasons: &mut Remarks) {
    reasons.add_if(spec.replicas() > 0, "spec.replicas", || {
        "a cache has none: a dead shard's keys go to the others; use 0, or `mode: storage`".to_owned()
    });
    reasons.add_if(
        spec.managed == Managed::Shoal && spec.persistence() != Persistence::None,
        "spec.persistence",
        || {
            "a cache always starts empty, since what it had may be stale: use none, or `mode: storage`"
                .to_owned()
        },
    );
    reasons.add_if(spec.durability == Durability::Replicated, "spec.durability", || {
        "a cache has no replicas that could confirm: use async, or `mode: storage`".to_owned()
    });
    let ejection = spec.ejection.unwrap_or_default();
    reasons
        .add_if(ejection.failures == 0, "spec.ejection.failures", || "use 1 or more; 3 is usual".to_owned());
    reasons.add_if(ejection.retry_after.0 < Duration::from_secs(1), "spec.ejection.retryAfter", || {
        "use 1s or more; 10m is usual".to_owned()
    });
}

/// Whether something may go: nothing that others stand on.
pub(super) fn check_deletion(stored: &Stored, object: &Resource, reasons: &mut Remarks) {
    let name = object.name();
    let list = |names: Vec<String>| {
        let more = names.len().saturating_sub(NAMED_MAX);
        let shown = names[..names.len() - more].join(", ");
        if more == 0 { shown } else { format!("{shown} and {more} more") }
    };
    let blockers: Vec<String> = match object.kind() {
        Kind::Tenant => stored
            .all()
            .filter(|other| match other {
                Resource::Tenant(tenant) => tenant.spec.parent.as_deref() == Some(name),
                Resource::Pool(_) | Resource::Standalone(_) => other.tenant() == Some(name),
                _ => false,
            })
            .map(|other| other.reference().to_string())
            .collect(),
        Kind::Node => stored
            .each::<InstanceSpec>()
            .filter(|instance| instance.spec.node.as_deref() == Some(name))
            .map(|instance| instance.name().to_owned())
            .collect(),
        Kind::Instance | Kind::Event => {
            return reasons.add("kind", format!("{} are the platform's alone", object.kind().plural()));
        }
        Kind::Standalone | Kind::Pool => Vec::new(),
    };
    let what = if object.kind() == Kind::Node { "instances run there" } else { "others are its own" };
    reasons.add_if(!blockers.is_empty(), "metadata.name", || {
        format!("{what}, and go or move first: {}", list(blockers))
    });
}

/// How many names a message lists.
const NAMED_MAX: usize = 5;
