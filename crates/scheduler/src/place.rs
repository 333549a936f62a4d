//! One owner's instances after another get their nodes.
//!
//! ```text
//!   owners, the largest instances first ──▶ the site, where it is free: the first that takes all, the roomiest first
//!       primaries, caches, replicas, proxies, sentinels, each the largest first ──▶ the best node by rank
//!           what found no place tries once more when the rest of its owner stands ──▶ refusal
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::explain;
use crate::fleet::{Fleet, OwnerId};
use crate::owned::Kin;
use crate::rank::{Rank, Search};
use crate::{Decision, Instance, Inventory, Move, Moves, Plan, Policy, Racks, Sites};

/// Says where what is wanted goes.
///
/// The same policy and inventory, with its lists in any order, give the same plan. An instance is refused only if no node
/// satisfies the rules at the end of its owner's turn; the turns are greedy, so another order may have found room for more.
#[must_use]
pub fn plan(policy: &Policy, inventory: &Inventory) -> Plan {
    let mut fleet = Fleet::new(inventory, &[]);
    let mut names: BTreeMap<&str, String> = inventory
        .placed
        .iter()
        .map(|placed| (placed.instance.name.as_str(), format!("on node {}", placed.node)))
        .collect();
    let mut wanted: Vec<&Instance> = inventory.wanted.iter().collect();
    wanted.sort_unstable();

    let mut plan = Plan::default();
    let mut seekers = Vec::new();
    for instance in wanted {
        match names.get(instance.name.as_str()) {
            Some(place) => plan.refusals.push(explain::taken(instance, place)),
            None => {
                names.insert(&instance.name, "wanted as well".to_owned());
                seekers.push(Seeker { instance, owner: fleet.owner(instance), last_site: None });
            }
        }
    }
    place_all(&mut fleet, policy, seekers, &mut plan);
    plan.decisions.sort_unstable_by(|a, b| a.instance.cmp(&b.instance));
    plan.refusals.sort_by(|a, b| a.instance.cmp(&b.instance));
    plan
}

/// Says where what stands on some nodes goes, when these are dead, or are to be emptied. What is wanted is not looked at.
///
/// An instance that may be on one site alone stays on its site, even if nothing else of its owner is left there.
#[must_use]
pub fn moves(policy: &Policy, inventory: &Inventory, leaving: &[&str]) -> Moves {
    let mut fleet = Fleet::new(inventory, leaving);
    let mut seekers = Vec::new();
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut placed: Vec<_> =
        inventory.placed.iter().filter(|placed| leaving.contains(&placed.node.as_str())).collect();
    placed.sort_unstable();
    for placed in placed {
        let Some(node) = fleet.node(&placed.node) else { continue };
        let owner = fleet.owner(&placed.instance);
        let last_site = Some(fleet.places[node as usize].site);
        fleet.lift(owner, &placed.instance, node);
        seekers.push(Seeker { instance: &placed.instance, owner, last_site });
        from.insert(&placed.instance.name, &placed.node);
    }
    let mut plan = Plan::default();
    place_all(&mut fleet, policy, seekers, &mut plan);
    let goes = |to: Decision| Move { from: from[to.instance.as_str()].to_owned(), to };
    let mut moves: Vec<Move> = plan.decisions.into_iter().map(goes).collect();
    moves.sort_unstable_by(|a, b| a.to.instance.cmp(&b.to.instance));
    plan.refusals.sort_unstable_by(|a, b| a.instance.cmp(&b.instance));
    Moves { moves, refusals: plan.refusals }
}

/// An instance that wants a place.
#[derive(Clone, Copy, Debug)]
struct Seeker<'a> {
    instance: &'a Instance,
    owner: OwnerId,
    /// Where it stood before.
    last_site: Option<u32>,
}

/// Where an instance may be, and how that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The constraints name the site.
    Asked(u32),
    /// The constraints name a site, and no node is there.
    Missing(&'a str),
    /// The rest of its owner is there, or it was there itself.
    Owner(u32),
    /// Chosen for all of the owner.
    Chosen(u32),
    /// Anywhere: it is asked so, or the owner is nowhere and no site was chosen.
    Any,
}

impl Scope<'_> {
    /// The site, if it is one.
    pub fn site(self) -> Option<u32> {
        match self {
            Self::Asked(site) | Self::Owner(site) | Self::Chosen(site) => Some(site),
            Self::Missing(_) | Self::Any => None,
        }
    }
}

/// Adds to the plan, in the order of turns.
fn place_all<'a>(fleet: &mut Fleet<'a>, policy: &Policy, seekers: Vec<Seeker<'a>>, plan: &mut Plan) {
    let mut by_owner: BTreeMap<OwnerId, Vec<Seeker<'a>>> = BTreeMap::new();
    for seeker in seekers {
        by_owner.entry(seeker.owner).or_default().push(seeker);
    }
    let mut groups: Vec<Vec<Seeker<'a>>> = by_owner.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|Seeker { instance: i, .. }| {
            (i.role, Reverse(i.memory), Reverse(i.cores), i.shard, i.name.as_str())
        });
    }
    groups.sort_by_cached_key(|group| {
        let memory = group.iter().map(|seeker| seeker.instance.memory).max();
        let cores = group.iter().map(|seeker| seeker.instance.cores).max();
        let owner = group.first().map(|seeker| (&seeker.instance.tenant, &seeker.instance.owner));
        (Reverse(memory), Reverse(cores), owner)
    });
    for group in groups {
        Turn { fleet, policy }.take(&group, plan);
    }
}

