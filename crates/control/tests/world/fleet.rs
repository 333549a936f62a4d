//! A state directory with a store and three nodes, and whoever controls it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shoal_control::io::local::{LocalOptions, LocalRuntime};
use shoal_control::io::reconciler::Reconciler;
use shoal_control::io::sqlite::Sqlite;
use shoal_control::quantity::{Bytes, Cores};
use shoal_control::resource::{
    Condition, Instance, Kind, Node, NodeSpec, Object, Pool, PoolSpec, READY, Resource, ServiceStatus, Spec,
    Standalone, StandaloneSpec, StatusEndpointRole,
};
use shoal_control::runtime::{Observed, RedisSays, Runtime as _};
use shoal_control::store::{Store, Typed as _};
use shoal_topology::{Endpoint, Mode};

use crate::support::{Client, kill, node, options, processes, redis_of};

/// Ten times what anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A state directory. All that was started there is killed at the end, and nothing else.
pub struct Fleet {
    place: tempfile::TempDir,
    control: Option<Control>,
}

/// Store, runtime and reconciler in this process.
pub struct Control {
    pub store: Arc<Sqlite>,
    pub runtime: Arc<LocalRuntime>,
    stop: Arc<AtomicBool>,
    reconciler: Option<JoinHandle<()>>,
}

impl Fleet {
    /// One with nodes n1 to n3, that nobody controls yet.
    pub fn new() -> Self {
        let fleet = Self { place: tempfile::tempdir().unwrap(), control: None };
        let store = Sqlite::create(&fleet.dir().join("store.db")).unwrap();
        for number in 1..=3 {
            let at = node(number);
            let spec = NodeSpec {
                address: at.address.to_string(),
                site: "local".to_owned(),
                zone: None,
                rack: Some(format!("r{number}")),
                node_group: None,
                memory: Bytes::mib(4096),
                cores: Cores::whole(4),
                cost: 0,
                unschedulable: false,
            };
            store.create(Node::new(at.name, spec).into()).unwrap();
        }
        fleet
    }

    pub fn dir(&self) -> &Path {
        self.place.path()
    }

    /// The store, while nobody controls.
    pub fn store(&self) -> Sqlite {
        assert!(self.control.is_none());
        Sqlite::open(&self.dir().join("store.db")).unwrap()
    }

    pub fn control(&self) -> &Control {
        self.control.as_ref().expect("a control")
    }

    /// Controls it from this process.
    pub fn begin(&mut self) -> &Control {
        self.control.insert(Control::begin(self.place.path()))
    }

    /// The same, on a machine that is not as others.
    pub fn begin_with(&mut self, change: impl Fn(&mut LocalOptions)) -> &Control {
        self.control.insert(Control::begin_with(self.place.path(), change))
    }

