//! Each rule by itself: a world as somebody might find it, and the steps that follow.

use std::time::{Duration, SystemTime};

use shoal_topology::{Endpoint, Mode};

use super::*;
use crate::quantity::{Bytes, Cores, Timestamp};
use crate::resource::{
    Condition, InstanceSpec, Kind, Node, NodeSpec, Persistence, Pool, PoolSpec, Primary, Program, READY,
    ShardStatus,
};
use crate::runtime::{
    Data, Exit, Gate, Life, Link, NodeDown, NodeRef, Observation, Observed, Phase, ProxySays, RedisSays,
    Role, Says, Silence,
};
use crate::store::{Memory, Store as _, Typed as _};

/// A pool of one shard, whose first copy is named its primary.
struct Case {
    store: Memory,
    seen: Observation,
}

impl Case {
    fn new(copies: u16) -> Self {
        Case::with(copies, |_| ())
    }

    fn with(copies: u16, change: impl Fn(&mut PoolSpec)) -> Self {
        let case = Case { store: Memory::new(), seen: Observation::default() };
        for number in 1..=3 {
            let spec = NodeSpec {
                address: format!("127.0.1.{number}"),
                site: "local".to_owned(),
                zone: None,
                rack: None,
                node_group: None,
                memory: Bytes::mib(1024),
                cores: Cores::whole(4),
                cost: 0,
                unschedulable: false,
            };
            case.store.create(Node::new(format!("n{number}"), spec).into()).unwrap();
        }
        let mut spec = PoolSpec::of(Mode::Storage, 1, Bytes::mib(64));
        spec.replicas = Some(copies - 1);
        spec.proxies.count = 0;
        change(&mut spec);
        let mut pool = Pool::new("demo", spec);
        pool.metadata.finalizers.push(deletion::FINALIZER.to_owned());
        let proxies = pool.spec.proxies.count;
        let service = crate::service::Service::Pool(pool.clone());
        case.store.create(pool.into()).unwrap();
        for ordinal in 0..copies {
            case.place(service.redis_instance(0, ordinal), 1 + ordinal);
        }
        for ordinal in 0..proxies {
            case.place(service.proxy_instance(ordinal).unwrap(), 3);
        }
        case.name("demo-s0-r0", 1);
        case
    }

    fn place(&self, mut spec: InstanceSpec, node: u16) {
        spec.node = Some(format!("n{node}"));
        let mut instance = Instance::new(spec.name(), spec);
        instance.metadata.finalizers.push(deletion::FINALIZER.to_owned());
        self.store.create(instance.into()).unwrap();
    }

    fn instance(&self, name: &str) -> Instance {
        self.store.find(name).unwrap().unwrap()
    }

    fn pool(&self) -> Pool {
        self.store.find("demo").unwrap().unwrap()
    }

    fn change(&self, change: impl Fn(&mut Pool)) {
        let mut pool = self.pool();
        change(&mut pool);
        self.store.update(pool.into()).unwrap();
    }

    fn name(&self, name: &str, epoch: u64) {
        let primary = Primary { name: name.to_owned(), uid: self.instance(name).metadata.uid };
        let shard = ShardStatus { name: "s0".to_owned(), primary: Some(primary), epoch };
        self.change(|pool| pool.status.shards = vec![shard.clone()]);
    }

    fn see(&mut self, name: &str, phase: Phase, says: Says) {
        let instance = self.instance(name);
        self.seen.instances.retain(|seen| seen.name != name);
        self.seen.instances.push(Observed {
            name: name.to_owned(),
            uid: instance.metadata.uid.0.clone(),
            generation: 1,
            owner: "demo".to_owned(),
            node: NodeRef { name: instance.spec.node.unwrap(), address: [127, 0, 1, 1].into() },
            address: Some(address(name)),
            started_at: None,
            phase,
            says,
        });
    }

    fn redis(&mut self, name: &str, role: Role, gate: Gate, offset: u64) {
        let says = RedisSays {
            life: Life(format!("life of {name}")),
            version: "7.0.15".to_owned(),
            gate,
            role,
            loading: false,
            replication_id: String::new(),
            offset,
            keys: offset,
            used_memory: 0,
            maxmemory: 64 << 20,
        };
        self.see(name, Phase::Running, Says::Redis(says));
    }

    fn ended(&mut self, name: &str, asked: bool) {
        let at = SystemTime::UNIX_EPOCH;
        let exit =
            Exit { at, asked, reason: "it was killed".to_owned(), unasked_in_a_row: u32::from(!asked) };
        self.see(name, Phase::Ended(exit), Says::Silent(Silence::NotRunning));
    }

