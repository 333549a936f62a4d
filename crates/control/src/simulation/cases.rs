//! Single cases.

use super::*;

#[test]
fn a_declared_world_comes_to_be() {
    let mut simulation = Simulation::new(1, 0);
    simulation.create(pool("demo", Mode::Storage, 4));
    simulation.create(pool("hot", Mode::Cache, 3));
    simulation.create(standalone("solo", Persistence::Rdb));
    simulation.settle();
}
