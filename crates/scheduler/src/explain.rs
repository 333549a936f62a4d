//! Why a node was taken, or why none could be.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::fleet::{Fleet, OwnerId};
use crate::index::NodeId;
use crate::owned::Kin;
use crate::place::Scope;
use crate::rank::{Rank, Search};
use crate::refusal::NAMED;
use crate::ways::Ways;
use crate::{
    Cores, Decision, Instance, Memory, Obstacle, Obstructed, Policy, Racks, Reason, Refusal, Role, Shared,
    SiteReport,
};

/// The decision for a node, before the instance stands there. `other_rack`: there is a rack without kin, and it is full.
pub fn decision(search: &Search<'_, '_>, rank: &Rank, scope: Scope<'_>, other_rack: bool) -> Decision {
    let Search { fleet, instance, .. } = *search;
    Decision {
        instance: instance.name.clone(),
        node: fleet.nodes[rank.node as usize].name.clone(),
        reasons: reasons(search, rank, scope),
        told: told(search, rank, other_rack),
    }
}

/// What is said leaves out what goes without saying: the site where there is one, counts of an owner that is nowhere yet.
fn reasons(search: &Search<'_, '_>, rank: &Rank, scope: Scope<'_>) -> Vec<Reason> {
    let Search { fleet, instance, owned, kin, .. } = *search;
    let (node, spread, role) = (fleet.nodes[rank.node as usize], rank.spread, instance.role);
    let mut reasons = Vec::with_capacity(6);
    if fleet.sites.len() > 1 {
        let site = || node.site.clone();
        match scope {
            Scope::Asked(_) | Scope::Missing(_) => reasons.push(Reason::SiteAsked { site: site() }),
            Scope::Owner(_) => reasons.push(Reason::SiteOfOwner { site: site() }),
            Scope::Chosen(_) => reasons.push(Reason::SiteChosen { site: site() }),
            Scope::Any => {}
        }
    }
    let nearest = kin.iter().map(|kin| kin.instance).min_by_key(|kin| (kin.role, &kin.name));
    if let Some(than) = nearest.map(|kin| &kin.name) {
        if spread.kin_in_zone == 0 && !node.zone.is_empty() {
            reasons.push(Reason::OtherZone { zone: node.zone.clone(), than: than.clone() });
        }
        if spread.kin_in_rack == 0 && !node.rack.is_empty() {
            reasons.push(Reason::OtherRack { rack: node.rack.clone(), than: than.clone() });
        }
    }
    if owned.of_role[role as usize] > 0 {
        reasons.push(Reason::FewestOfRole { role, count: spread.role_on_node });
    }
    if owned.all > owned.of_role[role as usize] {
        reasons.push(Reason::FewestOfOwner { count: spread.owner_on_node });
    }
    if role == Role::Replica && owned.of_role[role as usize] > 0 {
        let primary = kin.iter().find(|kin| kin.instance.role == Role::Primary);
        reasons.extend(primary.map(|primary| Reason::FewestBehind {
            node: fleet.nodes[primary.node as usize].name.clone(),
            count: spread.behind_primary,
        }));
    }
    if owned.of_role[role as usize] > 0 && !node.rack.is_empty() {
        reasons.push(Reason::FewestInRack { role, rack: node.rack.clone(), count: spread.role_in_rack });
    }
    if fleet.costs_differ {
        reasons.push(Reason::Cheapest { cost: rank.cost });
    }
    let cores = Cores(fleet.free(rank.node).1.0.saturating_sub(instance.cores.0));
    reasons.push(Reason::LeastLeft { memory: rank.memory_left, cores });
    reasons
}

fn told(search: &Search<'_, '_>, rank: &Rank, full: bool) -> Vec<Shared> {
    let Search { fleet, instance, owned, kin, .. } = *search;
    let node = fleet.nodes[rank.node as usize];
    let rack = |id: NodeId| fleet.places[id as usize].rack;
    let neighbours = kin.iter().filter(|kin| rack(kin.node) == rack(rank.node));
    let mut told: Vec<Shared> = neighbours
        .map(|kin| Shared::Rack { rack: node.rack.clone(), with: kin.instance.name.clone(), full })
        .collect();
    if instance.role == Role::Proxy && rank.spread.role_on_node > 0 {
        let proxies = owned.kin(Kin::Proxies).iter().filter(|proxy| proxy.node == rank.node);
        told.extend(proxies.map(|proxy| Shared::Node { with: proxy.instance.name.clone() }));
    }
    told
}

/// An instance whose name is taken.
pub fn taken(instance: &Instance, by: &str) -> Refusal {
    Refusal { taken: Some(by.to_owned()), ..bare(instance) }
}

fn bare(instance: &Instance) -> Refusal {
    Refusal {
        instance: instance.name.clone(),
        owner: instance.owner.clone(),
        role: instance.role,
        memory: instance.memory,
        cores: instance.cores,
        taken: None,
        sites: Vec::new(),
        would_fit: Vec::new(),
    }
}