    fn plan(&self) -> Plan {
        let now = Timestamp::default().plus(Duration::from_secs(3_600));
        plan(&World::look(&self.store, self.seen.clone(), now).unwrap())
    }

    /// What is told, asked and named, without what is only written down.
    fn steps(&self) -> Vec<String> {
        let steps = self.plan().steps.into_iter();
        steps.filter(|planned| !planned.why.starts_with("note of")).map(|planned| planned.why).collect()
    }
}

fn address(name: &str) -> std::net::SocketAddr {
    let port = 7_000 + u16::from(name.ends_with('1'));
    ([127, 0, 1, 1], port).into()
}

fn primary() -> Role {
    Role::Primary { replicas: Vec::new() }
}

fn replica_of(name: &str, link: Link) -> Role {
    let address = address(name);
    Role::Replica { of: Endpoint::Tcp { host: address.ip().to_string(), port: address.port() }, link }
}

const FIRST: &str = "demo-s0-r0";
const SECOND: &str = "demo-s0-r1";

#[test]
fn where_all_is_well_nothing_is_done_and_it_is_said() {
    let mut case = Case::new(2);
    case.redis(FIRST, primary(), Gate::Open, 10);
    case.redis(SECOND, replica_of(FIRST, Link::Up), Gate::Open, 10);
    assert_eq!(case.steps(), [""; 0]);
    for planned in case.plan().steps {
        execute(&case, planned);
    }
    assert_eq!(case.plan(), Plan::default(), "what is known is written once");
    let ready = case.pool().status.conditions;
    assert!(Condition::find(&ready, READY).unwrap().status, "{ready:?}");
}

fn execute(case: &Case, planned: Planned) {
    let Step::Write(object) = planned.step else { panic!("{}", planned.why) };
    case.store.update(*object).unwrap();
}

#[test]
fn who_takes_writes_and_is_not_named_is_closed_before_anybody_is_opened() {
    let mut case = Case::new(2);
    case.redis(FIRST, primary(), Gate::Closed, 10);
    case.redis(SECOND, primary(), Gate::Open, 10);
    let steps = case.plan().steps;
    let tells: Vec<(&str, &Change)> = steps
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::Tell { target, change } => Some((target.name.as_str(), change)),
            _ => None,
        })
        .collect();
    assert_eq!(tells, [(SECOND, &Change::Close)]);
    case.redis(SECOND, primary(), Gate::Closed, 10);
    assert_eq!(case.steps(), ["open demo-s0-r0: it is the primary of s0"]);
    case.redis(FIRST, primary(), Gate::Open, 10);
    assert_eq!(case.steps(), ["have demo-s0-r1 copy from demo-s0-r0, the primary"]);
}

#[test]
fn a_primary_that_came_back_with_less_is_ended_and_the_replica_named() {
    let mut case = Case::new(2);
    case.redis(FIRST, primary(), Gate::Closed, 5);
    case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Open, 10);
    let steps = case.plan().steps;
    let stopped = steps.iter().find_map(|planned| match &planned.step {
        Step::Stop { name, stop, .. } => Some((name.as_str(), *stop)),
        _ => None,
    });
    assert_eq!(stopped, Some((FIRST, Stop { grace: Duration::ZERO, data: Data::Keep })));
    assert!(!steps.iter().any(|planned| matches!(planned.step, Step::Tell { .. })), "nobody is opened");

    case.ended(FIRST, true);
    let named: Vec<ShardStatus> = named(&case.plan());
    assert_eq!(named.len(), 1);
    assert_eq!((named[0].primary.as_ref().unwrap().name.as_str(), named[0].epoch), (SECOND, 2));
    case.name(SECOND, 2);
    let steps = case.steps();
    assert_eq!(steps[0], "make demo-s0-r1 the primary of s0", "{steps:?}");
}

/// The shards of a pool where a plan names a primary.
fn named(plan: &Plan) -> Vec<ShardStatus> {
    let naming = plan.steps.iter().filter(|planned| planned.why.starts_with("name "));
    let shards = naming.filter_map(|planned| match &planned.step {
        Step::Write(object) => match &**object {
            Resource::Pool(pool) => Some(pool.status.shards.clone()),
            _ => None,
        },
        _ => None,
    });
    shards.flatten().collect()
}

