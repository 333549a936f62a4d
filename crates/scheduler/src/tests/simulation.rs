//! A model fleet and ten thousand things that happen to it, drawn by a seed.
//!
//! ```text
//!   draw ─▶ a pool comes, grows, goes · a node dies, returns, is cordoned, drained ─▶ plan, moves ─▶ apply ─▶ check
//! ```
//!
//! Checked after each: memory, cores, nodes of kin, sites and constraints hold; a rack is shared only where no other was
//! free, and told; refusals are true by the oracle; primaries are spread as well as room allows; order does not matter.

use std::collections::BTreeSet;

use super::oracle::{has_room, may_stand, shares_rack};
use super::*;

const OPERATIONS: u64 = 10_000;
const SEEDS: u64 = 8;

#[test]
fn ten_thousand_operations_leave_every_rule_whole() {
    let first = first_seed();
    let mut seen = Seen::default();
    for seed in first..first + SEEDS {
        let mut world = World::new(seed);
        for at in 0..OPERATIONS / SEEDS {
            world.at = format!("seed {seed}, operation {at}");
            world.step();
        }
        seen.placed += world.seen.placed;
        seen.refused += world.seen.refused;
        seen.moved += world.seen.moved;
        seen.racks_shared += world.seen.racks_shared;
        seen.spreads += world.seen.spreads;
    }
    assert!(seen.placed > 5000 && seen.refused > 500 && seen.moved > 1000, "too little happened: {seen:?}");
    assert!(seen.racks_shared > 20 && seen.spreads > 500, "too little happened: {seen:?}");
}

#[derive(Debug, Default)]
struct Seen {
    placed: usize,
    refused: usize,
    moved: usize,
    racks_shared: usize,
    spreads: usize,
}

