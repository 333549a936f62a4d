//! What planning costs: `cargo bench -p shoal-scheduler`. CPU time on one core, each case from an inventory to its plan.
//!
//! Fleets are drawn by a fixed seed: shards of 1 to 12 GiB, nodes of two sizes, 20 nodes a rack.

#![expect(clippy::print_stdout, reason = "the program itself")]
#![expect(clippy::disallowed_methods, reason = "the program itself: it reads its arguments and its memory")]

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use shoal_scheduler::{
    Constraints, Cores, Instance, Inventory, Memory, Node, Owner, Placed, Plan, Policy, Role, Violation,
    audit, moves, plan,
};

/// Runs of each case; the quickest is told.
const RUNS: usize = 5;

fn main() {
    // `cargo test --benches` only wants to see that it builds and runs.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let fleet = pools(700, 800, 9);
    let full = all("16,000 instances of 800 pools on 700 nodes", &fleet);
    on_a_full_fleet(&full);

    all("100,000 instances of 5,000 pools on 10,000 nodes", &pools(10_000, 5000, 9));
    all("16,000 instances of one pool on 700 nodes", &pools(700, 1, 7999));
    all("16,000 instances of 8,000 standalones on 1,000 nodes", &standalones(1000, 8000));
    let mut small = fleet;
    small.nodes.iter_mut().for_each(|node| node.memory = Memory::mib(512));
    all("16,000 instances, all refused but the proxies, on 700 nodes", &small);
    println!("peak memory of all of this: {}", peak());
}

/// Plans the whole, and gives the inventory with all of it placed.
fn all(what: &str, fleet: &Inventory) -> Inventory {
    let (spent, planned) = quickest(|| plan(&Policy::default(), fleet));
    let each = spent / u32::try_from(fleet.wanted.len()).unwrap_or(u32::MAX);
    println!("{what}: {spent:?} ({each:?} each), {} refused", planned.refusals.len());
    let full = apply(fleet, &planned);
    let asked: u64 = full.placed.iter().map(|placed| placed.instance.memory.0).sum();
    let has: u64 = full.nodes.iter().map(|node| node.memory.0).sum();
    let mut used: Vec<&str> = full.placed.iter().map(|placed| placed.node.as_str()).collect();
    used.sort_unstable();
    used.dedup();
    println!("  {} nodes used, {} % of all memory asked for", used.len(), asked * 100 / has);
    let wrong =
        audit(&full).into_iter().filter(|violation| !matches!(violation, Violation::SharedRack { .. }));
    assert_eq!(wrong.count(), 0, "{what}");
    full
}

/// What control asks for each day: one pool more, a node that died, a look at everything.
fn on_a_full_fleet(full: &Inventory) {
    let mut one_more = full.clone();
    one_more.wanted = pool("one-more", 10, &mut Draw(7));
    let (spent, planned) = quickest(|| plan(&Policy::default(), &one_more));
    println!("  one pool of {} more: {spent:?}, {} refused", one_more.wanted.len(), planned.refusals.len());
    let name = full.placed[0].node.as_str();
    let (spent, planned) = quickest(|| moves(&Policy::default(), full, &[name]));
    println!("  one node dies: {spent:?}, {} moves, {} refused", planned.moves.len(), planned.refusals.len());
    let (spent, violations) = quickest(|| audit(full));
    println!("  audit: {spent:?}, {} violations", violations.len());
}

fn apply(fleet: &Inventory, planned: &Plan) -> Inventory {
    let mut wanted: BTreeMap<&str, &Instance> = fleet.wanted.iter().map(|i| (i.name.as_str(), i)).collect();
    let mut full = Inventory { nodes: fleet.nodes.clone(), ..Inventory::default() };
    for decision in &planned.decisions {
        if let Some(instance) = wanted.remove(decision.instance.as_str()) {
            full.placed.push(Placed { instance: instance.clone(), node: decision.node.clone() });
        }
    }
    full
}

/// CPU time of the quickest run of several, and what it gave.
fn quickest<T>(run: impl Fn() -> T) -> (Duration, T) {
    let timed = || {
        let before = cpu();
        let result = run();
        (cpu().saturating_sub(before), result)
    };
    (1..RUNS).fold(timed(), |best, _| {
        let next = timed();
        if next.0 < best.0 { next } else { best }
    })
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// The most memory that the process ever had, as the kernel says it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown", str::trim).to_owned()
}

fn nodes(count: usize) -> Vec<Node> {
    let node = |nth: usize| Node {
        name: format!("node-{nth:05}"),
        site: "a".to_owned(),
        zone: String::new(),
        rack: format!("rack-{:03}", nth / 20),
        group: "redis".to_owned(),
        memory: Memory::gib(if nth.is_multiple_of(4) { 256 } else { 128 }),
        cores: Cores(if nth.is_multiple_of(4) { 64_000 } else { 32_000 }),
        cost: 1,
        labels: BTreeMap::new(),
        cordoned: false,
        alive: true,
    };
    (0..count).map(node).collect()
}

fn pools(nodes_count: usize, count: usize, shards: u32) -> Inventory {
    let mut draw = Draw(1);
    let wanted = (0..count).flat_map(|nth| pool(&format!("pool-{nth:04}"), shards, &mut draw)).collect();
    Inventory { nodes: nodes(nodes_count), placed: Vec::new(), wanted }
}

/// Shards with a replica each, and two proxies.
fn pool(name: &str, shards: u32, draw: &mut Draw) -> Vec<Instance> {
    let owner = Owner::Pool(name.to_owned());
    let gib = if shards > 1000 { 5 } else { 1 + draw.below(8) + draw.below(2) * draw.below(5) };
    let mut wanted = pairs(name, &owner, shards, gib);
    for nth in 0..2 {
        wanted.push(instance(format!("{name}-proxy-{nth}"), &owner, Role::Proxy, 0, Memory::mib(256)));
    }
    wanted
}

fn standalones(nodes_count: usize, count: u32) -> Inventory {
    let mut draw = Draw(1);
    let pair = |nth| {
        let name = format!("solo-{nth:04}");
        pairs(&name, &Owner::Standalone(name.clone()), 1, 1 + draw.below(12))
    };
    Inventory { nodes: nodes(nodes_count), placed: Vec::new(), wanted: (0..count).flat_map(pair).collect() }
}

fn pairs(name: &str, owner: &Owner, shards: u32, gib: u64) -> Vec<Instance> {
    let memory = Memory::gib(gib);
    let pair = |shard| {
        [(Role::Primary, 'a'), (Role::Replica, 'b')]
            .map(|(role, letter)| instance(format!("{name}-{shard}-{letter}"), owner, role, shard, memory))
    };
    (0..shards).flat_map(pair).collect()
}

fn instance(name: String, owner: &Owner, role: Role, shard: u32, memory: Memory) -> Instance {
    let tenant = "tenant".to_owned();
    let (owner, constraints) = (owner.clone(), Constraints::default());
    Instance { name, tenant, owner, role, shard, memory, cores: Cores(500), constraints }
}

/// Numbers by a seed (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