#[test]
fn what_a_primary_had_since_its_last_snapshot_is_at_the_replica() {
    for (persistence, replaced) in
        [(Persistence::None, true), (Persistence::Rdb, true), (Persistence::Aof, false)]
    {
        let mut case = Case::with(2, |spec| spec.persistence = Some(persistence));
        case.ended(FIRST, false);
        case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Open, 10);
        assert_eq!(!named(&case.plan()).is_empty(), replaced, "{persistence:?}");
        let again = case.steps().iter().any(|step| step.starts_with("start demo-s0-r0 again"));
        assert!(again, "{persistence:?}: it is started again, as what it then is: {:?}", case.steps());
    }
}

#[test]
fn of_two_replicas_the_one_that_has_more_is_named() {
    let mut case = Case::new(3);
    case.ended(FIRST, false);
    case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Open, 10);
    case.redis("demo-s0-r2", replica_of(FIRST, Link::Down), Gate::Open, 11);
    assert_eq!(named(&case.plan())[0].primary.as_ref().unwrap().name, "demo-s0-r2");
}

#[test]
fn a_replica_of_an_empty_primary_is_named_if_it_ever_followed() {
    let mut case = Case::new(2);
    case.ended(FIRST, false);
    case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Closed, 0);
    assert!(named(&case.plan()).is_empty(), "nobody knows what it lacks");
    case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Open, 0);
    assert_eq!(named(&case.plan())[0].primary.as_ref().unwrap().name, SECOND);
}

#[test]
fn who_does_not_answer_may_serve_and_is_not_replaced() {
    let mut case = Case::new(2);
    case.redis(SECOND, replica_of(FIRST, Link::Down), Gate::Open, 10);
    let since = SystemTime::UNIX_EPOCH;
    for phase in [Phase::Unreachable { since }, Phase::Running, Phase::Starting, Phase::Stopping] {
        case.see(FIRST, phase.clone(), Says::Silent(Silence::TimedOut));
        assert!(named(&case.plan()).is_empty(), "{phase:?}");
        assert_eq!(case.steps(), [""; 0], "{phase:?}");
    }
}

#[test]
fn replicas_that_may_have_more_are_waited_for() {
    let mut case = Case::new(2);
    let opened = |case: &Case| case.steps().iter().any(|step| step.starts_with("open demo-s0-r0"));
    case.redis(FIRST, primary(), Gate::Closed, 10);
    assert!(!opened(&case), "the other was not started yet");
    case.see(SECOND, Phase::Starting, Says::Silent(Silence::Refused));
    assert!(!opened(&case), "the other is on its way");
    case.redis(SECOND, primary(), Gate::Closed, 10);
    assert!(opened(&case), "the other has no more");
    case.see(SECOND, Phase::Unreachable { since: SystemTime::UNIX_EPOCH }, Says::Silent(Silence::TimedOut));
    case.seen.nodes_down.push(NodeDown { node: "n2".to_owned(), why: "no power".to_owned() });
    assert!(opened(&case), "nobody knows when the other comes");
}

#[test]
fn before_there_is_a_primary_the_lowest_ordinal_is_waited_for() {
    let mut case = Case::new(2);
    case.change(|pool| pool.status.shards.clear());
    case.redis(SECOND, primary(), Gate::Closed, 0);
    assert!(named(&case.plan()).is_empty());
    case.redis(FIRST, primary(), Gate::Closed, 0);
    assert_eq!(named(&case.plan())[0].primary.as_ref().unwrap().name, FIRST);
    assert!(
        case.steps().iter().all(|step| !step.starts_with("open")),
        "who is named is opened by another pass"
    );
}

#[test]
fn a_replica_lets_readers_in_when_it_has_the_data() {
    let mut case = Case::new(2);
    case.redis(FIRST, primary(), Gate::Open, 10);
    for link in [Link::Down, Link::Syncing] {
        case.redis(SECOND, replica_of(FIRST, link), Gate::Closed, 0);
        assert_eq!(case.steps(), [""; 0], "{link:?}");
    }
    case.redis(SECOND, replica_of(FIRST, Link::Up), Gate::Closed, 10);
    assert_eq!(case.steps(), ["open demo-s0-r1 for readers: it has what demo-s0-r0 has"]);
}

#[test]
fn fewer_copies_keep_the_primary_whatever_its_ordinal() {
    let mut case = Case::new(2);
    case.name(SECOND, 2);
    case.change(|pool| pool.spec.replicas = Some(0));
    case.redis(FIRST, replica_of(SECOND, Link::Up), Gate::Open, 10);
    case.redis(SECOND, primary(), Gate::Open, 10);
    assert_eq!(case.steps(), ["mark demo-s0-r0 to go: Pool demo needs it no more"]);
    // While nobody serves, the copy that is too much may be the one with the data.
    case.ended(SECOND, false);
    assert!(case.steps().iter().all(|step| !step.starts_with("mark")), "{:?}", case.steps());
}

