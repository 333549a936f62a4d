use super::*;
use crate::quantity::{Bytes, Cores};
use crate::resource::{
    Bounds, Durability, Ejection, Eviction, InstanceSpec, Managed, Node, NodeSpec, ObjectRef, Persistence,
    Pool, PoolSpec, Quota, Revision, Standalone, StandaloneSpec, Tenant, TenantSpec, Uid, from_yaml,
};
use proptest::prelude::*;
use shoal_topology::{Distribution, Hash, Mode};

mod tenants;

/// A world that holds what was admitted.
#[derive(Default)]
struct World {
    objects: Vec<Resource>,
}

impl World {
    fn stored(&self) -> Stored {
        self.objects.iter().cloned().map(Arc::new).collect()
    }

    fn ask(&self, object: impl Into<Resource>) -> Result<Admitted, Error> {
        admit(&self.stored(), Request::apply(object))
    }

    /// Asks, and keeps.
    fn apply(&mut self, object: impl Into<Resource>) -> Result<Vec<Remark>, Error> {
        let admitted = self.ask(object)?;
        let mut object = admitted.object;
        self.objects.retain(|other| (other.kind(), other.name()) != (object.kind(), object.name()));
        object.metadata_mut().uid = Uid(format!("uid-of-{}", object.name()));
        object.metadata_mut().revision = Some(Revision(format!("r{}", self.objects.len())));
        self.objects.push(object);
        Ok(admitted.warnings)
    }

    fn delete(&self, kind: Kind, name: &str) -> Result<Admitted, Error> {
        admit(&self.stored(), Request::Delete { kind, name: name.to_owned() })
    }
}

fn pool(name: &str, mode: Mode, change: impl FnOnce(&mut PoolSpec)) -> Pool {
    let mut spec = PoolSpec::of(mode, 4, Bytes::gib(1));
    change(&mut spec);
    Pool::new(name, spec)
}

fn standalone(name: &str, change: impl FnOnce(&mut StandaloneSpec)) -> Standalone {
    let mut spec = StandaloneSpec::of(Bytes::gib(1));
    change(&mut spec);
    Standalone::new(name, spec)
}

fn node(name: &str, address: &str) -> Node {
    Node::new(
        name,
        NodeSpec {
            address: address.to_owned(),
            site: "local".to_owned(),
            zone: None,
            rack: None,
            node_group: None,
            memory: Bytes::gib(8),
            cores: Cores::whole(4),
            cost: 0,
            unschedulable: false,
        },
    )
}

fn reasons(result: Result<Admitted, Error>) -> Vec<String> {
    match result {
        Err(Error::Refused { reasons, .. }) => reasons.iter().map(ToString::to_string).collect(),
        other => panic!("it is not refused: {other:?}"),
    }
}

/// The one reason, which begins so.
#[track_caller]
fn refused(result: Result<Admitted, Error>, begin: &str) {
    let reasons = reasons(result);
    assert!(reasons.len() == 1 && reasons[0].starts_with(begin), "{reasons:?}\n{begin}");
}

#[test]
fn defaults_are_written_down_by_mode() {
    let Resource::Pool(storage) = World::default().ask(pool("demo", Mode::Storage, |_| {})).unwrap().object
    else {
        panic!("it is one")
    };
    let spec = &storage.spec;
    assert_eq!((spec.hash, spec.distribution), (Some(Hash::Fnv1a64), Some(Distribution::Modula)));
    assert_eq!((spec.replicas, spec.sentinels, spec.ejection), (Some(1), Some(3), None));
    assert_eq!((spec.eviction, spec.persistence), (Some(Eviction::Noeviction), Some(Persistence::Rdb)));

    let Resource::Pool(cache) = World::default().ask(pool("hot", Mode::Cache, |_| {})).unwrap().object else {
        panic!("it is one")
    };
    let spec = &cache.spec;
    assert_eq!((spec.hash, spec.distribution), (Some(Hash::Fnv1a64), Some(Distribution::Ketama)));
    assert_eq!((spec.replicas, spec.sentinels), (Some(0), Some(0)));
    assert_eq!((spec.eviction, spec.persistence), (Some(Eviction::AllkeysLru), Some(Persistence::None)));
    let ejection = spec.ejection.unwrap();
    assert_eq!((ejection.failures, ejection.retry_after.to_string().as_str()), (3, "10m"));
}

