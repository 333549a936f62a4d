//! Planner, executor and store against the model runtime, by seeds: control dies at any step, calls are not answered, some take
//! effect late, processes and nodes die and come back, what is declared changes. What must hold is looked at after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_topology::Mode;

use crate::execute;
use crate::plan::{Plan, plan};
use crate::quantity::{Bytes, Cores, Timestamp};
use crate::resource::{
    Condition, Instance, Kind, Node, NodeSpec, Persistence, Pool, PoolSpec, READY, Resource, Standalone,
    StandaloneSpec,
};
use crate::runtime::Runtime;
use crate::runtime::model::{Model, Process};
use crate::store::{Memory, Store, Typed};
use crate::world::World;

mod cases;
mod size;

/// Passes in which things go wrong, and passes in which all must come right afterwards.
const STORMY: usize = 60;
const CALM: usize = 80;

/// A service and a shard of it.
type ShardName = (String, Option<u16>);

struct Simulation {
    store: Memory,
    model: Model,
    chance: u64,
    /// By shard: who took writes when it was last looked at.
    writers: BTreeMap<ShardName, String>,
}

impl Simulation {
    fn new(seed: u64, unknown: u64) -> Self {
        let simulation = Simulation {
            store: Memory::new(),
            model: Model::new(seed, unknown),
            chance: seed ^ 0x5eed,
            writers: BTreeMap::new(),
        };
        for (at, rack) in ["a", "a", "b", "b", "c", "c"].into_iter().enumerate() {
            let spec = NodeSpec {
                address: format!("127.0.1.{}", at + 1),
                site: "local".to_owned(),
                zone: None,
                rack: Some(rack.to_owned()),
                node_group: None,
                memory: Bytes::mib(4096),
                cores: Cores::whole(16),
                cost: 0,
                unschedulable: false,
            };
            simulation.create(Node::new(format!("n{}", at + 1), spec).into());
        }
        simulation
    }

    fn create(&self, object: Resource) {
        self.store.create(object).unwrap();
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % below
    }

    fn look(&self) -> Plan {
        let now = Timestamp::from(self.model.now());
        self.store.set_now(now);
        let world = World::look(&self.store, self.model.observe().unwrap(), now).unwrap();
        plan(&world)
    }

    /// One pass, of which the first `steps` steps are done: after them control is dead.
    fn pass(&mut self, steps: usize) -> usize {
        let mut plan = self.look();
        plan.steps.truncate(steps);
        let all = plan.steps.len();
        for step in plan.steps {
            let one = Plan { steps: vec![step] };
            execute::execute(&one, &self.store, &self.model, |_| ());
            self.check(&one);
        }
        self.model.pass(Duration::from_millis(200 + self.chance % 700));
        self.check(&Plan::default());
        all
    }

    /// The invariants of `plan`, at this instant.
    fn check(&mut self, last: &Plan) {
        let mut shards: BTreeMap<ShardName, Vec<(String, Process)>> = BTreeMap::new();
        for (name, process) in self.model.processes() {
            let shard = name.split("-s").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
            let is_redis = matches!(process.start.program, crate::runtime::Program::Redis(_));
            if is_redis {
                shards.entry((process.start.owner.clone(), shard)).or_default().push((name, process));
            }
        }
        for (shard, members) in &shards {
            let writers: Vec<&(String, Process)> =
                members.iter().filter(|(_, process)| process.takes_writes()).collect();
            assert!(writers.len() <= 1, "two primaries of {shard:?} after {last}: {writers:?}");
            let Some((name, writer)) = writers.first() else { continue };
            if self.writers.get(shard) != Some(&writer.life.0) {
                for (other, process) in members {
                    let could_tell = matches!(process.phase, crate::runtime::Phase::Running);
                    assert!(
                        !could_tell || process.offset <= writer.offset,
                        "{name} was opened with {} after {last}, and {other} has {}",
                        writer.offset,
                        process.offset
                    );
                }
            }
            self.writers.insert(shard.clone(), writer.life.0.clone());
        }
    }

    /// Nobody interferes any more: all must come right.
    fn settle(&mut self) {
        self.model.calm();
        for _ in 0..CALM {
            let is_still = self.pass(usize::MAX) == 0 && self.look().steps.is_empty();
            if is_still && self.conditions().iter().all(|(_, ready)| ready.status) {
                return self.check_settled();
            }
        }
        let mut told = String::new();
        for instance in self.store.find_all::<crate::resource::InstanceSpec>().unwrap() {
            let why = Condition::find(&instance.status.conditions, READY).map(|ready| ready.message.clone());
            told += &format!("{} on {:?}: {why:?}\n", instance.name(), instance.spec.node);
        }
        for pool in self.store.find_all::<PoolSpec>().unwrap() {
            told += &format!("{:?}\n", pool.status.shards);
        }
        panic!("it does not come to rest:\n{}{told}", self.look());
    }