/// One owner's turn.
struct Turn<'f, 'a, 'p> {
    fleet: &'f mut Fleet<'a>,
    policy: &'p Policy,
}

/// What one try brought: for each seeker its decision, if it has found a place.
type Tried<'a> = Vec<Option<(Rank, Decision)>>;

impl<'a> Turn<'_, 'a, '_> {
    fn take(mut self, group: &[Seeker<'a>], plan: &mut Plan) {
        let (chosen, tried) = self.choose_site(group);
        for (seeker, outcome) in group.iter().zip(tried) {
            match outcome {
                Some((_, decision)) => plan.decisions.push(decision),
                None => {
                    let scope = self.scope(seeker, chosen);
                    let Seeker { owner, instance, .. } = *seeker;
                    plan.refusals.push(explain::refusal(self.fleet, self.policy, owner, instance, scope));
                }
            }
        }
    }

    /// Places the group, on the site that takes most of it where there is a choice; on none if no site takes anything.
    fn choose_site(&mut self, group: &[Seeker<'a>]) -> (Option<u32>, Tried<'a>) {
        let homeless =
            |seeker: &Seeker<'a>| one_site(seeker.instance) && self.scope(seeker, None) == Scope::Any;
        if self.fleet.sites.len() < 2 || !group.iter().any(homeless) {
            return (None, self.place(group, None));
        }
        let mut best = (group.len(), None);
        for site in self.sites_in_order(group) {
            let tried = self.place(group, Some(site));
            let missing = tried.iter().filter(|outcome| outcome.is_none()).count();
            if missing == 0 {
                return (Some(site), tried);
            }
            self.take_back(group, &tried);
            if missing < best.0 {
                best = (missing, Some(site));
            }
        }
        (best.1, self.place(group, best.1))
    }

    /// The sites that some of the group ask for first, then those with the most free memory on open nodes.
    fn sites_in_order(&self, group: &[Seeker<'a>]) -> Vec<u32> {
        let mut order: Vec<(usize, u128)> = vec![(0, 0); self.fleet.sites.len()];
        for (id, place) in (0..).zip(&self.fleet.places).filter(|(_, place)| place.open) {
            order[place.site as usize].1 += u128::from(self.fleet.free(id).0.0);
        }
        for site in group.iter().filter_map(|seeker| seeker.instance.constraints.site.as_deref()) {
            if let Some(site) = self.fleet.site(site) {
                order[site as usize].0 += 1;
            }
        }
        let mut sites: Vec<u32> = (0..).take(order.len()).collect();
        sites.sort_by_key(|site| Reverse(order[*site as usize]));
        sites
    }

    /// Places what can be placed. What found no place tries again as long as others did: a copy in the one other rack may
    /// let the next one share a rack.
    fn place(&mut self, group: &[Seeker<'a>], chosen: Option<u32>) -> Tried<'a> {
        let mut tried: Tried<'a> = Vec::new();
        tried.resize_with(group.len(), || None);
        let mut waiting: BTreeSet<usize> = (0..group.len()).collect();
        loop {
            let before = waiting.len();
            waiting.retain(|at| {
                tried[*at] = self.place_one(&group[*at], chosen);
                tried[*at].is_none()
            });
            let again = waiting.iter().any(|at| Kin::of(group[*at].instance).is_strict());
            if waiting.len() == before || waiting.is_empty() || !again {
                return tried;
            }
        }
    }

    fn place_one(&mut self, seeker: &Seeker<'a>, chosen: Option<u32>) -> Option<(Rank, Decision)> {
        let scope = self.scope(seeker, chosen);
        if matches!(scope, Scope::Missing(_)) {
            return None;
        }
        let search = Search::new(self.fleet, seeker.owner, seeker.instance, scope.site());
        let rank = search.best()?;
        let crowded = rank.spread.kin_in_rack > 0;
        let other_rack = crowded && search.has_other_rack();
        if other_rack && self.policy.racks == Racks::Apart {
            return None;
        }
        let decision = explain::decision(&search, &rank, scope, other_rack);
        self.fleet.put(seeker.owner, seeker.instance, rank.node);
        Some((rank, decision))
    }

    fn take_back(&mut self, group: &[Seeker<'a>], tried: &Tried<'a>) {
        for (seeker, outcome) in group.iter().zip(tried) {
            if let Some((rank, _)) = outcome {
                self.fleet.lift(seeker.owner, seeker.instance, rank.node);
            }
        }
    }

    fn scope(&self, seeker: &Seeker<'a>, chosen: Option<u32>) -> Scope<'a> {
        let Seeker { instance, owner, last_site } = *seeker;
        if let Some(site) = &instance.constraints.site {
            return self.fleet.site(site).map_or(Scope::Missing(site), Scope::Asked);
        }
        if !one_site(instance) {
            return Scope::Any;
        }
        let home = || self.fleet.owners[owner as usize].home(instance, &self.fleet.places).or(last_site);
        match chosen {
            Some(site) => Scope::Chosen(site),
            None => home().map_or(Scope::Any, Scope::Owner),
        }
    }
}

fn one_site(instance: &Instance) -> bool {
    instance.constraints.site.is_none() && instance.constraints.sites == Sites::One
}
