//! What cannot be changed once it is there, and why.

use super::Remarks;
use crate::resource::{Managed, NodeSpec, PoolSpec, Resource, StandaloneSpec};
use std::fmt::Display;

pub(super) fn check(old: &Resource, new: &Resource, reasons: &mut Remarks) {
    let is_going = old.metadata().is_deleted() && !new.has_spec_of(old);
    reasons.add_if(is_going, "spec", || {
        "its deletion has begun: wait until it is gone, then declare it again".to_owned()
    });
    match (old, new) {
        (Resource::Pool(old), Resource::Pool(new)) => check_pool(&old.spec, &new.spec, reasons),
        (Resource::Standalone(old), Resource::Standalone(new)) => {
            check_standalone(&old.spec, &new.spec, reasons)
        }
        (Resource::Node(old), Resource::Node(new)) => {
            check_node(&old.spec, &new.spec, reasons);
            let used = old.status.allocated;
            let is_short = new.spec.memory < old.spec.memory && new.spec.memory < used.memory;
            reasons.add_if(is_short, "spec.memory", || {
                format!("its instances have been promised {}: move some away first", used.memory)
            });
            let is_short = new.spec.cores < old.spec.cores && new.spec.cores < used.cores;
            reasons.add_if(is_short, "spec.cores", || {
                format!("its instances have been promised {}: move some away first", used.cores)
            });
        }
        _ => {}
    }
}

fn check_pool(old: &PoolSpec, new: &PoolSpec, reasons: &mut Remarks) {
    let elsewhere = "keys would lie on other shards; make a new pool and copy";
    fixed(reasons, "spec.tenant", &old.tenant, &new.tenant, "its use counts for that tenant");
    if old.managed == Managed::Observe {
        // It says what somebody saw, and may have seen wrongly.
        return;
    }
    fixed(
        reasons,
        "spec.mode",
        &old.mode,
        &new.mode,
        "a storage pool keeps what a cache may lose; make a new pool",
    );
    fixed(reasons, "spec.hash", &Some(old.hash()), &Some(new.hash()), elsewhere);
    fixed(reasons, "spec.distribution", &Some(old.distribution()), &Some(new.distribution()), elsewhere);
    fixed(reasons, "spec.hashTag", &old.hash_tag, &new.hash_tag, elsewhere);
    fixed(reasons, "spec.shards", &old.shards, &new.shards, "resharding comes later; memory can be changed");
    fixed_managed(reasons, old.managed, new.managed);
    reasons.add_if(old.managed == Managed::Shoal && old.existing != new.existing, "spec.existing", adopted);
}

fn check_standalone(old: &StandaloneSpec, new: &StandaloneSpec, reasons: &mut Remarks) {
    fixed(reasons, "spec.tenant", &old.tenant, &new.tenant, "its use counts for that tenant");
    fixed_managed(reasons, old.managed, new.managed);
    reasons.add_if(old.managed == Managed::Shoal && old.existing != new.existing, "spec.existing", adopted);
}

fn check_node(old: &NodeSpec, new: &NodeSpec, reasons: &mut Remarks) {
    fixed(
        reasons,
        "spec.address",
        &old.address,
        &new.address,
        "its instances are known by it; declare another node",
    );
}

fn fixed_managed(reasons: &mut Remarks, old: Managed, new: Managed) {
    let is_given_up = old == Managed::Shoal && new == Managed::Observe;
    reasons.add_if(is_given_up, "spec.managed", || "what Shoal manages is not given back".to_owned());
}

fn adopted() -> String {
    "it cannot be changed: its processes are Shoal's now".to_owned()
}

fn fixed<T: PartialEq + Named>(reasons: &mut Remarks, path: &str, old: &T, new: &T, why: &str) {
    reasons.add_if(old != new, path, || {
        format!("it cannot be changed from {} to {}: {why}", old.named(), new.named())
    });
}

/// How a value stands in a declaration.
trait Named {
    fn named(&self) -> String;
}

impl Named for String {
    fn named(&self) -> String {
        self.clone()
    }
}

impl Named for u16 {
    fn named(&self) -> String {
        self.to_string()
    }
}

impl Named for shoal_topology::Mode {
    fn named(&self) -> String {
        match self {
            shoal_topology::Mode::Storage => "storage".to_owned(),
            shoal_topology::Mode::Cache => "cache".to_owned(),
        }
    }
}

impl<T: Display> Named for Option<T> {
    fn named(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
    }
}