    fn conditions(&self) -> Vec<(String, Condition)> {
        let pools = self
            .store
            .find_all::<PoolSpec>()
            .unwrap()
            .into_iter()
            .map(|pool| (pool.metadata.name, pool.status));
        let standalones = self.store.find_all::<StandaloneSpec>().unwrap().into_iter();
        let standalones = standalones.map(|standalone| (standalone.metadata.name, standalone.status));
        pools
            .chain(standalones)
            .filter_map(|(name, status)| Some((name, Condition::find(&status.conditions, READY)?.clone())))
            .collect()
    }

    fn check_settled(&self) {
        for (name, ready) in self.conditions() {
            assert!(ready.status, "{name}: {}", ready.message);
        }
        let instances: Vec<Instance> = self.store.find_all().unwrap();
        let processes = self.model.processes();
        let running: Vec<&String> = processes.keys().collect();
        let wanted: Vec<&String> = instances.iter().map(|instance| &instance.metadata.name).collect();
        assert_eq!(running, wanted, "processes and objects are the same");
        for instance in &instances {
            assert_eq!(processes[&instance.metadata.name].start.uid, instance.metadata.uid.0);
        }
        let mut expected = 0;
        for pool in self.store.find_all::<PoolSpec>().unwrap() {
            let spec = &pool.spec;
            expected += spec.shards * (1 + spec.replicas()) + spec.proxies.count;
            for (at, shard) in pool.status.shards.iter().enumerate() {
                let primary = &processes[&shard.primary.as_ref().unwrap().name];
                assert!(primary.takes_writes(), "shard {at} of {}", pool.metadata.name);
            }
            let epoch = pool.status.shards.iter().map(|shard| shard.epoch).sum::<u64>();
            assert_eq!(pool.status.epoch, epoch);
            for (name, process) in &processes {
                if process.start.owner == pool.metadata.name && name.contains("-proxy-") {
                    assert_eq!(process.epoch, epoch, "{name} serves the layout");
                }
            }
        }
        for standalone in self.store.find_all::<StandaloneSpec>().unwrap() {
            expected += 1 + standalone.spec.replicas();
        }
        assert_eq!(instances.len(), usize::from(expected));
    }

    /// Something goes wrong, or is asked otherwise.
    fn disturb(&mut self) {
        match self.draw(12) {
            0..4 => {
                let names: Vec<String> = self.model.processes().into_keys().collect();
                if let Some(name) = names.get(self.draw(names.len().max(1) as u64) as usize) {
                    self.model.kill(name);
                }
            }
            4 => {
                let node = format!("n{}", 1 + self.draw(6));
                self.model.set_down(&node, true);
            }
            5..7 => {
                let node = format!("n{}", 1 + self.draw(6));
                self.model.set_down(&node, false);
            }
            7 => self.change_pool(),
            8 => self.delete_or_create("hot"),
            _ => {}
        }
    }

    fn change_pool(&mut self) {
        let (memory, replicas, proxies) =
            (64 + 64 * self.draw(3), self.draw(3) as u16, 1 + self.draw(3) as u16);
        let Some(mut pool) = self.store.find::<PoolSpec>("demo").unwrap() else { return };
        pool.spec.memory = Bytes::mib(memory);
        pool.spec.replicas = Some(replicas);
        pool.spec.proxies.count = proxies;
        self.store.update(Resource::Pool(pool)).unwrap();
    }

    fn delete_or_create(&mut self, name: &str) {
        match self.store.get(Kind::Pool, name).unwrap() {
            Some(pool) => {
                let revision = pool.metadata().revision.clone().unwrap();
                self.store.delete(Kind::Pool, name, &revision).unwrap();
            }
            None => self.create(pool(name, Mode::Cache, 3)),
        }
    }
}

fn pool(name: &str, mode: Mode, shards: u16) -> Resource {
    Pool::new(name, PoolSpec::of(mode, shards, Bytes::mib(64))).into()
}

fn standalone(name: &str, persistence: Persistence) -> Resource {
    let mut spec = StandaloneSpec::of(Bytes::mib(128));
    spec.persistence = Some(persistence);
    Standalone::new(name, spec).into()
}

fn run(seed: u64) {
    let mut simulation = Simulation::new(seed, 40);
    simulation.create(pool("demo", Mode::Storage, 4));
    simulation.create(pool("hot", Mode::Cache, 3));
    let persistence = [Persistence::None, Persistence::Rdb, Persistence::Aof][seed as usize % 3];
    simulation.create(standalone("solo", persistence));
    for _ in 0..STORMY {
        let steps = match simulation.draw(3) {
            0 => usize::MAX,
            _ => simulation.draw(30) as usize,
        };
        simulation.pass(steps);
        simulation.disturb();
    }
    (1..=6).for_each(|node| simulation.model.set_down(&format!("n{node}"), false));
    simulation.settle();
    for kind in [Kind::Pool, Kind::Standalone] {
        for object in simulation.store.list(kind).unwrap().objects {
            let revision = object.metadata().revision.clone().unwrap();
            simulation.store.delete(kind, object.name(), &revision).unwrap();
        }
    }
    simulation.settle();
    assert!(simulation.model.processes().is_empty(), "nothing is left behind");
}

#[test]
fn whatever_dies_it_comes_right_and_never_two_primaries() {
    for seed in 1..=200 {
        println!("seed {seed}");
        run(seed);
    }
}
