use super::*;
use crate::quantity::Bytes;
use crate::resource::{Standalone, StandaloneSpec};
use crate::store::conformance;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

mod damaged;
mod full;
mod killed;

/// What a store holds, told by a mark on each object.
type Marks = BTreeMap<String, u64>;

fn marks(store: &Sqlite) -> Marks {
    let objects = store.list(Kind::Standalone).unwrap().objects;
    objects.iter().map(|object| (object.name().to_owned(), mark(object))).collect()
}

fn mark(object: &Resource) -> u64 {
    object.metadata().annotations.get("mark").map_or(0, |mark| mark.parse().unwrap())
}

/// Creates the object of that name with the mark, or updates it.
fn put(store: &Sqlite, name: &str, mark: u64) -> Result<Arc<Resource>, Error> {
    let known = store.get(Kind::Standalone, name)?.map(Arc::unwrap_or_clone);
    let is_new = known.is_none();
    let mut object = known.unwrap_or_else(|| Standalone::new(name, StandaloneSpec::of(Bytes::gib(1))).into());
    object.metadata_mut().annotations.insert("mark".to_owned(), mark.to_string());
    if is_new { store.create(object) } else { store.update(object) }
}

fn delete(store: &Sqlite, name: &str) -> Result<(), Error> {
    let object = store.get(Kind::Standalone, name)?.unwrap();
    store.delete(Kind::Standalone, name, object.metadata().revision.as_ref().unwrap())
}

fn fresh() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// A generator whose runs repeat (Knuth's constants).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    let stores = std::cell::Cell::new(0);
    conformance::holds(&|kept| {
        stores.set(stores.get() + 1);
        let store = Sqlite::create(&folder.path().join(format!("{}.db", stores.get()))).unwrap();
        store.lock().contents = Contents::empty("test".to_owned()).keeping(kept);
        store
    });
}

#[test]
fn what_was_there_is_there_again() {
    let (folder, path) = fresh();
    let store = Sqlite::open_or_create(&path).unwrap();
    for nth in 0..50 {
        put(&store, &format!("n{nth}"), nth).unwrap();
    }
    delete(&store, "n7").unwrap();
    let (before, list) = (marks(&store), store.list(Kind::Standalone).unwrap());
    drop(store);

    let store = Sqlite::open_or_create(&path).unwrap();
    assert_eq!((marks(&store).len(), marks(&store)), (49, before));
    let again = store.list(Kind::Standalone).unwrap();
    assert_eq!(again.objects, list.objects, "revisions and uids are the same");
    assert!(matches!(
        store.watch(Kind::Standalone, &list.revision, Duration::ZERO),
        Ok(Watch::Changes { .. })
    ));
    put(&store, "n1", 100).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.file_name());
    }
}

#[test]
fn a_watch_from_before_a_restart_expires_if_something_happened_before_it() {
    let (_folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    let from = store.list(Kind::Standalone).unwrap().revision;
    put(&store, "one", 1).unwrap();
    drop(store);
    let store = Sqlite::open(&path).unwrap();
    assert!(matches!(store.watch(Kind::Standalone, &from, Duration::ZERO), Ok(Watch::Expired)));
}

#[test]
fn a_watch_waits_for_a_change_of_its_kind() {
    let (_folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    let from = store.list(Kind::Standalone).unwrap().revision;
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| store.watch(Kind::Standalone, &from, Duration::from_secs(600)).unwrap());
        let tenant = crate::resource::Tenant::new("acme", crate::resource::TenantSpec::default());
        store.create(tenant.into()).unwrap();
        let one = put(&store, "one", 1).unwrap();
        let Watch::Changes { changes, .. } = watch.join().unwrap() else { panic!("it has not expired") };
        assert_eq!(changes, [crate::store::Change::Put(one)]);
    });
}

#[test]
fn one_process_has_it_at_a_time() {
    let (_folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, Error::StoreInUse { .. }), "{error}");
    drop(store);
    Sqlite::open(&path).unwrap();
}

#[test]
fn a_store_is_made_where_there_is_nothing_and_opened_where_there_is_one() {
    let (folder, path) = fresh();
    assert!(matches!(Sqlite::open(&path), Err(Error::StoreMissing { .. })));
    drop(Sqlite::create(&path).unwrap());
    assert!(matches!(Sqlite::create(&path), Err(Error::File { .. })), "there is one already");
    // What a control left that was killed while it made its store.
    let second = folder.path().join("second.db");
    fs::write(beside(&second, "unfinished"), b"half").unwrap();
    drop(Sqlite::open_or_create(&second).unwrap());
    assert!(!beside(&second, "unfinished").exists());
    let nowhere = folder.path().join("missing/store.db");
    let error = Sqlite::create(&nowhere).unwrap_err();
    assert!(matches!(error, Error::File { .. }) && error.to_string().contains("missing/store.db"), "{error}");
}

#[test]
fn a_backup_is_one_instant_and_comes_back() {
    let (folder, path) = fresh();
    let store = Sqlite::create(&path).unwrap();
    // Two objects that are always written one after the other: a copy of one instant has them equal, or one apart.
    put(&store, "first", 0).unwrap();
    put(&store, "second", 0).unwrap();
    let written = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nth in 1..200 {
                put(&store, "first", nth).unwrap();
                put(&store, "second", nth).unwrap();
            }
            written.store(true, std::sync::atomic::Ordering::Release);
        });
        for nth in 0.. {
            let (to, back) =
                (folder.path().join(format!("{nth}.bak")), folder.path().join(format!("{nth}.db")));
            store.backup(&to).unwrap();
            assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(restore(&to, &back).unwrap(), 2);
            let marks = marks(&Sqlite::open(&back).unwrap());
            assert!(marks["first"] - marks["second"] <= 1, "{marks:?}");
            if written.load(std::sync::atomic::Ordering::Acquire) {
                break;
            }
        }
    });
    let to = folder.path().join("last.bak");
    store.backup(&to).unwrap();
    assert!(matches!(store.backup(&to), Err(Error::File { .. })), "a backup is not written over");
    assert!(matches!(restore(&to, &path), Err(Error::File { .. })), "a store is not written over");

    // After a restore, nothing that somebody saw before it is taken for current.
    let (seen, list) =
        (store.get(Kind::Standalone, "first").unwrap().unwrap(), store.list(Kind::Standalone).unwrap());
    let restored = folder.path().join("restored.db");
    restore(&to, &restored).unwrap();
    let store = Sqlite::open(&restored).unwrap();
    assert_eq!(mark(&store.get(Kind::Standalone, "first").unwrap().unwrap()), 199);
    assert!(matches!(store.update(Resource::clone(&seen)), Err(Error::Conflict { .. })));
    assert!(matches!(store.watch(Kind::Standalone, &list.revision, Duration::ZERO), Ok(Watch::Expired)));
    put(&store, "first", 200).unwrap();
}
