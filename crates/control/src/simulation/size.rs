//! At the size of a company: 800 pools of 20 instances on 700 nodes. What it costs is measured by `benches/world.rs`; here, that
//! it comes to rest.

use super::*;

#[test]
fn a_hundred_pools_come_to_be_together() {
    let mut simulation = Simulation::new(7, 5);
    for number in 7..=90 {
        let mut spec = simulation.store.find::<NodeSpec>("n1").unwrap().unwrap().spec;
        spec.address = format!("127.0.2.{number}");
        spec.rack = Some(format!("r{}", number % 12));
        spec.memory = Bytes::mib(16 * 1024);
        simulation.create(Node::new(format!("n{number}"), spec).into());
    }
    for number in 0..100 {
        simulation.create(pool(&format!("p{number}"), Mode::Storage, 4));
    }
    simulation.settle();
    let placed: Vec<Instance> = simulation.store.find_all().unwrap();
    for shard in
        placed.chunk_by(|one, other| one.spec.owner == other.spec.owner && one.spec.shard == other.spec.shard)
    {
        let nodes: std::collections::BTreeSet<_> = shard.iter().map(|instance| &instance.spec.node).collect();
        assert_eq!(nodes.len(), shard.len(), "{:?}", shard[0].metadata.name);
    }
}