    /// Control ends; what it started does not.
    pub fn end(&mut self) {
        self.control = None;
    }

    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.dir().join("instances").join(name)
    }

    /// Kills an instance's process, as a crash does.
    #[track_caller]
    pub fn crash(&self, name: &str) {
        kill(self.process(name), Signal::KILL);
    }

    pub fn password(&self, credential: &str) -> String {
        let text = std::fs::read_to_string(self.dir().join("credentials").join(credential)).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// Enters somewhere as a tenant.
    pub fn enter(&self, address: &Endpoint, owner: &str) -> Result<Client, String> {
        let address = address.to_string().parse().unwrap();
        let mut client = Client::try_connect(address).map_err(|error| error.to_string())?;
        match client.said(&["AUTH", "tenant-default", &self.password(&format!("{owner}.tenant"))]).as_str() {
            "OK" => Ok(client),
            said => Err(said.to_owned()),
        }
    }

    /// Processes, folders and objects are the same, one of each.
    pub fn check_nothing_is_left_over(&self) {
        let instances: Vec<Instance> = self.control().store.find_all().unwrap();
        let mut wanted: Vec<String> = instances.iter().map(|instance| instance.name().to_owned()).collect();
        wanted.sort();
        let mut folders: Vec<String> = std::fs::read_dir(self.dir().join("instances"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        folders.sort();
        assert_eq!(folders, wanted, "folders and objects");
        // A Redis that saves has a child, which ends by itself.
        let pids: BTreeMap<&String, u32> = wanted.iter().map(|name| (name, self.process(name))).collect();
        let all = processes(self.dir());
        let strangers: Vec<&u32> = all.iter().filter(|pid| !self.belongs(**pid, &pids)).collect();
        assert!(strangers.is_empty(), "processes of nobody: {strangers:?} beside {pids:?}");
    }

    /// The one process of an instance; a Redis that saves has a child beside.
    #[track_caller]
    pub fn process(&self, name: &str) -> u32 {
        let found = processes(&self.folder_of(name));
        let mains: Vec<u32> = found.iter().copied().filter(|pid| !found.contains(&parent(*pid))).collect();
        assert_eq!(mains.len(), 1, "processes of {name}: {found:?}");
        mains[0]
    }

    fn belongs(&self, pid: u32, known: &BTreeMap<&String, u32>) -> bool {
        known.values().any(|main| *main == pid || *main == parent(pid))
    }
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    rest.split(' ').nth(1).and_then(|parent| parent.parse().ok()).unwrap_or(0)
}

impl Control {
    /// Opens what is in a directory, and controls it.
    pub fn begin(dir: &Path) -> Self {
        Self::begin_with(dir, |_| ())
    }

    /// The same, on a machine that is not as others.
    pub fn begin_with(dir: &Path, change: impl Fn(&mut LocalOptions)) -> Self {
        let store = Arc::new(Sqlite::open(&dir.join("store.db")).unwrap());
        let mut local: LocalOptions = options(dir);
        local.programs.shoal = program();
        change(&mut local);
        let runtime = Arc::new(LocalRuntime::open(local).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let reconciler = Reconciler::new(store.clone(), runtime.clone());
        let told = Arc::clone(&stop);
        let reconciler = Some(std::thread::spawn(move || reconciler.run(&told)));
        Self { store, runtime, stop, reconciler }
    }

    /// Changes what is declared.
    #[track_caller]
    pub fn change<S: Spec>(&self, name: &str, change: impl Fn(&mut S))
    where
        Resource: TryInto<Object<S>> + From<Object<S>>,
    {
        change_in(&*self.store, name, change);
    }

    #[track_caller]
    pub fn delete(&self, kind: Kind, name: &str) {
        delete_in(&*self.store, kind, name);
    }

    pub fn status(&self, kind: Kind, name: &str) -> Option<ServiceStatus> {
        match &*self.store.get(kind, name).unwrap()? {
            Resource::Pool(pool) => Some(pool.status.clone()),
            Resource::Standalone(standalone) => Some(standalone.status.clone()),
            _ => None,
        }
    }

    /// Where a service is entered in that role.
    #[track_caller]
    pub fn endpoints(&self, kind: Kind, name: &str, role: StatusEndpointRole) -> Vec<Endpoint> {
        let status = self.status(kind, name).expect("a service");
        let of_role = status.endpoints.into_iter().filter(|endpoint| endpoint.role == role);
        of_role.map(|endpoint| endpoint.address).collect()
    }

    /// Who is named a shard's primary.
    #[track_caller]
    pub fn primary(&self, kind: Kind, name: &str, shard: usize) -> String {
        self.status(kind, name).unwrap().shards[shard].primary.as_ref().unwrap().name.clone()
    }

    pub fn see(&self, name: &str) -> Option<Observed> {
        self.runtime.observe().unwrap().instances.into_iter().find(|observed| observed.name == name)
    }

    pub fn redis(&self, name: &str) -> Option<RedisSays> {
        self.see(name).as_ref().and_then(redis_of).cloned()
    }

    /// Waits until all that is declared is ready as it is now declared, and nothing goes that should not stay.
    #[track_caller]
    pub fn settled(&self) {
        self.until("all is ready", || {
            let services = [Kind::Pool, Kind::Standalone].map(|kind| self.store.list(kind).unwrap().objects);
            let is_settled = services.concat().iter().all(|object| {
                let (metadata, status) = match &**object {
                    Resource::Pool(pool) => (&pool.metadata, &pool.status),
                    Resource::Standalone(standalone) => (&standalone.metadata, &standalone.status),
                    other => panic!("{} is no service", other.name()),
                };
                let ready = Condition::find(&status.conditions, READY).filter(|ready| ready.status);
                !metadata.is_deleted()
                    && ready.is_some_and(|ready| ready.observed_generation == metadata.generation)
            });
            let instances: Vec<Instance> = self.store.find_all().unwrap();
            (is_settled && instances.iter().all(|instance| !instance.metadata.is_deleted())).then_some(())
        });
    }

    /// Waits until something is so; says what is known where it does not become so.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = probe() {
                return found;
            }
            assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}\n{}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is known, for whoever looks for what went wrong.
    fn told(&self) -> String {
        let mut told = String::new();
        for kind in [Kind::Pool, Kind::Standalone, Kind::Instance] {
            for object in self.store.list(kind).unwrap().objects {
                let conditions = match &*object {
                    Resource::Pool(pool) => &pool.status.conditions,
                    Resource::Standalone(standalone) => &standalone.status.conditions,
                    Resource::Instance(instance) => &instance.status.conditions,
                    _ => continue,
                };
                let ready = Condition::find(conditions, READY);
                let why = ready.map_or("nothing is known", |ready| &ready.message);
                told += &format!("{kind} {}: {why}\n", object.name());
            }
        }
        let mut events: Vec<shoal_control::resource::Event> = self.store.find_all().unwrap();
        events.sort_by_key(|event| event.spec.last_timestamp);
        for event in events.iter().rev().take(40).rev() {
            let spec = &event.spec;
            told += &format!("{} {} x{}: {}\n", spec.last_timestamp, spec.reason, spec.count, spec.message);
        }
        told
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reconciler) = self.reconciler.take() {
            // If it panicked, its message was printed.
            let _ = reconciler.join();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.control = None;
        for pid in processes(self.dir()) {
            kill(pid, Signal::KILL);
        }
    }
}

/// The product: `$SHOAL_BIN`, or `shoal` in the target directory of this test.
fn program() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("shoal");
    let path = std::env::var_os("SHOAL_BIN").map_or_else(beside, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is not there: run `cargo build -p shoal-cli` first, or set SHOAL_BIN",
        path.display()
    );
    path
}

