//! The proxy as a process: starts the threads, accepts clients, reloads, obeys signals, hands over, and ends.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::follower::Doubts;
use super::hand_over::{Arrival, Door};
use super::inbox::{Inbox, Message, SwitchOrder};
use super::inherited::Inherited;
use super::listener::{Listener, Place, bind_port, places};
use super::observed::{Current, Observed};
use super::orders::{Outcome, Switch, orders};
use super::pid_file::PidFile;
use super::reports::{Report, Reporter, reports};
use super::resolver::Resolver;
use super::running::{Ports, Running};
use super::signals::Signals;
use super::visits::Workers;
use super::worker::Worker;
use super::{admin, follower, prober, stats_port};
use crate::engine::reconfigure::follow_health;
use crate::engine::{Engine, Parts, Pools};
use crate::error::Error;
use crate::following::Change;
use crate::following::shard::Primary;
use crate::hand_over::Use;
use crate::health::Health;
use crate::returning::seen::client_name;
use crate::settings::{PoolSettings, Settings, is_same_place};
use crate::stats::WorkerStats;
use crate::succession::{Succession, TakeOver};

pub use super::admin::Address as AdminAddress;
pub use super::listener::check_names;
pub use super::log;

/// How often requests are counted for the rate that statistics show.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Descriptors for everything that is neither client nor upstream: log, statistics, eventfds, epolls.
const SPARE_DESCRIPTORS: usize = 64;

/// How long a process that takes over waits for the connections to servers that pools want made before the first client.
const PREPARE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the first clients wait, at most, for sentinels to say where the primaries are; then their shards fail by name.
const PRIMARIES_PATIENCE: Duration = Duration::from_secs(2);

/// Reads the configuration again, for a reload; what is wrong with it is a sentence.
pub type Reread = Box<dyn Fn() -> Result<Settings, String>>;

/// A proxy process.
pub struct Process {
    /// Its pools and workers.
    pub settings: Settings,
    /// Where its settings came from, to be asked again by SIGHUP or `POST /reload`.
    pub reread: Reread,
    /// Where statistics in Twemproxy's form are served.
    pub stats: Option<SocketAddr>,
    /// Where the admin port is.
    pub admin: Option<admin::Address>,
    /// Starts the random choices of the distribution `random`; `None` from the time, as Twemproxy does.
    pub seed: Option<u32>,
    /// Where the process writes its id, removing the file when it ends.
    pub pid_file: Option<PathBuf>,
    /// Who comes before and after it.
    pub succession: Succession,
}

/// Why a proxy stopped serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By SIGINT.
    Interrupted,
    /// By SIGTERM.
    Terminated,
    /// Another process has taken over, and all sessions have left.
    TakenOver,
}

