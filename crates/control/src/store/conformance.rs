//! One test body for every store.

use super::{Change, Store, Typed, Watch};
use crate::Error;
use crate::quantity::{Bytes, Cores};
use crate::resource::{Kind, Node, NodeSpec, Resource, Revision, StandaloneSpec, TenantSpec};
use crate::resource::{Standalone, Tenant};
use std::sync::Arc;
use std::time::Duration;

/// Holds a store to what [`Store`] promises; `make` gives an empty one that keeps so many changes for watches.
pub(crate) fn holds<S: Store>(make: &dyn Fn(usize) -> S) {
    gives_what_the_platform_gives(&make(100));
    compares_and_sets(&make(100));
    deletes_when_nobody_has_anything_to_do(&make(100));
    shows_each_change_once_and_in_order(&make(100));
    expires(&make(4));
    agrees_with_a_model(&make(10_000));
}

fn solo(name: &str, gib: u64) -> Resource {
    Standalone::new(name, StandaloneSpec::of(Bytes::gib(gib))).into()
}

fn revision(object: &Resource) -> &Revision {
    object.metadata().revision.as_ref().expect("the store gives it")
}

fn gives_what_the_platform_gives(store: &impl Store) {
    assert!(store.get(Kind::Standalone, "solo").unwrap().is_none());
    let created = store.create(solo("solo", 1)).unwrap();
    let metadata = created.metadata();
    assert!(!metadata.uid.is_empty() && metadata.creation_timestamp.is_some());
    assert_eq!(metadata.generation, 1);
    assert_eq!(store.get(Kind::Standalone, "solo").unwrap().as_ref(), Some(&created));

    // What somebody made up of it is not believed.
    let mut lies = solo("lies", 1);
    lies.metadata_mut().uid = metadata.uid.clone();
    lies.metadata_mut().generation = 7;
    lies.metadata_mut().deletion_timestamp = metadata.creation_timestamp;
    let lies = store.create(lies).unwrap();
    assert!(
        lies.metadata().uid != metadata.uid
            && lies.metadata().generation == 1
            && !lies.metadata().is_deleted()
    );
    let mut changed = Resource::clone(&lies);
    changed.metadata_mut().uid = metadata.uid.clone();
    changed.metadata_mut().generation = 7;
    let changed = store.update(changed).unwrap();
    assert_eq!((&changed.metadata().uid, changed.metadata().generation), (&lies.metadata().uid, 1));

    // Names are of a kind: a node may bear a pool's.
    let spec = NodeSpec {
        address: "127.0.1.1".to_owned(),
        site: "local".to_owned(),
        zone: None,
        rack: None,
        node_group: None,
        memory: Bytes::gib(8),
        cores: Cores::whole(2),
        cost: 0,
        unschedulable: false,
    };
    store.create(Node::new("solo", spec).into()).unwrap();
    let names = |kind| -> Vec<String> {
        store.list(kind).unwrap().objects.iter().map(|object| object.name().to_owned()).collect()
    };
    assert_eq!(names(Kind::Standalone), ["lies", "solo"]);
    assert_eq!(names(Kind::Node), ["solo"]);
    assert_eq!(store.find_all::<StandaloneSpec>().unwrap().len(), 2);
    assert_eq!(store.find::<NodeSpec>("solo").unwrap().unwrap().spec.memory, Bytes::gib(8));
    assert!(store.find::<NodeSpec>("lies").unwrap().is_none());
}

fn compares_and_sets(store: &impl Store) {
    let first = store.create(solo("solo", 1)).unwrap();
    assert!(matches!(store.create(solo("solo", 2)), Err(Error::Exists { .. })));

    let mut mine = Resource::clone(&first);
    mine.metadata_mut().labels.insert("by".to_owned(), "me".to_owned());
    let theirs = mine.clone();
    let mine = store.update(mine).unwrap();
    assert_ne!(revision(&mine), revision(&first));
    assert_eq!(mine.metadata().generation, 1, "the spec is the same");
    assert!(matches!(store.update(theirs), Err(Error::Conflict { .. })), "they had not seen my change");
    assert!(matches!(store.delete(Kind::Standalone, "solo", revision(&first)), Err(Error::Conflict { .. })));

    let mut grown = Resource::clone(&mine);
    let Resource::Standalone(spec) = &mut grown else { panic!("it is one") };
    spec.spec.memory = Bytes::gib(2);
    let grown = store.update(grown).unwrap();
    assert_eq!(grown.metadata().generation, 2);

    let mut blind = Resource::clone(&grown);
    blind.metadata_mut().revision = None;
    assert!(matches!(store.update(blind), Err(Error::NoRevision { .. })));
    let mut made_up = Resource::clone(&grown);
    made_up.metadata_mut().revision = Some(Revision("made up".to_owned()));
    assert!(matches!(store.update(made_up), Err(Error::Conflict { .. })));

    store.delete(Kind::Standalone, "solo", revision(&grown)).unwrap();
    assert!(matches!(store.update(Resource::clone(&grown)), Err(Error::NotFound { .. })));
    assert!(matches!(store.delete(Kind::Standalone, "solo", revision(&grown)), Err(Error::NotFound { .. })));

    // One of the same name is another one.
    let second = store.create(solo("solo", 1)).unwrap();
    assert_ne!(second.metadata().uid, first.metadata().uid);
    for old in [&first, &mine, &grown] {
        assert!(matches!(store.update(Resource::clone(old)), Err(Error::Conflict { .. })));
    }
}

