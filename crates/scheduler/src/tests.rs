//! Small fleets to place on, and the tests by subject.

mod audits;
mod oracle;
mod refusals;
mod rules;
mod simulation;
mod single;

use std::collections::BTreeMap;

use crate::*;

/// An open node of site `a` in zone `z`, with 16 cores.
fn node(name: &str, rack: &str, gib: u64) -> Node {
    Node {
        name: name.to_owned(),
        site: "a".to_owned(),
        zone: "z".to_owned(),
        rack: rack.to_owned(),
        group: "redis".to_owned(),
        memory: Memory::gib(gib),
        cores: Cores(16_000),
        cost: 1,
        labels: BTreeMap::new(),
        cordoned: false,
        alive: true,
    }
}

fn instance(name: &str, owner: Owner, role: Role, shard: u32, gib: u64) -> Instance {
    Instance {
        name: name.to_owned(),
        tenant: "t".to_owned(),
        owner,
        role,
        shard,
        memory: Memory::gib(gib),
        cores: Cores(500),
        constraints: Constraints::default(),
    }
}

/// `demo-0-a` is the primary of shard 0 of pool `demo`; `demo-0-b`, … are its replicas.
fn pool(name: &str, shards: std::ops::Range<u32>, replicas: u32, gib: u64) -> Vec<Instance> {
    let of = |shard| {
        (0..=replicas).map(move |copy| {
            let role = if copy == 0 { Role::Primary } else { Role::Replica };
            let letter = char::from(b'a' + u8::try_from(copy).expect("few replicas"));
            instance(&format!("{name}-{shard}-{letter}"), Owner::Pool(name.to_owned()), role, shard, gib)
        })
    };
    shards.flat_map(of).collect()
}

fn many(name: &str, owner: &Owner, role: Role, count: u32, gib: u64) -> Vec<Instance> {
    (0..count).map(|nth| instance(&format!("{name}-{nth}"), owner.clone(), role, 0, gib)).collect()
}

fn inventory(nodes: Vec<Node>, wanted: Vec<Instance>) -> Inventory {
    Inventory { nodes, placed: Vec::new(), wanted }
}

/// What was decided is placed now, and wanted no more.
fn apply(inventory: &mut Inventory, plan: &Plan) {
    for decision in &plan.decisions {
        let at = inventory.wanted.iter().position(|wanted| wanted.name == decision.instance);
        let instance = inventory.wanted.swap_remove(at.expect("wanted"));
        inventory.placed.push(Placed { instance, node: decision.node.clone() });
    }
}

/// Plans for all that is wanted, which must have a place, and applies it.
fn settle(inventory: &mut Inventory) -> Plan {
    let plan = plan(&Policy::default(), inventory);
    assert!(plan.refusals.is_empty(), "{}", plan.refusals[0]);
    apply(inventory, &plan);
    plan
}

fn on<'i>(inventory: &'i Inventory, node: &str) -> Vec<&'i Instance> {
    let there = inventory.placed.iter().filter(|placed| placed.node == node);
    there.map(|placed| &placed.instance).collect()
}

/// How many of a role each node has, in the order of the nodes.
fn counts(inventory: &Inventory, role: Role) -> Vec<usize> {
    let count = |node: &Node| on(inventory, &node.name).iter().filter(|i| i.role == role).count();
    inventory.nodes.iter().map(count).collect()
}

/// Numbers by a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")].clone()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, usize::try_from(self.below(at as u64 + 1)).expect("an index"));
        }
    }
}

/// The first of the seeds: `SHOAL_SIM_SEED`, by which a person replays, or 1.
#[expect(clippy::disallowed_methods, reason = "a person replays a seed by the environment")]
fn first_seed() -> u64 {
    std::env::var("SHOAL_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn shuffled(inventory: &Inventory, draw: &mut Draw) -> Inventory {
    let mut other = inventory.clone();
    draw.shuffle(&mut other.nodes);
    draw.shuffle(&mut other.placed);
    draw.shuffle(&mut other.wanted);
    other
}