impl Process {
    /// Serves until a signal says stop, or another process has taken over. Calls `ready` once clients are accepted, and by
    /// nobody else.
    ///
    /// # Errors
    /// Whatever keeps it from starting; once `ready` was called, only [`Error::System`].
    pub fn run(self, ready: impl FnOnce()) -> Result<Stopped, Error> {
        let signals = Signals::catch().map_err(system("catch signals"))?;
        let (arrival, mut inherited) = arrive(&self.succession)?;
        let mut bind = |address| bind_port(address, "statistics", &mut inherited);
        let stats_listener = self.stats.map(&mut bind).transpose()?;
        let admin_port = self.admin.map(|address| address.bind(&mut inherited)).transpose()?;
        let door = self.succession.hand_over.as_deref();
        let door = door.map(|path| Door::open(path, &mut inherited)).transpose()?;
        let (reporter, mut reports) = reports().map_err(|error| system("make an eventfd")(error.into()))?;
        let serving = Serving::start(self.settings, self.seed, &reporter, &mut inherited)?;
        let current = serving.current.clone();
        let kept = inherited.kept();
        drop(inherited);
        if let Some(arrival) = &arrival {
            let (workers, from) = (serving.inboxes.len(), arrival.predecessor().pid);
            let prepared = reports.await_prepared(workers, PREPARE_PATIENCE);
            if !prepared.map_err(|error| system("wait for events")(error.into()))? {
                log::warning(&format!("taking over from process {from} before all servers are connected to"));
            }
        }
        let pid_file = self.pid_file.map(PidFile::write).transpose()?;
        let mut ports = Ports::default();
        if let Some(bound) = &admin_port {
            let socket = bound.socket().map_err(system("double a socket"))?;
            ports.offered.push((Use::Admin, bound.listen(), socket));
        }
        if let (Some(listener), Some(address)) = (stats_listener, self.stats) {
            let socket = listener.try_clone().map_err(system("double a socket"))?;
            ports.offered.push((Use::Statistics, address.to_string(), socket.into()));
            let served = stats_port::serve(listener, current.clone());
            ports.stats = Some(served.map_err(|source| Error::Serve { what: "statistics", source })?);
        }
        let (orders, received) = orders().map_err(|error| system("make an eventfd")(error.into()))?;
        follower::start(current.clone(), orders.clone(), serving.doubts.clone(), serving.epoch)
            .map_err(system("start the follower"))?;
        if let Some(bound) = admin_port {
            let workers = Workers::new(&serving.inboxes);
            ports.admin = Some(admin::serve(bound, current.clone(), orders, workers)?);
        }
        prober::start(current.clone(), serving.inboxes.clone(), serving.epoch)
            .map_err(system("start the prober"))?;
        thread::Builder::new()
            .name("housekeeping".to_owned())
            .spawn(move || keep_house(&current))
            .map_err(system("start housekeeping"))?;
        log::notice(&format!("serving {} pools on {} workers", serving.pools.len(), serving.inboxes.len()));
        let running = Running {
            serving,
            signals,
            received,
            reports,
            reread: self.reread,
            ports,
            door,
            arrival: arrival.map(|arrival| (arrival, Some(kept))),
            pid_file,
            succession: self.succession,
            leaving: None,
            awaits_primaries_until: Some(Instant::now() + PRIMARIES_PATIENCE),
        };
        running.run(ready)
    }
}

/// Asks the running process for its sockets, if this one is to take over.
fn arrive(succession: &Succession) -> Result<(Option<Arrival>, Inherited), Error> {
    let alone = (None, Inherited::default());
    let path = match (succession.take_over, succession.hand_over.as_deref()) {
        (TakeOver::No, _) | (_, None) => return Ok(alone),
        (TakeOver::IfRunning | TakeOver::Required, Some(path)) => path,
    };
    match Arrival::ask(path) {
        Ok((arrival, inherited)) => Ok((Some(arrival), inherited)),
        Err(Error::NobodyToTakeOverFrom { .. }) if succession.take_over == TakeOver::IfRunning => {
            log::notice(&format!("nobody is there at {path} to be taken over from"));
            Ok(alone)
        }
        Err(error) => Err(error),
    }
}

/// A proxy that serves: its listeners, its workers, and the pools that they know.
pub(super) struct Serving {
    pub(super) pools: Vec<Arc<PoolSettings>>,
    health: Vec<Arc<Health>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    stats: Vec<Arc<WorkerStats>>,
    threads: Vec<JoinHandle<()>>,
    current: Arc<Current>,
    epoch: Instant,
    /// Tells this process's connections to servers from those of other proxies.
    identity: u64,
    /// Where workers say that a primary is none.
    doubts: Doubts,
}