pub fn change_in<S: Spec>(store: &dyn Store, name: &str, change: impl Fn(&mut S))
where
    Resource: TryInto<Object<S>> + From<Object<S>>,
{
    // The reconciler writes statuses meanwhile.
    for _ in 0..1_000 {
        let mut object = store.find::<S>(name).unwrap().expect("an object");
        change(&mut object.spec);
        match store.update(object.into()) {
            Err(shoal_control::Error::Conflict { .. }) => {}
            result => return drop(result.unwrap()),
        }
    }
    panic!("{name} is changed by somebody else all the time");
}

pub fn delete_in(store: &dyn Store, kind: Kind, name: &str) {
    for _ in 0..1_000 {
        let object = store.get(kind, name).unwrap().expect("an object");
        match store.delete(kind, name, object.metadata().revision.as_ref().unwrap()) {
            Err(shoal_control::Error::Conflict { .. }) => {}
            result => return result.unwrap(),
        }
    }
    panic!("{name} is changed by somebody else all the time");
}

/// Four shards with a replica each.
pub fn demo() -> Resource {
    Pool::new("demo", pool(Mode::Storage, 4)).into()
}

/// Three shards of a cache.
pub fn hot() -> Resource {
    Pool::new("hot", pool(Mode::Cache, 3)).into()
}

/// A primary and its replica.
pub fn solo() -> Resource {
    Standalone::new("solo", StandaloneSpec::of(Bytes::mib(64))).into()
}

fn pool(mode: Mode, shards: u16) -> PoolSpec {
    PoolSpec::of(mode, shards, Bytes::mib(64))
}