#[test]
fn what_is_so_already_changes_nothing() {
    let mut world = World::default();
    assert_eq!(world.ask(pool("demo", Mode::Storage, |_| {})).unwrap().verb, Verb::Create);
    world.apply(pool("demo", Mode::Storage, |_| {})).unwrap();
    assert_eq!(world.ask(pool("demo", Mode::Storage, |_| {})).unwrap().verb, Verb::Nothing);
    let grown = world.ask(pool("demo", Mode::Storage, |spec| spec.memory = Bytes::gib(2))).unwrap();
    assert_eq!(grown.verb, Verb::Update);
    assert_eq!(grown.object.metadata().revision, Some(Revision("r0".to_owned())), "what was seen");
}

#[test]
fn the_platform_s_fields_are_not_believed() {
    let mut world = World::default();
    let mut lies = pool("demo", Mode::Storage, |_| {});
    lies.metadata.uid = Uid("mine".to_owned());
    lies.metadata.finalizers = vec!["never".to_owned()];
    lies.metadata.owner_reference =
        Some(ObjectRef { kind: Kind::Node, name: "n1".to_owned(), uid: Uid::default() });
    lies.status.epoch = 7;
    lies.metadata.labels.insert("team".to_owned(), "feed".to_owned());
    world.apply(lies.clone()).unwrap();
    let Resource::Pool(kept) = &mut world.objects[0] else { panic!("it is one") };
    assert_eq!(kept.metadata.labels["team"], "feed");
    assert!(
        kept.metadata.finalizers.is_empty()
            && kept.metadata.owner_reference.is_none()
            && kept.status.epoch == 0
    );

    kept.status.epoch = 3;
    kept.metadata.finalizers = vec!["shoal.dev/processes".to_owned()];
    let kept = kept.clone();
    lies.metadata.revision = Some(Revision("as I saw it".to_owned()));
    let Resource::Pool(next) = world.ask(lies).unwrap().object else { panic!("it is one") };
    assert_eq!((&next.metadata.uid, next.status.epoch), (&kept.metadata.uid, 3));
    assert_eq!(next.metadata.finalizers, kept.metadata.finalizers);
    assert_eq!(next.metadata.revision, Some(Revision("as I saw it".to_owned())));
}

#[test]
fn refused_with_the_field_and_what_would_be_right() {
    let world = World::default();
    let storage = |change: fn(&mut PoolSpec)| world.ask(pool("demo", Mode::Storage, change));
    let cache = |change: fn(&mut PoolSpec)| world.ask(pool("hot", Mode::Cache, change));
    refused(storage(|spec| spec.shards = 0), "spec.shards: 0 is not between 1 and 1024");
    refused(
        storage(|spec| spec.memory = Bytes(5)),
        "spec.memory: 5B is too little: a Redis needs 8MiB at least",
    );
    refused(storage(|spec| spec.replicas = Some(9)), "spec.replicas: 9 are too many: 5 at most");
    refused(
        storage(|spec| spec.sentinels = Some(2)),
        "spec.sentinels: 2 are no majority's number: use 0, 3 or 5",
    );
    refused(
        storage(|spec| spec.eviction = Some(Eviction::AllkeysLru)),
        "spec.eviction: a storage pool evicts nothing",
    );
    refused(
        storage(|spec| spec.ejection = Some(Ejection::default())),
        "spec.ejection: a storage shard is never left out",
    );
    refused(
        storage(|spec| spec.distribution = Some(Distribution::Random)),
        "spec.distribution: under random",
    );
    refused(storage(|spec| spec.proxies.count = 0), "spec.proxies.count: 0 is not between 1 and 256");
    refused(storage(|spec| spec.version = Some("new".to_owned())), "spec.version: write a version of Redis");
    refused(
        storage(|spec| spec.tenant = "acme".to_owned()),
        "spec.tenant: there is no tenant acme: declare it first",
    );
    refused(
        storage(|spec| {
            spec.durability = Durability::Replicated;
            spec.replicas = Some(0);
        }),
        "spec.durability: replicated needs `replicas: 1` or more",
    );
    refused(
        cache(|spec| spec.persistence = Some(Persistence::Aof)),
        "spec.persistence: a cache always starts empty",
    );
    refused(cache(|spec| spec.replicas = Some(1)), "spec.replicas: a cache has none");
    refused(
        cache(|spec| spec.durability = Durability::Replicated),
        "spec.durability: a cache has no replicas",
    );
    refused(cache(|spec| spec.managed = Managed::Observe), "spec.existing: say where it is");
    refused(
        world.ask(node("n1", "localhost")),
        "spec.address: \"localhost\" is no IP address: on one machine use 127.0.1.1",
    );

    // All reasons at once, so that nobody mends one to be told the next.
    let several = storage(|spec| {
        spec.shards = 0;
        spec.proxies.count = 0;
        spec.memory = Bytes::ZERO;
    });
    assert_eq!(reasons(several).len(), 3);
}