impl Serving {
    /// Binds everything, then starts the workers, who tell `reporter` how they fare.
    fn start(
        settings: Settings,
        seed: Option<u32>,
        reporter: &Reporter,
        inherited: &mut Inherited,
    ) -> Result<Serving, Error> {
        let epoch = Instant::now();
        let identity = identity();
        let pools: Vec<Arc<PoolSettings>> = settings.pools.into_iter().map(Arc::new).collect();
        let health: Vec<Arc<Health>> = pools.iter().map(|pool| Arc::new(health_of(pool, identity))).collect();
        let listeners =
            places(&pools).map(|place| Listener::bind(place, inherited)).collect::<Result<Vec<_>, _>>()?;
        let doubts = Doubts::new().map_err(|error| system("make an eventfd")(error.into()))?;
        let resolver = Resolver::start().map_err(system("start the resolver"))?;
        let seed = seed.unwrap_or_else(seed_from_time);
        let (mut inboxes, mut stats, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..settings.workers {
            let counts = Arc::new(WorkerStats::new(&pools));
            let engine = Engine::new(Parts {
                pools: Pools { settings: pools.clone(), health: health.clone(), stats: counts.clone() },
                seed: seed.wrapping_add(number as u32),
                first_id: number as u64 + 1,
                id_step: settings.workers as u64,
            })
            .map_err(|source| Error::Topology { path: PathBuf::new(), source: Box::new(source) })?;
            let inbox = Arc::new(Inbox::new().map_err(|error| system("make an eventfd")(error.into()))?);
            let worker = Worker::new(engine, inbox.clone(), resolver.clone(), doubts.clone(), epoch)
                .map_err(|error| system("make an epoll")(error.into()))?;
            let reporter = reporter.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let ended = worker.run(|| reporter.tell(Report::Prepared));
                    reporter.tell(Report::Ended(ended));
                })
                .map_err(system("start a worker"))?;
            inboxes.push(inbox);
            stats.push(counts);
            threads.push(thread);
        }
        let current = Arc::new(Current::new(Observed::new(&pools, &health, stats.clone(), epoch)));
        Ok(Serving { pools, health, listeners, inboxes, stats, threads, current, epoch, identity, doubts })
    }

    /// Reads the configuration again and goes over to it, or says why it stays with the old one.
    pub(super) fn reload(&mut self, reread: &Reread) -> Outcome {
        let outcome = reread().and_then(|settings| self.go_over(settings));
        match &outcome {
            Ok(done) => log::notice(&format!("reload: {done}")),
            Err(why) => log::error(&format!("reload: nothing was changed: {why}")),
        }
        outcome
    }

    fn go_over(&mut self, settings: Settings) -> Outcome {
        let mut next = settings.pools;
        for pool in &mut next {
            let old = self.pools.iter().find(|old| old.pool.name == pool.pool.name);
            if let Some(old) = old {
                pool.access.follow(&old.access);
            }
            pool.inherit_primaries(old.map(|old| &**old));
        }
        let pools: Vec<Arc<PoolSettings>> = next.into_iter().map(Arc::new).collect();
        let listeners = self.listeners_for(&pools)?;
        let old = |pool: &PoolSettings| self.pools.iter().position(|old| old.pool.name == pool.pool.name);
        let health: Vec<Arc<Health>> = pools
            .iter()
            .map(|pool| match old(pool) {
                Some(index) => follow_health(&self.health[index], &self.pools[index], pool),
                None => Arc::new(health_of(pool, self.identity)),
            })
            .collect();
        let stats: Vec<Arc<WorkerStats>> =
            self.stats.iter().map(|stats| Arc::new(stats.follow(&self.pools, &pools))).collect();
        for (inbox, stats) in self.inboxes.iter().zip(&stats) {
            let pools = Pools { settings: pools.clone(), health: health.clone(), stats: stats.clone() };
            inbox.post(Message::Reconfigure(Box::new(pools)));
        }
        self.current.set(Observed::new(&pools, &health, stats.clone(), self.epoch));
        self.doubts.wake();
        let done = format!(
            "{} pools, {} shards",
            pools.len(),
            pools.iter().map(|pool| pool.pool.shards.len()).sum::<usize>()
        );
        self.adopt(listeners, &pools);
        (self.pools, self.health, self.stats) = (pools, health, stats);
        if settings.workers != self.inboxes.len() {
            log::warning("reload: the number of workers changes only by a restart");
        }
        Ok(done)
    }

    /// Tells all workers that a shard has another primary, or none. A reload may have removed it meanwhile, or put another one
    /// in its place, of whose primary this says nothing.
    pub(super) fn switch(&mut self, switch: Switch) {
        let Some(place) = self.pools.iter().position(|pool| pool.pool.name == switch.pool) else { return };
        let Some(shard) = self.pools[place].shard_named(&switch.shard) else { return };
        let followed = self.pools[place].followed(shard);
        if !followed.is_some_and(|followed| Arc::ptr_eq(&followed.status, &switch.status)) {
            return;
        }
        let (primary, at) = match &switch.change {
            Change::Stop => (Primary::Switching, None),
            Change::Unknown => (Primary::Unknown, None),
            Change::To(at) => (Primary::Known, Some(at)),
        };
        let settings = Arc::new(self.pools[place].with_primary(shard, primary, at));
        self.pools[place] = settings.clone();
        let observed = Observed::new(&self.pools, &self.health, self.stats.clone(), self.epoch);
        self.current.set(observed);
        for inbox in &self.inboxes {
            let (settings, done) = (settings.clone(), switch.done.clone());
            inbox.post(Message::Switch(SwitchOrder { settings, shard, done }));
        }
    }

    /// Binds what `pools` listen on and the old pools do not; `None` where an old listener goes on.
    fn listeners_for(&self, pools: &[Arc<PoolSettings>]) -> Result<Vec<Option<Listener>>, String> {
        let bind = |place: Place<'_>| {
            match places(&self.pools).any(|old| is_same_place(old.listen, place.listen)) {
            true => Ok(None),
            false => Listener::bind(place, &mut Inherited::default()).map(Some).map_err(|error| match error {
                Error::Listen { ref source, .. } if source.kind() == ErrorKind::AddrInUse => format!(
                    "{error}: {source}; if it is only written in another way than before, write it as before, or restart"
                ),
                error => match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                },
            }),
        }
        };
        places(pools).map(bind).collect()
    }

    /// Puts the listeners in place: new ones, and the old ones of addresses that are still listened on.
    fn adopt(&mut self, bound: Vec<Option<Listener>>, pools: &[Arc<PoolSettings>]) {
        let mut old: Vec<Option<Listener>> =
            std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for (bound, place) in bound.into_iter().zip(places(pools)) {
            let before = places(&self.pools).position(|old| is_same_place(old.listen, place.listen));
            let kept = before.and_then(|before| old[before].take()).map(|listener| listener.lead_to(place));
            self.listeners.extend(bound.or(kept));
        }
    }

    /// How many clients there may be, so that every shared upstream still finds a descriptor. Clients count until their
    /// connection is closed.
    ///
    /// Upstreams that clients hold, and dedicated ones, are not kept room for: they may be as many as the clients are. One that
    /// finds no descriptor fails the request that asked for it, by name.
    pub(super) fn sessions_max(&self) -> usize {
        let upstreams: usize =
            self.pools.iter().map(|pool| pool.pool.shards.len() * usize::from(pool.lanes())).sum();
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let descriptors = descriptors.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        // Each worker has upstreams of its own, for each version of RESP.
        descriptors
            .saturating_sub(upstreams * 2 * self.inboxes.len() + self.listeners.len() + SPARE_DESCRIPTORS)
    }

    pub(super) fn stop(self) {
        drop(self.listeners);
        for inbox in &self.inboxes {
            inbox.post(Message::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                log::error("a worker ended by a panic");
            }
        }
    }
}

/// What is done now and then beside the loops, as long as the process lives.
fn keep_house(current: &Current) {
    let mut sampled = Instant::now();
    loop {
        thread::sleep(SAMPLE_EVERY);
        current.get().sample(sampled.elapsed());
        sampled = Instant::now();
    }
}

/// The health of a pool that nothing is known of yet.
fn health_of(pool: &PoolSettings, identity: u64) -> Health {
    let health = Health::new(pool.pool.shards.len(), pool.ejection);
    match pool.empties() {
        true => health.with_client_name(&client_name(&pool.pool.name, identity)),
        false => health,
    }
}

/// A number that no other proxy has.
fn identity() -> u64 {
    // The standard library's hasher starts from the system's random numbers.
    RandomState::new().build_hasher().finish()
}

pub(super) fn system(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::System { what, source }
}

/// Twemproxy's `random` starts from the time as well.
fn seed_from_time() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as u32 ^ now.subsec_nanos()
}

#[cfg(test)]
mod tests;
