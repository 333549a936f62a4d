//! The rules, held against what stands.

use crate::fleet::{Fleet, OwnerId};
use crate::owned::{Kin, Standing};
use crate::rank::Search;
use crate::{Cores, Inventory, Memory, Sites, Violation};

/// Says which rules do not hold for what is placed, in a fixed order. What stands on dead nodes counts as standing there.
#[must_use]
pub fn audit(inventory: &Inventory) -> Vec<Violation> {
    let mut violations = twice(inventory);
    let mut fleet = Fleet::new(inventory, &[]);
    for placed in &inventory.placed {
        let instance = &placed.instance;
        let Some(id) = fleet.node(&placed.node) else {
            let (instance, node) = (instance.name.clone(), placed.node.clone());
            violations.push(Violation::UnknownNode { instance, node });
            continue;
        };
        let (node, asks) = (fleet.nodes[id as usize], &instance.constraints);
        let checks = [
            ("site", asks.site.as_ref().is_none_or(|site| *site == node.site)),
            ("node group", asks.group.as_ref().is_none_or(|group| *group == node.group)),
            ("labels", asks.labels.iter().all(|(name, value)| node.labels.get(name) == Some(value))),
        ];
        violations.extend(checks.iter().filter(|(_, holds)| !holds).map(|(which, _)| {
            Violation::Constraint { instance: instance.name.clone(), node: node.name.clone(), which }
        }));
    }
    for (node, place) in fleet.nodes.iter().zip(&fleet.places) {
        if place.memory_asked > u128::from(node.memory.0) {
            let asked = Memory(u64::try_from(place.memory_asked).unwrap_or(u64::MAX));
            violations.push(Violation::Memory { node: node.name.clone(), asked, has: node.memory });
        }
        if place.cores_asked > u64::from(node.cores.0) {
            let asked = Cores(u32::try_from(place.cores_asked).unwrap_or(u32::MAX));
            violations.push(Violation::Cores { node: node.name.clone(), asked, has: node.cores });
        }
    }
    for owner in (0..).take(fleet.owners.len()) {
        let families: Vec<(Kin, Vec<Standing<'_>>)> =
            fleet.owners[owner as usize].families().map(|(kin, all)| (kin, all.to_vec())).collect();
        for (kin, mut family) in families.into_iter().filter(|(kin, _)| kin.is_strict()) {
            family.sort_by_key(|standing| (standing.instance.role, &standing.instance.name));
            split(&fleet, kin, &family, &mut violations);
            shared(&mut fleet, owner, &family, &mut violations);
        }
    }
    violations.sort_unstable();
    violations
}

/// Names that stand twice.
fn twice(inventory: &Inventory) -> Vec<Violation> {
    let mut nodes: Vec<&str> = inventory.nodes.iter().map(|node| node.name.as_str()).collect();
    let mut instances: Vec<&str> =
        inventory.placed.iter().map(|placed| placed.instance.name.as_str()).collect();
    nodes.sort_unstable();
    instances.sort_unstable();
    let again = |pair: &&[&str]| pair[0] == pair[1];
    let nodes = nodes.windows(2).filter(again).map(|pair| Violation::TwoNodes { name: pair[0].to_owned() });
    let instances =
        instances.windows(2).filter(again).map(|pair| Violation::TwoInstances { name: pair[0].to_owned() });
    nodes.chain(instances).collect()
}

/// A shard on several sites whose copies had no choice but one.
fn split(fleet: &Fleet<'_>, kin: Kin, family: &[Standing<'_>], violations: &mut Vec<Violation>) {
    let bound = |s: &&Standing<'_>| {
        s.instance.constraints.sites == Sites::One && s.instance.constraints.site.is_none()
    };
    let mut bound = family.iter().filter(bound).peekable();
    let (Kin::Shard(shard), Some(first)) = (kin, bound.peek().map(|standing| standing.instance)) else {
        return;
    };
    let mut sites: Vec<&str> =
        bound.map(|standing| fleet.nodes[standing.node as usize].site.as_str()).collect();
    sites.sort_unstable();
    sites.dedup();
    if sites.len() > 1 {
        let sites = sites.into_iter().map(str::to_owned).collect();
        violations.push(Violation::SplitSites { owner: first.owner.clone(), shard, sites });
    }
}

/// Kin on one node, or in one rack: each against the first of them that is there.
fn shared<'a>(
    fleet: &mut Fleet<'a>,
    owner: OwnerId,
    family: &[Standing<'a>],
    violations: &mut Vec<Violation>,
) {
    let rack = |fleet: &Fleet<'_>, standing: &Standing<'_>| fleet.places[standing.node as usize].rack;
    for (at, second) in family.iter().enumerate() {
        let names = |first: &Standing<'_>| [first.instance.name.clone(), second.instance.name.clone()];
        let node = fleet.nodes[second.node as usize];
        if let Some(first) = family[..at].iter().find(|first| first.node == second.node) {
            let (instances, node) = (names(first), node.name.clone());
            violations.push(Violation::SharedNode { instances, node });
        } else if let Some(first) =
            family[..at].iter().find(|first| rack(fleet, first) == rack(fleet, second))
        {
            let (instances, rack) = (names(first), node.rack.clone());
            let free = free_rack(fleet, owner, second);
            violations.push(Violation::SharedRack { instances, rack, free });
        }
    }
}

/// A node in a rack of no kin where an instance could stand if it were taken off its own.
fn free_rack<'a>(fleet: &mut Fleet<'a>, owner: OwnerId, standing: &Standing<'a>) -> Option<String> {
    let Standing { instance, node } = *standing;
    let asks = &instance.constraints;
    let site = match (&asks.site, asks.sites) {
        (Some(site), _) => Some(fleet.site(site)?),
        (None, Sites::One) => Some(fleet.places[node as usize].site),
        (None, Sites::Any) => None,
    };
    fleet.lift(owner, instance, node);
    let best = Search::new(fleet, owner, instance, site).best();
    fleet.put(owner, instance, node);
    let apart = best.filter(|best| best.spread.kin_in_rack == 0)?;
    Some(fleet.nodes[apart.node as usize].name.clone())
}
