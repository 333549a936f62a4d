//! One instance on a small fleet that is drawn: it is refused only if the oracle finds no node either, and what a refusal
//! says holds.

use super::oracle::may_stand;
use super::*;

const FLEETS: u64 = 3000;

#[test]
fn one_instance_is_refused_only_if_no_node_may_hold_it() {
    let first = first_seed();
    let (mut refused, mut placed) = (0, 0);
    for seed in first..first + FLEETS {
        let mut draw = Draw(seed);
        let policy = Policy { racks: draw.pick(&[Racks::Apart, Racks::Prefer]) };
        let fleet = fleet(&mut draw);
        let wanted = &fleet.wanted[0];
        let plan = plan(&policy, &fleet);
        assert_eq!(
            plan,
            super::plan(&policy, &shuffled(&fleet, &mut draw)),
            "seed {seed}: another order, another plan"
        );
        let may: Vec<&Node> =
            fleet.nodes.iter().filter(|node| may_stand(&policy, &fleet, wanted, node)).collect();
        match (&plan.decisions[..], &plan.refusals[..]) {
            ([decision], []) => {
                placed += 1;
                assert!(may.iter().any(|node| node.name == decision.node), "seed {seed}: {decision}");
                let apart = may.iter().any(|node| !oracle::shares_rack(&fleet, wanted, node));
                let told = decision.told.iter().any(|shared| matches!(shared, Shared::Rack { .. }));
                assert_eq!(told, !apart, "seed {seed}: {decision}");
            }
            ([], [refusal]) => {
                refused += 1;
                assert!(may.is_empty(), "seed {seed}: {refusal}; and yet {} may hold it", may[0].name);
                holds(&policy, &fleet, refusal, seed);
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(refused > FLEETS / 10 && placed > FLEETS / 10, "{refused} refused, {placed} placed");
}

/// What a refusal says holds: each node is counted once, and what would fit does.
fn holds(policy: &Policy, fleet: &Inventory, refusal: &Refusal, seed: u64) {
    for report in &refusal.sites {
        let nodes = fleet.nodes.iter().filter(|node| node.site == report.site).count();
        let counted: usize = report.obstructed.iter().map(|obstructed| obstructed.count).sum();
        assert_eq!((nodes, nodes), (report.nodes, counted), "seed {seed}: {refusal}");
    }
    for way in &refusal.would_fit {
        let mut other = fleet.clone();
        let mut policy = policy.clone();
        let node = match way {
            WouldFit::Smaller { node, memory } => {
                other.wanted[0].memory = *memory;
                node
            }
            WouldFit::FewerCores { node, cores } => {
                other.wanted[0].cores = *cores;
                node
            }
            WouldFit::Otherwise { node, site, but } => {
                let at = other.nodes.iter().position(|other| other.name == *node).expect("a node");
                let asks = &mut other.wanted[0].constraints;
                match but {
                    Obstacle::OtherSite => asks.site = Some(site.clone()),
                    Obstacle::OtherGroup => asks.group = Some(other.nodes[at].group.clone()),
                    Obstacle::Label => asks.labels.clear(),
                    Obstacle::Dead => other.nodes[at].alive = true,
                    Obstacle::Cordoned => other.nodes[at].cordoned = false,
                    Obstacle::RackOfRelation { .. } => policy.racks = Racks::Prefer,
                    _ => panic!("seed {seed}: {but:?} is no way out"),
                }
                node
            }
        };
        let node = other.nodes.iter().find(|other| other.name == *node).expect("a node");
        assert!(may_stand(&policy, &other, &other.wanted[0], node), "seed {seed}: {refusal}");
    }
}

/// A few nodes with things on them, perhaps too many, and one wanted instance.
fn fleet(draw: &mut Draw) -> Inventory {
    let sites = draw.pick(&[1, 1, 2]);
    let nodes = (0..1 + draw.below(7)).map(|nth| {
        let mut node = node(&format!("n{nth}"), draw.pick(&["", "r1", "r1", "r2", "r3"]), 4 + draw.below(12));
        node.site = if draw.below(sites) == 0 { "a" } else { "b" }.to_owned();
        node.zone = draw.pick(&["", "z1", "z2"]).to_owned();
        node.group = draw.pick(&["redis", "redis", "redis", "jobs"]).to_owned();
        node.cores = Cores(draw.pick(&[1000, 2000, 16_000]));
        node.cost = draw.below(3);
        node.alive = !draw.one_in(6);
        node.cordoned = draw.one_in(6);
        if draw.one_in(2) {
            node.labels.insert("disk".to_owned(), "fast".to_owned());
        }
        node
    });
    let mut fleet = inventory(nodes.collect(), Vec::new());
    let asked = draw.pick(&[None, None, Some("a"), Some("b"), Some("c")]).map(str::to_owned);
    let anywhere = sites > 1 || draw.one_in(4);
    let candidates = [
        instance("w", Owner::Pool("p".to_owned()), Role::Replica, 0, 1),
        instance("w", Owner::Pool("p".to_owned()), Role::Proxy, 0, 1),
        instance("w", Owner::Sentinels("g".to_owned()), Role::Sentinel, 0, 1),
    ];
    let mut wanted = draw.pick(&candidates);
    wanted.memory = Memory::gib(1 + draw.below(9));
    wanted.cores = Cores(draw.pick(&[0, 500, 1500]));
    wanted.constraints.site = asked;
    wanted.constraints.sites = if anywhere { Sites::Any } else { Sites::One };
    wanted.constraints.group = draw.pick(&[None, None, Some("redis".to_owned())]);
    if draw.one_in(4) {
        wanted.constraints.labels.insert("disk".to_owned(), "fast".to_owned());
    }
    for nth in 0..draw.below(10) {
        let mut there = instance(&format!("i{nth}"), wanted.owner.clone(), wanted.role, 0, draw.below(6));
        there.shard = u32::try_from(draw.below(3)).expect("small");
        there.role = if wanted.role == Role::Replica {
            draw.pick(&[Role::Primary, Role::Replica])
        } else {
            wanted.role
        };
        there.tenant = draw.pick(&["t", "t", "u"]).to_owned();
        let node =
            fleet.nodes[usize::try_from(draw.below(fleet.nodes.len() as u64)).expect("small")].name.clone();
        fleet.placed.push(Placed { instance: there, node });
    }
    fleet.wanted.push(wanted);
    fleet
}
