//! The rules once more, straight from the inventory and without any of the planner's code: slow, and plain.

use super::*;

/// Whether an instance may stand on a node beside what is placed: every hard rule.
pub fn may_stand(policy: &Policy, fleet: &Inventory, instance: &Instance, node: &Node) -> bool {
    could_stand(fleet, instance, node)
        && has_room(fleet, instance, node)
        && (!shares_rack(fleet, instance, node)
            || policy.racks == Racks::Prefer
            || !fleet.nodes.iter().any(|other| {
                could_stand(fleet, instance, other)
                    && !shares_rack(fleet, instance, other)
                    && other.memory >= instance.memory
                    && other.cores >= instance.cores
            }))
}

/// The hard rules that room has no part in, but for the racks'.
fn could_stand(fleet: &Inventory, instance: &Instance, node: &Node) -> bool {
    let asks = &instance.constraints;
    let site = match (&asks.site, asks.sites, home(fleet, instance)) {
        (Some(site), ..) => *site == node.site,
        (None, Sites::One, Some(home)) => home == node.site,
        _ => true,
    };
    node.alive
        && !node.cordoned
        && site
        && asks.group.as_ref().is_none_or(|group| *group == node.group)
        && asks.labels.iter().all(|(name, value)| node.labels.get(name) == Some(value))
        && !kin(fleet, instance).any(|placed| placed.node == node.name)
}

pub fn has_room(fleet: &Inventory, instance: &Instance, node: &Node) -> bool {
    let there = on(fleet, &node.name);
    let memory: u128 = there.iter().map(|i| u128::from(i.memory.0)).sum();
    let cores: u64 = there.iter().map(|i| u64::from(i.cores.0)).sum();
    // What asks for nothing makes nothing worse.
    let fits = |asked: u128, more: u128, has: u128| more == 0 || asked + more <= has;
    fits(memory, instance.memory.0.into(), node.memory.0.into())
        && fits(cores.into(), instance.cores.0.into(), node.cores.0.into())
}

pub fn shares_rack(fleet: &Inventory, instance: &Instance, node: &Node) -> bool {
    kin(fleet, instance).any(|placed| {
        let other = fleet.nodes.iter().find(|other| other.name == placed.node).expect("a node");
        (&other.site, &other.zone, &other.rack) == (&node.site, &node.zone, &node.rack)
            && (!node.rack.is_empty() || node.name == other.name)
    })
}

/// Copies of the same shard, or sentinels of the same group.
fn kin<'f>(fleet: &'f Inventory, instance: &'f Instance) -> impl Iterator<Item = &'f Placed> {
    fleet.placed.iter().filter(|Placed { instance: other, .. }| {
        let same = (&other.tenant, &other.owner) == (&instance.tenant, &instance.owner);
        let copies = other.role.is_copy() && instance.role.is_copy() && other.shard == instance.shard;
        let sentinels = other.role == Role::Sentinel && instance.role == Role::Sentinel;
        same && other.name != instance.name && (copies || sentinels)
    })
}

/// Where the owner is. In the fleets of these tests an owner is on one site, or all of it names a site, or may be anywhere.
fn home(fleet: &Inventory, instance: &Instance) -> Option<String> {
    let same = |other: &Instance| (&other.tenant, &other.owner) == (&instance.tenant, &instance.owner);
    let placed = fleet.placed.iter().find(|placed| same(&placed.instance))?;
    Some(fleet.nodes.iter().find(|node| node.name == placed.node)?.site.clone())
}