#[test]
fn what_goes_is_ended_first_and_forgotten_after() {
    let mut case = Case::new(1);
    case.redis(FIRST, primary(), Gate::Open, 10);
    let delete = |case: &Case| {
        let revision = case.pool().metadata.revision.unwrap();
        case.store.delete(Kind::Pool, "demo", &revision).unwrap();
    };
    delete(&case);
    assert_eq!(case.steps(), ["mark demo-s0-r0 to go: the Pool demo is deleted"]);
    let revision = case.instance(FIRST).metadata.revision.unwrap();
    case.store.delete(Kind::Instance, FIRST, &revision).unwrap();
    let steps = case.plan().steps;
    let is_removal = |step: &Step| matches!(step, Step::Stop { stop: Stop { data: Data::Remove, .. }, .. });
    assert!(steps.len() == 1 && is_removal(&steps[0].step), "{steps:?}");
    case.seen.instances.clear();
    assert_eq!(case.steps(), ["let demo-s0-r0 go: its process is gone"]);
    execute(&case, case.plan().steps.remove(0));
    assert_eq!(case.steps(), ["let Pool demo go: nothing of it runs any more"]);
    execute(&case, case.plan().steps.remove(0));
    assert_eq!(case.store.find::<PoolSpec>("demo").unwrap(), None);
}

#[test]
fn what_has_no_place_says_what_is_missing() {
    let case = Case::new(1);
    let mut spec = case.instance(FIRST).spec;
    (spec.ordinal, spec.memory) = (1, Bytes::mib(64 * 1024));
    case.store.create(Instance::new(spec.name(), InstanceSpec { node: None, ..spec }).into()).unwrap();
    case.change(|pool| {
        pool.spec.replicas = Some(1);
        pool.spec.memory = Bytes::mib(64 * 1024);
    });
    for _ in 0..3 {
        for planned in case.plan().steps {
            if let Step::Write(object) = planned.step {
                // What an earlier step of the same plan has changed is written from another look.
                let _ = case.store.update(*object);
            }
        }
    }
    let conditions = case.instance(SECOND).status.conditions;
    let ready = Condition::find(&conditions, READY).unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (false, "Unplaced"));
    assert!(ready.message.contains("memory") && ready.message.contains("n1"), "{}", ready.message);
}

#[test]
fn proxies_are_told_of_another_primary() {
    let mut case = Case::with(2, |spec| spec.proxies.count = 1);
    case.redis(FIRST, primary(), Gate::Open, 10);
    case.redis(SECOND, replica_of(FIRST, Link::Up), Gate::Open, 10);
    let says = |epoch| {
        Says::Proxy(ProxySays { life: Life("p".to_owned()), version: "0".to_owned(), epoch, sessions: 0 })
    };
    case.see("demo-proxy-0", Phase::Running, says(1));
    assert_eq!(case.steps(), [""; 0]);
    case.ended(FIRST, true);
    case.name(SECOND, 2);
    let plan = case.plan();
    let told = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Tell { change: Change::Pool { epoch, pool, .. }, .. } => {
            Some((*epoch, &pool.shards[0].primary))
        }
        _ => None,
    });
    let expected = Endpoint::Tcp { host: "127.0.1.1".to_owned(), port: 7_001 };
    assert_eq!(told, Some((2, &expected)));
}

#[test]
fn a_proxy_waits_for_the_first_layout() {
    let case = Case::with(1, |spec| spec.proxies.count = 1);
    case.change(|pool| pool.status.shards.clear());
    let starts: Vec<Program> = case
        .plan()
        .steps
        .iter()
        .filter_map(|planned| match &planned.step {
            Step::Start(start) => Some(case.instance(&start.name).spec.program),
            _ => None,
        })
        .collect();
    assert_eq!(starts, [Program::Redis]);
}

#[test]
fn memory_is_told_to_running_redis_and_never_promised_beyond_a_node() {
    let mut case = Case::new(1);
    case.redis(FIRST, primary(), Gate::Open, 10);
    case.change(|pool| pool.spec.memory = Bytes::mib(128));
    assert_eq!(case.steps(), ["change demo-s0-r0 as Pool demo asks"]);
    let change = case.plan().steps.into_iter().find(|planned| planned.why.starts_with("change")).unwrap();
    execute(&case, change);
    assert_eq!(case.steps(), ["let demo-s0-r0 take 128MiB of memory"]);
    case.change(|pool| pool.spec.memory = Bytes::mib(2048));
    assert_eq!(case.steps(), ["let demo-s0-r0 take 128MiB of memory"], "its node has not so much");
}