struct World {
    draw: Draw,
    policy: Policy,
    fleet: Inventory,
    born: u32,
    at: String,
    seen: Seen,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let racks = 1 + seed % 4;
        let nodes = (0..24).map(|nth| {
            let mut node = node(&format!("n{nth:02}"), &format!("r{}", nth % racks), 24 + 8 * draw.below(6));
            node.site = if nth < 16 { "a" } else { "b" }.to_owned();
            node.zone = if draw.one_in(3) { "z2" } else { "z1" }.to_owned();
            node.cores = Cores(8000 + 1000 * u32::try_from(draw.below(24)).expect("small"));
            node.cost = 1 + draw.below(2);
            node.group = if draw.one_in(5) { "large" } else { "redis" }.to_owned();
            node
        });
        let fleet = inventory(nodes.collect(), Vec::new());
        let policy = Policy { racks: if seed % 8 > 5 { Racks::Prefer } else { Racks::Apart } };
        Self { draw, policy, fleet, born: 0, at: String::new(), seen: Seen::default() }
    }

    fn step(&mut self) {
        match self.draw.below(20) {
            0..6 => self.add(),
            6..9 => self.grow(),
            9..14 => self.delete(),
            14..16 => self.die(),
            16..18 => self.heal(),
            18 => self.drain(),
            _ => {
                let at = self.some_node();
                self.fleet.nodes[at].cordoned ^= true;
            }
        }
        self.check();
    }

    fn some_node(&mut self) -> usize {
        usize::try_from(self.draw.below(self.fleet.nodes.len() as u64)).expect("an index")
    }

    fn some_owner(&mut self) -> Option<Owner> {
        let owners: BTreeSet<&Owner> =
            self.fleet.placed.iter().map(|placed| &placed.instance.owner).collect();
        let owners: Vec<Owner> = owners.into_iter().cloned().collect();
        (!owners.is_empty()).then(|| self.draw.pick(&owners))
    }

    /// A storage pool with proxies, a cache pool, a standalone or a Sentinel group comes.
    fn add(&mut self) {
        self.born += 1;
        let name = format!("p{}", self.born);
        let shards = 1 + u32::try_from(self.draw.below(9)).expect("small");
        let replicas = u32::try_from(self.draw.below(3)).expect("small");
        let gib = 1 + self.draw.below(8);
        let owner = Owner::Pool(name.clone());
        let mut wanted = match self.draw.below(5) {
            0 => {
                let mut caches = many(&name, &owner, Role::Cache, shards, gib);
                (0..).zip(&mut caches).for_each(|(shard, cache)| cache.shard = shard);
                caches
            }
            1 => many(&name, &Owner::Sentinels(name.clone()), Role::Sentinel, 3, 1),
            2 => {
                let mut standalone = pool(&name, 0..1, replicas, 2 * gib);
                standalone.iter_mut().for_each(|i| i.owner = Owner::Standalone(name.clone()));
                standalone
            }
            _ => {
                let mut storage = pool(&name, 0..shards, replicas, gib);
                storage.extend(many(&format!("{name}-proxy"), &owner, Role::Proxy, replicas + 1, 1));
                storage
            }
        };
        let constraints = Constraints {
            site: self.draw.pick(&[None, None, None, Some("a".to_owned()), Some("b".to_owned())]),
            sites: self.draw.pick(&[Sites::One, Sites::One, Sites::Any]),
            group: self.draw.pick(&[None, None, None, Some("redis".to_owned())]),
            labels: BTreeMap::new(),
        };
        wanted.iter_mut().for_each(|instance| instance.constraints = constraints.clone());
        self.plan(wanted);
    }

    fn grow(&mut self) {
        let Some(Owner::Pool(name)) = self.some_owner() else { return };
        let mine = self.fleet.placed.iter().filter(|p| p.instance.owner.name() == name);
        let mine: Vec<&Instance> = mine.map(|placed| &placed.instance).collect();
        let Some(like) = mine.iter().find(|i| i.role == Role::Primary).copied().cloned() else { return };
        let next = 1 + mine.iter().map(|i| i.shard).max().unwrap_or(0);
        if next > 30 {
            return;
        }
        let mut wanted =
            pool(&name, next..next + 1 + u32::try_from(self.draw.below(3)).expect("small"), 1, 1);
        for instance in &mut wanted {
            instance.constraints = like.constraints.clone();
            instance.memory = like.memory;
        }
        self.plan(wanted);
    }

    fn delete(&mut self) {
        if let Some(owner) = self.some_owner() {
            self.fleet.placed.retain(|placed| placed.instance.owner != owner);
        }
    }

    fn die(&mut self) {
        let at = self.some_node();
        self.fleet.nodes[at].alive = false;
        if self.draw.one_in(2) {
            let name = self.fleet.nodes[at].name.clone();
            self.leave(&name);
        }
    }

    fn heal(&mut self) {
        let dead: Vec<usize> =
            (0..self.fleet.nodes.len()).filter(|at| !self.fleet.nodes[*at].alive).collect();
        if dead.len() > 3 || (!dead.is_empty() && self.draw.one_in(2)) {
            let at = self.draw.pick(&dead);
            self.fleet.nodes[at].alive = true;
            self.fleet.nodes[at].cordoned = false;
        }
    }

    fn drain(&mut self) {
        let at = self.some_node();
        self.fleet.nodes[at].cordoned = true;
        let name = self.fleet.nodes[at].name.clone();
        self.leave(&name);
        self.fleet.nodes[at].cordoned = self.draw.one_in(3);
    }

    fn plan(&mut self, wanted: Vec<Instance>) {
        let before = self.fleet.clone();
        self.fleet.wanted = wanted;
        let plan = plan(&self.policy, &self.fleet);
        if self.draw.one_in(10) {
            let other = shuffled(&self.fleet, &mut self.draw);
            assert_eq!(plan, super::plan(&self.policy, &other), "{}: another order, another plan", self.at);
        }
        assert_eq!(plan.decisions.len() + plan.refusals.len(), self.fleet.wanted.len(), "{}", self.at);
        apply(&mut self.fleet, &plan);
        let refused = std::mem::take(&mut self.fleet.wanted);
        for instance in &refused {
            self.is_refused_rightly(instance);
        }
        self.are_racks_shared_rightly(&plan.decisions);
        if refused.is_empty() {
            self.is_spread(&before, &plan);
        }
        self.seen.placed += plan.decisions.len();
        self.seen.refused += refused.len();
        // Half a pool is of no use: now and then it goes again, as control does it.
        if let Some(owner) = refused.first().map(|instance| instance.owner.clone())
            && self.draw.one_in(2)
        {
            self.fleet.placed.retain(|placed| placed.instance.owner != owner);
        }
    }

    /// A node is emptied; what has no other place is given up.
    fn leave(&mut self, node: &str) {
        let Moves { moves, refusals } = moves(&self.policy, &self.fleet, &[node]);
        let there: BTreeSet<String> = on(&self.fleet, node).iter().map(|i| i.name.clone()).collect();
        let named = moves.iter().map(|one| &one.to.instance).chain(refusals.iter().map(|one| &one.instance));
        assert_eq!(named.cloned().collect::<BTreeSet<_>>(), there, "{}", self.at);
        let mut lost = Vec::new();
        for placed in &mut self.fleet.placed {
            if let Some(one) = moves.iter().find(|one| one.to.instance == placed.instance.name) {
                placed.node.clone_from(&one.to.node);
            }
        }
        self.fleet.placed.retain(|placed| {
            let given_up = placed.node == node;
            if given_up {
                lost.push(placed.instance.clone());
            }
            !given_up
        });
        let site = self.fleet.nodes.iter().find(|n| n.name == node).expect("a node").site.clone();
        let cordoned = self.fleet.nodes.iter().position(|n| n.name == node).expect("a node");
        let was = std::mem::replace(&mut self.fleet.nodes[cordoned].cordoned, true);
        for mut instance in lost {
            if instance.constraints.sites == Sites::One {
                instance.constraints.site.get_or_insert(site.clone());
            }
            self.is_refused_rightly(&instance);
        }
        self.are_racks_shared_rightly(&moves.iter().map(|one| one.to.clone()).collect::<Vec<_>>());
        self.fleet.nodes[cordoned].cordoned = was;
        self.seen.moved += moves.len();
        self.seen.refused += refusals.len();
    }

    fn is_refused_rightly(&self, instance: &Instance) {
        let may = self.fleet.nodes.iter().find(|node| may_stand(&self.policy, &self.fleet, instance, node));
        assert!(may.is_none(), "{}: {} was refused, and {may:?} may hold it", self.at, instance.name);
    }

    /// What shares a rack is told, and has no room in another rack, as things are now. (Room only became less since.)
    fn are_racks_shared_rightly(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let at =
                self.fleet.placed.iter().position(|p| p.instance.name == decision.instance).expect("placed");
            let Placed { instance, node } = self.fleet.placed.swap_remove(at);
            let its = self.fleet.nodes.iter().find(|n| n.name == node).expect("a node");
            let told = decision.told.iter().filter(|told| matches!(told, Shared::Rack { .. })).count();
            if told > 0 {
                self.seen.racks_shared += 1;
                assert!(shares_rack(&self.fleet, &instance, its), "{}: {decision}", self.at);
                let free = self.fleet.nodes.iter().find(|node| {
                    may_stand(&self.policy, &self.fleet, &instance, node)
                        && !shares_rack(&self.fleet, &instance, node)
                });
                assert!(free.is_none(), "{}: {decision}; and yet {free:?} is free", self.at);
            }
            self.fleet.placed.push(Placed { instance, node });
        }
    }

    /// No node has more of the pool's primaries than in the best spread that room allowed: the least bound under which
    /// the nodes' places, each bounded by it, hold all of the new ones.
    fn is_spread(&mut self, before: &Inventory, plan: &Plan) {
        let of = |d: &Decision| {
            self.fleet.placed.iter().find(|p| p.instance.name == d.instance).map(|p| p.instance.clone())
        };
        let new: Vec<Instance> =
            plan.decisions.iter().filter_map(of).filter(|i| i.role == Role::Primary).collect();
        let Some(like) = new.first() else { return };
        let here = |fleet: &Inventory, node: &Node| {
            let there = on(fleet, &node.name);
            there.iter().filter(|i| i.owner == like.owner && i.role == Role::Primary).count()
        };
        let site_of = |name: &str| before.nodes.iter().find(|n| n.name == name).expect("a node").site.clone();
        let site = site_of(&plan.decision(&like.name).expect("placed").node);
        let anywhere = like.constraints.site.is_none() && like.constraints.sites == Sites::Any;
        let open = before.nodes.iter().filter(|node| {
            let group = like.constraints.group.as_ref().is_none_or(|group| *group == node.group);
            node.is_open() && group && (anywhere || node.site == site)
        });
        let places: Vec<(usize, usize)> =
            open.map(|node| (here(before, node), room_for(before, like, node, new.len()))).collect();
        let held = |bound: usize| -> usize {
            places.iter().map(|(had, room)| bound.saturating_sub(*had).min(*room)).sum()
        };
        let best = (1..).find(|bound| held(*bound) >= new.len()).expect("all have found a place");
        let worst = plan
            .decisions
            .iter()
            .filter(|d| new.iter().any(|i| i.name == d.instance))
            .map(|d| here(&self.fleet, before.nodes.iter().find(|n| n.name == d.node).expect("a node")));
        let worst = worst.max().unwrap_or(0);
        assert!(
            worst <= best,
            "{}: {worst} primaries of {} on one node, and {best} would do",
            self.at,
            like.owner
        );
        self.seen.spreads += 1;
    }

    /// What must hold whatever happened. Shared racks are told of elsewhere: nodes return, and then there is another rack.
    fn check(&self) {
        let broken: Vec<Violation> = audit(&self.fleet)
            .into_iter()
            .filter(|violation| !matches!(violation, Violation::SharedRack { .. }))
            .collect();
        assert!(broken.is_empty(), "{}: {}", self.at, broken[0]);
    }
}

/// How many of these a node has room for, `most` at most.
fn room_for(fleet: &Inventory, like: &Instance, node: &Node, most: usize) -> usize {
    let times = |count: usize| {
        let mut all = like.clone();
        all.memory = Memory(like.memory.0 * count as u64);
        all.cores = Cores(like.cores.0 * u32::try_from(count).expect("few"));
        has_room(fleet, &all, node)
    };
    (1..=most).take_while(|count| times(*count)).count()
}