/// What stands against each node, as things are.
pub fn refusal<'a>(
    fleet: &Fleet<'a>,
    policy: &Policy,
    owner: OwnerId,
    instance: &'a Instance,
    scope: Scope<'_>,
) -> Refusal {
    let mut refusal = bare(instance);
    let search = Search::new(fleet, owner, instance, scope.site());
    let racks_bind = policy.racks == Racks::Apart && search.has_other_rack();
    let mut found: BTreeMap<(u32, usize), Group> = BTreeMap::new();
    let mut ways = Ways::new(policy, search);
    for (id, place) in (0..).zip(&fleet.places) {
        let against = obstacles(&search, scope, id, racks_bind);
        ways.look(id, &against);
        // Nodes of other sites are no part of the answer, but for what would fit there.
        if let Some(first) = against.into_iter().next().filter(|first| *first != Obstacle::OtherSite) {
            found.entry((place.site, order(&first))).or_default().add(&fleet.nodes[id as usize].name, first);
        }
    }
    if let Scope::Missing(site) = scope {
        refusal.sites.push(SiteReport { site: site.to_owned(), nodes: 0, obstructed: Vec::new() });
    }
    for ((site, _), group) in found {
        let name = fleet.sites[site as usize].name;
        if refusal.sites.last().is_none_or(|last| last.site != name) {
            refusal.sites.push(SiteReport { site: name.to_owned(), nodes: 0, obstructed: Vec::new() });
        }
        if let Some(report) = refusal.sites.last_mut() {
            report.nodes += group.count;
            report.obstructed.extend(group.obstructed());
        }
    }
    refusal.would_fit = ways.told();
    refusal
}

/// All that stands against a node, in the order of [`Obstacle`]. If it is nothing, the node should have been taken.
fn obstacles(search: &Search<'_, '_>, scope: Scope<'_>, id: NodeId, racks_bind: bool) -> Vec<Obstacle> {
    let Search { fleet, instance, kin, .. } = *search;
    let (node, place, asks) = (fleet.nodes[id as usize], &fleet.places[id as usize], &instance.constraints);
    let (memory, cores) = fleet.free(id);
    let on_node = kin.iter().find(|kin| kin.node == id);
    let in_rack = kin.iter().find(|kin| racks_bind && fleet.places[kin.node as usize].rack == place.rack);
    let other_site =
        matches!(scope, Scope::Missing(_)) || scope.site().is_some_and(|site| site != place.site);
    let holds = |kin: &crate::owned::Standing<'_>| kin.instance.name.clone();
    let all = [
        other_site.then_some(Obstacle::OtherSite),
        asks.group.as_ref().filter(|group| **group != node.group).map(|_| Obstacle::OtherGroup),
        asks.labels
            .iter()
            .find(|(name, value)| node.labels.get(*name) != Some(value))
            .map(|_| Obstacle::Label),
        place.leaving.then_some(Obstacle::Leaving),
        (!node.alive).then_some(Obstacle::Dead),
        node.cordoned.then_some(Obstacle::Cordoned),
        on_node.map(|kin| Obstacle::Relation { holds: holds(kin) }),
        in_rack.filter(|_| on_node.is_none()).map(|kin| Obstacle::RackOfRelation { holds: holds(kin) }),
        (memory < instance.memory).then_some(Obstacle::Memory { free: memory }),
        (cores < instance.cores).then_some(Obstacle::Cores { free: cores }),
    ];
    all.into_iter().flatten().collect()
}

pub(crate) fn order(obstacle: &Obstacle) -> usize {
    match obstacle {
        Obstacle::OtherSite => 0,
        Obstacle::OtherGroup => 1,
        Obstacle::Label => 2,
        Obstacle::Leaving => 3,
        Obstacle::Dead => 4,
        Obstacle::Cordoned => 5,
        Obstacle::Relation { .. } => 6,
        Obstacle::RackOfRelation { .. } => 7,
        Obstacle::Memory { .. } => 8,
        Obstacle::Cores { .. } => 9,
    }
}

/// What a node has, where it lacks something.
fn free(obstacle: &Obstacle) -> u64 {
    match obstacle {
        Obstacle::Memory { free: Memory(free) } => *free,
        Obstacle::Cores { free: Cores(free) } => u64::from(*free),
        _ => 0,
    }
}

/// Nodes of one site with obstacles of one kind.
#[derive(Debug, Default)]
struct Group {
    count: usize,
    /// [`NAMED`] at most; those that lack least come first.
    named: Vec<(String, Obstacle)>,
}

impl Group {
    /// Nodes come by name.
    fn add(&mut self, node: &str, obstacle: Obstacle) {
        self.count += 1;
        let at = self.named.partition_point(|(_, other)| Reverse(free(other)) <= Reverse(free(&obstacle)));
        if at < NAMED {
            self.named.insert(at, (node.to_owned(), obstacle));
            self.named.truncate(NAMED);
        }
    }

    /// Each of a few nodes for itself, as each has its own number or neighbour; of many, the number.
    fn obstructed(self) -> Vec<Obstructed> {
        let same = |pair: &[(String, Obstacle)]| pair[0].1 == pair[1].1;
        if self.count <= NAMED && !self.named.windows(2).all(same) {
            let each = |(node, obstacle)| Obstructed { obstacle, count: 1, named: vec![node] };
            return self.named.into_iter().map(each).collect();
        }
        let obstacle = self.named.first().map(|(_, obstacle)| obstacle.clone());
        let named = self.named.into_iter().map(|(node, _)| node).collect();
        obstacle
            .into_iter()
            .map(|obstacle| Obstructed { obstacle, count: self.count, named: Vec::clone(&named) })
            .collect()
    }
}