#[test]
fn names_are_dns_labels() {
    for name in ["a", "demo", "demo-2", "0", &"a".repeat(40)] {
        assert!(is_dns_label(name), "{name}");
    }
    for name in ["", "-a", "a-", "Demo", "a.b", "a_b", "ä", "a b", "../a", &"a".repeat(41)] {
        assert!(!is_dns_label(name), "{name}");
        let refusal = reasons(World::default().ask(pool(name, Mode::Cache, |_| {})));
        assert!(refusal[0].starts_with("metadata.name: "), "{refusal:?}");
    }
    refused(
        World::default().ask(pool("My_Pool", Mode::Cache, |_| {})),
        "metadata.name: \"My_Pool\" is no name: use at most 40 of a-z, 0-9 and - between them, such as my-pool",
    );
}

#[test]
fn names_of_instances_never_meet() {
    let mut world = World::default();
    world.apply(pool("demo", Mode::Storage, |_| {})).unwrap();
    refused(world.ask(standalone("demo", |_| {})), "metadata.name: there is a pool demo, whose instances");
    refused(
        world.ask(standalone("demo-s0", |_| {})),
        "metadata.name: instances of demo-s0 and of demo would",
    );
    world.apply(standalone("other-s12", |_| {})).unwrap();
    refused(
        world.ask(pool("other", Mode::Storage, |_| {})),
        "metadata.name: instances of other and of other-s12",
    );
    world.ask(standalone("demo-solo", |_| {})).unwrap();
}

#[test]
fn what_cannot_be_changed_is_named() {
    let mut world = World::default();
    world.apply(pool("demo", Mode::Storage, |_| {})).unwrap();
    world.apply(node("n1", "127.0.1.1")).unwrap();
    let change = |change: fn(&mut PoolSpec)| world.ask(pool("demo", Mode::Storage, change));
    refused(
        change(|spec| spec.shards = 8),
        "spec.shards: it cannot be changed from 4 to 8: resharding comes later",
    );
    refused(
        change(|spec| spec.hash = Some(Hash::Md5)),
        "spec.hash: it cannot be changed from fnv1a_64 to md5: keys",
    );
    refused(
        change(|spec| spec.distribution = Some(Distribution::Ketama)),
        "spec.distribution: it cannot be changed from modula to ketama",
    );
    refused(
        change(|spec| spec.hash_tag = Some("{}".parse().unwrap())),
        "spec.hashTag: it cannot be changed from none",
    );
    let mode = reasons(world.ask(pool("demo", Mode::Cache, |_| {})));
    assert!(
        mode.iter().any(|reason| reason.starts_with("spec.mode: it cannot be changed from storage to cache"))
    );
    refused(
        world.ask(node("n1", "127.0.1.9")),
        "spec.address: it cannot be changed from 127.0.1.1 to 127.0.1.9",
    );
    for allowed in [
        (|spec| spec.memory = Bytes::gib(2)) as fn(&mut PoolSpec),
        |spec| spec.replicas = Some(2),
        |spec| spec.proxies.count = 3,
        |spec| spec.persistence = Some(Persistence::Aof),
        |spec| spec.durability = Durability::Replicated,
    ] {
        assert_eq!(change(allowed).unwrap().verb, Verb::Update);
    }
}

#[test]
fn what_is_going_is_not_changed() {
    let mut world = World::default();
    world.apply(pool("demo", Mode::Storage, |_| {})).unwrap();
    world.objects[0].metadata_mut().deletion_timestamp = Some(crate::quantity::Timestamp(1));
    refused(
        world.ask(pool("demo", Mode::Storage, |spec| spec.memory = Bytes::gib(2))),
        "spec: its deletion has begun",
    );
}

#[test]
fn what_is_large_is_warned_of_with_what_to_do() {
    let world = World::default();
    let warned = |object: Resource, begin: &str| {
        let warnings = world.ask(object).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].to_string().starts_with(begin), "{warnings:?}\n{begin}");
    };
    let storage = |change: fn(&mut PoolSpec)| Resource::from(pool("demo", Mode::Storage, change));
    let solo = |change: fn(&mut StandaloneSpec)| Resource::from(standalone("solo", change));
    warned(storage(|spec| spec.memory = Bytes::gib(20)), "spec.memory: a shard of 20GiB is above 20 GB");
    warned(solo(|spec| spec.memory = Bytes::gib(30)), "spec.memory: a standalone of 30GiB is above 30 GB");
    warned(
        storage(|spec| spec.requests_per_second = Some(1_000_000)),
        "spec.requestsPerSecond: 250000 requests a second on each of 4 shards are above 200,000: use 5 shards or more",
    );
    warned(
        solo(|spec| spec.requests_per_second = Some(200_001)),
        "spec.requestsPerSecond: 200001 requests a second on one instance are above 200,000: use a pool of 2 shards",
    );
    warned(storage(|spec| spec.replicas = Some(0)), "spec.replicas: without a replica");
    warned(storage(|spec| spec.proxies.count = 1), "spec.proxies.count: ");
    warned(
        storage(|spec| spec.placement.site = Some("mars".to_owned())),
        "spec.placement: of 0 nodes none is so",
    );
    for quiet in [
        storage(|spec| spec.memory = Bytes(20_000_000_000)),
        storage(|spec| spec.requests_per_second = Some(800_000)),
        solo(|spec| spec.memory = Bytes(30_000_000_000)),
        solo(|spec| spec.requests_per_second = Some(200_000)),
    ] {
        assert_eq!(world.ask(quiet).unwrap().warnings, []);
    }
}

