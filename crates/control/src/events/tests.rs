use super::*;
use crate::quantity::Bytes;
use crate::resource::{Instance, Node, NodeSpec, Pool, PoolSpec, Primary, ShardStatus, Uid};
use crate::runtime::Observation;
use crate::store::{Memory, Typed as _};
use shoal_topology::Mode;

fn note(message: &str, kind: EventType) -> Note {
    let regarding = ObjectRef { kind: Kind::Pool, name: "demo".to_owned(), uid: Uid("u1".to_owned()) };
    Note { regarding, kind, reason: "Started", message: message.to_owned() }
}

fn all(store: &Memory) -> Vec<Event> {
    store.find_all().unwrap()
}

#[test]
fn the_same_again_counts_up() {
    let store = Memory::new();
    for at in [5, 7] {
        keep(&store, vec![note("start demo-s0-r0", EventType::Normal)], Timestamp(at)).unwrap();
    }
    keep(&store, vec![note("start demo-s0-r1", EventType::Normal)], Timestamp(8)).unwrap();
    let mut events = all(&store);
    events.sort_by_key(|event| event.spec.first_timestamp);
    assert_eq!(events.len(), 2);
    let spec = &events[0].spec;
    assert_eq!((spec.count, spec.first_timestamp, spec.last_timestamp), (2, Timestamp(5), Timestamp(7)));
    assert!(events[0].name().starts_with("demo-") && events[0].name().len() <= 40, "{}", events[0].name());
}

#[test]
fn what_goes_on_being_refused_is_counted_now_and_then() {
    let store = Memory::new();
    for at in [0, 1_000, 9_999, 10_000, 10_001] {
        keep(&store, vec![note("could not start", EventType::Warning)], Timestamp(at)).unwrap();
    }
    let spec = &all(&store)[0].spec;
    assert_eq!((spec.count, spec.last_timestamp), (2, Timestamp(10_000)));
}

#[test]
fn the_oldest_go() {
    let store = Memory::new();
    let notes = |range: std::ops::Range<usize>| {
        range.map(|at| note(&format!("number {at}"), EventType::Normal)).collect::<Vec<_>>()
    };
    keep(&store, notes(0..EVENTS_KEPT), Timestamp(1)).unwrap();
    keep(&store, notes(0..10), Timestamp(2)).unwrap();
    keep(&store, notes(2_000..2_005), Timestamp(3)).unwrap();
    let events = all(&store);
    assert_eq!(events.len(), EVENTS_KEPT);
    let is_there = |message: &str| events.iter().any(|event| event.spec.message == message);
    assert!(is_there("number 0") && is_there("number 9") && is_there("number 2004"));
    keep(&store, notes(0..3_000), Timestamp(4)).unwrap();
    let events = all(&store);
    assert_eq!(events.len(), EVENTS_KEPT);
    assert!(events.iter().all(|event| event.spec.last_timestamp == Timestamp(4)), "the last of all");
}

#[test]
fn naming_and_placing_are_of_note_and_writing_down_is_not() {
    let store = Memory::new();
    let spec = PoolSpec::of(Mode::Storage, 1, Bytes::mib(64));
    store.create(Pool::new("demo", spec).into()).unwrap();
    let pool: Pool = store.find("demo").unwrap().unwrap();
    let instance = Service::Pool(pool.clone()).redis_instance(0, 0);
    store.create(Instance::new(instance.name(), instance).into()).unwrap();
    let instance: Instance = store.find("demo-s0-r0").unwrap().unwrap();
    let node: NodeSpec =
        serde_json::from_str(r#"{"address":"127.0.1.1","memory":"1GiB","cores":"1"}"#).unwrap();
    store.create(Node::new("n1", node).into()).unwrap();
    let world = World::look(&store, Observation::default(), Timestamp(1)).unwrap();
    let of = |object: Resource| {
        let planned =
            Planned { about: object.reference(), step: Step::Write(Box::new(object)), why: "why".to_owned() };
        Note::of_done(&world, &planned).map(|note| note.reason)
    };

    let mut placed = instance.clone();
    placed.spec.node = Some("n1".to_owned());
    assert_eq!(of(placed.into()), Some("Placed"));
    let mut larger = instance.clone();
    larger.spec.memory = Bytes::mib(128);
    assert_eq!(of(larger.into()), Some("Changed"));
    let mut known = instance;
    known.status.restarts = 1;
    assert_eq!(of(known.into()), None);

    let mut shards = vec![ShardStatus { name: "s0".to_owned(), ..ShardStatus::default() }];
    let mut listed = pool.clone();
    listed.status.shards.clone_from(&shards);
    assert_eq!(of(listed.into()), None, "shards are listed before one has a primary");
    shards[0].primary = Some(Primary { name: "demo-s0-r0".to_owned(), uid: Uid("u".to_owned()) });
    let mut named = pool;
    named.status.shards = shards;
    assert_eq!(of(named.into()), Some("PrimaryNamed"));
}

#[test]
fn a_refusal_says_what_was_wanted_and_why_not() {
    let about = ObjectRef { kind: Kind::Instance, name: "demo-s0-r0".to_owned(), uid: Uid::default() };
    let pool = Pool::new("demo", PoolSpec::of(Mode::Storage, 1, Bytes::mib(64)));
    let step = Step::Write(Box::new(pool.into()));
    let planned = Planned { about, step, why: "start demo-s0-r0 on n1".to_owned() };
    let refused = Refused::NoProgram { program: "redis-server".to_owned(), advice: "install it".to_owned() };
    let note = Note::of_refused(&planned, &Refusal::Runtime(refused)).unwrap();
    assert_eq!((note.kind, note.reason), (EventType::Warning, "NoProgram"));
    assert_eq!(note.message, "could not start demo-s0-r0 on n1: redis-server is not there: install it");
    let soon = Refused::OtherLife { name: "demo-s0-r0".to_owned() };
    assert_eq!(Note::of_refused(&planned, &Refusal::Runtime(soon)), None);
    assert_eq!(Note::of_refused(&planned, &Refusal::Behind), None);
}