fn deletes_when_nobody_has_anything_to_do(store: &impl Store) {
    let mut object = solo("solo", 1);
    object.metadata_mut().finalizers = vec!["shoal.dev/processes".to_owned(), "shoal.dev/data".to_owned()];
    let object = store.create(object).unwrap();
    store.delete(Kind::Standalone, "solo", revision(&object)).unwrap();
    let marked = store.get(Kind::Standalone, "solo").unwrap().unwrap();
    assert!(marked.metadata().is_deleted());
    assert_ne!(revision(&marked), revision(&object));
    store.delete(Kind::Standalone, "solo", revision(&marked)).unwrap();
    assert_eq!(
        store.get(Kind::Standalone, "solo").unwrap().as_ref(),
        Some(&marked),
        "asked for once is enough"
    );

    // Nobody takes it back.
    let mut next = Resource::clone(&marked);
    next.metadata_mut().deletion_timestamp = None;
    next.metadata_mut().finalizers.pop();
    let next = store.update(next).unwrap();
    assert!(next.metadata().is_deleted());
    let mut last = Resource::clone(&next);
    last.metadata_mut().finalizers.clear();
    store.update(last).unwrap();
    assert!(store.get(Kind::Standalone, "solo").unwrap().is_none());
}

fn shows_each_change_once_and_in_order(store: &impl Store) {
    let before = store.list(Kind::Standalone).unwrap().revision;
    let one = store.create(solo("one", 1)).unwrap();
    store.create(Tenant::new("acme", TenantSpec::default()).into()).unwrap();
    let mut grown = Resource::clone(&one);
    let Resource::Standalone(spec) = &mut grown else { panic!("it is one") };
    spec.spec.memory = Bytes::gib(2);
    let grown = store.update(grown).unwrap();
    let (changes, after) = seen(store, Kind::Standalone, &before);
    assert_eq!(changes, [Change::Put(one), Change::Put(grown.clone())]);
    assert_eq!(seen(store, Kind::Standalone, &after).0, []);

    let two = store.create(solo("two", 1)).unwrap();
    store.delete(Kind::Standalone, "one", revision(&grown)).unwrap();
    assert_eq!(seen(store, Kind::Standalone, &after).0, [Change::Put(two), Change::Gone(grown)]);
    // A list's revision goes on where the list ends.
    let listed = store.list(Kind::Standalone).unwrap().revision;
    let three = store.create(solo("three", 1)).unwrap();
    assert_eq!(seen(store, Kind::Standalone, &listed).0, [Change::Put(three)]);
    assert_eq!(seen(store, Kind::Tenant, &listed).0, []);
}

fn seen(store: &impl Store, kind: Kind, from: &Revision) -> (Vec<Change>, Revision) {
    match store.watch(kind, from, Duration::ZERO).unwrap() {
        Watch::Changes { changes, revision } => (changes, revision),
        Watch::Expired => panic!("{from} has expired"),
    }
}

fn expires(store: &impl Store) {
    let before = store.list(Kind::Standalone).unwrap().revision;
    let mut object = store.create(solo("solo", 1)).unwrap();
    for _ in 0..4 {
        object = store.update(Resource::clone(&object)).unwrap();
    }
    assert!(matches!(store.watch(Kind::Standalone, &before, Duration::ZERO), Ok(Watch::Expired)));
    let made_up = Revision("elsewhere-1".to_owned());
    assert!(matches!(store.watch(Kind::Standalone, &made_up, Duration::ZERO), Ok(Watch::Expired)));
    let listed = store.list(Kind::Standalone).unwrap();
    assert_eq!(listed.objects, [object]);
    assert_eq!(seen(store, Kind::Standalone, &listed.revision).0, []);
}

/// Random writes, right and wrong, beside a list of what must be there; a watcher follows and must see the same.
fn agrees_with_a_model(store: &impl Store) {
    let mut random = 0x5eed_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut model: Vec<Arc<Resource>> = Vec::new();
    let mut stale: Vec<Arc<Resource>> = Vec::new();
    let mut watched: Vec<Arc<Resource>> = Vec::new();
    let mut from = store.list(Kind::Standalone).unwrap().revision;
    for step in 0..600 {
        let name = format!("n{}", draw(12));
        let known = model.iter().position(|object| object.name() == name);
        match (draw(4), known) {
            (0, None) => model.push(store.create(solo(&name, 1)).unwrap()),
            (0, Some(_)) => assert!(store.create(solo(&name, 1)).is_err()),
            (1, Some(at)) => {
                store.delete(Kind::Standalone, &name, revision(&model[at])).unwrap();
                stale.push(model.swap_remove(at));
            }
            (2, Some(at)) => {
                let mut next = Resource::clone(&model[at]);
                next.metadata_mut().annotations.insert("step".to_owned(), step.to_string());
                let next = store.update(next).unwrap();
                stale.push(std::mem::replace(&mut model[at], next));
            }
            _ if !stale.is_empty() => {
                let at = usize::try_from(draw(stale.len() as u64)).unwrap();
                assert!(store.update(Resource::clone(&stale[at])).is_err(), "step {step}");
            }
            _ => {}
        }
        if draw(5) == 0 {
            let (changes, next) = seen(store, Kind::Standalone, &from);
            from = next;
            for change in changes {
                watched.retain(|object| object.name() != change.object().name());
                if let Change::Put(object) = change {
                    watched.push(object);
                }
            }
            model.sort_by(|a, b| a.name().cmp(b.name()));
            watched.sort_by(|a, b| a.name().cmp(b.name()));
            assert_eq!(watched, model, "step {step}");
            assert_eq!(store.list(Kind::Standalone).unwrap().objects, model, "step {step}");
        }
    }
}