#[test]
fn what_others_stand_on_stays() {
    let mut world = World::default();
    world.apply(node("n1", "127.0.1.1")).unwrap();
    refused(world.ask(node("n2", "127.0.1.1")), "spec.address: node n1 has 127.0.1.1 already");
    assert_eq!(world.delete(Kind::Node, "n1").unwrap().verb, Verb::Delete);
    let spec: InstanceSpec = serde_json::from_str(
        r#"{"program": "redis", "owner": {"kind": "Pool", "name": "demo"}, "tenant": "default", "shard": 0,
            "ordinal": 1, "mode": "storage", "memory": "1GiB", "cores": "100m", "node": "n1"}"#,
    )
    .unwrap();
    assert_eq!(spec.name(), "demo-s0-r1");
    let instance = crate::resource::Instance::new(spec.name(), spec);
    refused(world.ask(instance.clone()), "kind: instances are made by the platform alone");
    world.objects.push(instance.into());
    refused(
        world.delete(Kind::Node, "n1"),
        "metadata.name: instances run there, and go or move first: demo-s0-r1",
    );
    refused(world.delete(Kind::Instance, "demo-s0-r1"), "kind: instances are the platform's alone");
    assert!(matches!(world.delete(Kind::Pool, "none"), Err(Error::NotFound { .. })));
}

#[test]
fn what_somebody_else_runs_is_observed_then_adopted() {
    let mut world = World::default();
    let text = "
apiVersion: shoal.dev/v1alpha1
kind: Pool
metadata: {name: old}
spec:
  mode: storage
  shards: 2
  managed: observe
  existing:
    proxies: ['10.0.0.9:22121']
    shards:
      - {name: one, instances: ['10.0.0.1:6379']}
      - {name: two, instances: ['10.0.0.2:6379', '10.0.0.3:6379']}
";
    let old = |text: &str| from_yaml("old.yaml", text).unwrap().remove(0).resource;
    world.apply(old(text)).unwrap();
    assert_eq!(usage_of(&world.objects[0]), Default::default(), "what Shoal does not run is not counted");
    refused(world.ask(old(&text.replace("shards: 2", "shards: 3"))), "spec.existing.shards: 2 are named");
    let adopted = text.replace("managed: observe", "memory: 1GiB");
    refused(World::default().ask(old(&adopted)), "spec.managed: what is there already is first looked at");
    world.apply(old(&adopted)).unwrap();
    assert_eq!(usage_of(&world.objects[0]).memory, Bytes::gib(4));
    let back = reasons(world.ask(old(text)));
    assert!(
        back.iter().any(|reason| reason == "spec.managed: what Shoal manages is not given back"),
        "{back:?}"
    );
}

proptest! {
    /// Whatever is asked for: no panic, and what is admitted is admitted again, with nothing to do.
    #[test]
    fn what_is_admitted_stays_admitted(
        shards in any::<u16>(), replicas in proptest::option::of(0_u16..8), memory in any::<u64>(),
        cores in proptest::option::of(any::<u64>()), count in any::<u16>(), cache in any::<bool>(),
        requests in proptest::option::of(any::<u64>()), name in "[a-z-]{1,5}",
    ) {
        let mode = if cache { Mode::Cache } else { Mode::Storage };
        let mut world = World::default();
        let asked = pool(&name, mode, |spec| {
            spec.shards = shards;
            spec.replicas = replicas;
            spec.memory = Bytes(memory);
            spec.cores = cores.map(Cores);
            spec.proxies.count = count;
            spec.requests_per_second = requests;
        });
        if world.apply(asked.clone()).is_ok() {
            prop_assert_eq!(world.ask(asked).unwrap().verb, Verb::Nothing);
        }
    }
}
