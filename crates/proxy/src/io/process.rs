//! The proxy as a process: starts the threads, accepts clients, obeys signals, and ends.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};

use super::inbox::{Inbox, Message};
use super::listener::{Listener, bind_port, spare_descriptor, wait_readable};
use super::resolver::Resolver;
use super::stats_port::{Observed, ObservedPool};
use super::worker::Worker;
use super::{admin, prober, stats_port};
use crate::engine::{Engine, Parts};
use crate::error::Error;
use crate::health::Health;
use crate::settings::{PoolSettings, Settings};
use crate::stats::WorkerStats;

pub use super::listener::check_names;
pub use super::log;

/// How often ejected servers are looked at whose time is over.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// A proxy process.
#[derive(Debug)]
pub struct Process {
    /// Its pools and workers.
    pub settings: Settings,
    /// Where statistics in Twemproxy's form are served.
    pub stats: Option<SocketAddr>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub admin: Option<SocketAddr>,
    /// Where the process writes its id, removing the file when it ends.
    pub pid_file: Option<PathBuf>,
}

/// Why a proxy stopped serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// By SIGINT.
    Interrupted,
    /// By SIGTERM.
    Terminated,
}

impl Process {
    /// Serves until a signal says stop. Calls `ready` once clients are accepted.
    ///
    /// # Errors
    /// Whatever keeps it from starting; once `ready` was called, only [`Error::System`].
    pub fn run(self, ready: impl FnOnce()) -> Result<Stopped, Error> {
        let signals = Signals::catch()?;
        let epoch = Instant::now();
        let pools: Vec<Arc<PoolSettings>> = self.settings.pools.into_iter().map(Arc::new).collect();
        let health: Vec<Arc<Health>> =
            pools.iter().map(|pool| Arc::new(Health::new(pool.pool.shards.len(), pool.ejection))).collect();
        let stats_listener = self.stats.map(|address| bind_port(address, "statistics")).transpose()?;
        let admin_address = self.admin;
        let listeners = pools
            .iter()
            .enumerate()
            .map(|(index, pool)| Listener::bind(index, pool))
            .collect::<Result<Vec<_>, _>>()?;
        let resolver = Resolver::start().map_err(system("start the resolver"))?;
        let mut inboxes = Vec::new();
        let mut workers = Vec::new();
        let mut threads = Vec::new();
        let (failed, failures) = channel();
        for number in 0..self.settings.workers {
            let stats = Arc::new(WorkerStats::new(pools.iter().map(|pool| pool.pool.shards.len())));
            let engine = Engine::new(Parts {
                pools: pools.clone(),
                health: health.clone(),
                stats: stats.clone(),
                seed: seed(number),
                first_id: number as u64 + 1,
                id_step: self.settings.workers as u64,
            })
            .map_err(|source| Error::Topology { path: PathBuf::new(), source: Box::new(source) })?;
            let inbox = Arc::new(Inbox::new().map_err(|error| system("make an eventfd")(error.into()))?);
            let worker = Worker::new(engine, inbox.clone(), resolver.clone(), epoch)
                .map_err(|error| system("make an epoll")(error.into()))?;
            inboxes.push(inbox);
            workers.push(stats);
            let failed = failed.clone();
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    if let Err(error) = worker.run() {
                        // The main thread looks for this; if it has ended there is nobody left to tell.
                        let _ = failed.send(error);
                    }
                })
                .map_err(system("start a worker"))?;
            threads.push(thread);
        }
        let observed = Arc::new(Observed { pools: observed_pools(&pools, &health), workers, epoch });
        if let Some(listener) = stats_listener {
            stats_port::serve(listener, observed.clone())
                .map_err(|source| Error::Serve { what: "statistics", source })?;
        }
        let _admin = admin_address.map(|address| admin::serve(address, observed)).transpose()?;
        let pid_file = self.pid_file.map(PidFile::write).transpose()?;
        log::notice(&format!("serving {} pools on {} workers", pools.len(), inboxes.len()));
        ready();

        let probed: Vec<_> = pools.iter().cloned().zip(health).collect();
        thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || {
                loop {
                    prober::probe_due(&probed, epoch);
                    thread::sleep(PROBE_EVERY);
                }
            })
            .map_err(system("start the prober"))?;

        let mut reserve = spare_descriptor();
        let sockets: Vec<&OwnedFd> =
            listeners.iter().map(Listener::socket).chain([&signals.receiver_fd]).collect();
        let stopped = loop {
            let readable = wait_readable(&sockets, Duration::from_secs(1))
                .map_err(|error| system("wait for clients")(error.into()))?;
            for (listener, _) in listeners.iter().zip(&readable).filter(|(_, readable)| **readable) {
                listener.accept(&inboxes, &mut reserve);
            }
            if let Some(stopped) = signals.obey() {
                break stopped;
            }
            if let Ok(error) = failures.try_recv() {
                return Err(system("wait for events")(error.into()));
            }
        };
        drop(listeners);
        for inbox in &inboxes {
            inbox.post(Message::Stop);
        }
        for thread in threads {
            if thread.join().is_err() {
                log::error("a worker ended by a panic");
            }
        }
        drop(pid_file);
        Ok(stopped)
    }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::System { what, source }
}

/// Different for each worker and each start: Twemproxy's `random` starts from the time as well.
fn seed(worker: usize) -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as u32 ^ (worker as u32) << 24 ^ now.subsec_nanos()
}

fn observed_pools(pools: &[Arc<PoolSettings>], health: &[Arc<Health>]) -> Vec<ObservedPool> {
    pools
        .iter()
        .zip(health)
        .map(|(settings, health)| {
            let names: Vec<&str> = settings.pool.shards.iter().map(|shard| shard.name.as_str()).collect();
            ObservedPool {
                settings: settings.clone(),
                health: health.clone(),
                order: shoal_hashkit::server_order(&names),
            }
        })
        .collect()
}

/// Signals as bytes in a socket, each signal its number.
struct Signals {
    receiver_fd: OwnedFd,
    pending: Vec<(i32, UnixStream)>,
}

const CAUGHT: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2];

impl Signals {
    fn catch() -> Result<Signals, Error> {
        let failed = system("catch signals");
        let (bell, wake) = UnixStream::pair().map_err(&failed)?;
        bell.set_nonblocking(true).map_err(&failed)?;
        wake.set_nonblocking(true).map_err(&failed)?;
        let mut pending = Vec::new();
        for signal in CAUGHT {
            let (receiver, sender) = UnixStream::pair().map_err(&failed)?;
            receiver.set_nonblocking(true).map_err(&failed)?;
            signal_hook::low_level::pipe::register(signal, sender).map_err(&failed)?;
            let wake = wake.try_clone().map_err(&failed)?;
            signal_hook::low_level::pipe::register(signal, wake).map_err(&failed)?;
            pending.push((signal, receiver));
        }
        Ok(Signals { receiver_fd: bell.into(), pending })
    }

    /// Does what the signals since the last call ask for; some if they ask to stop.
    fn obey(&self) -> Option<Stopped> {
        let mut bytes = [0; 64];
        // Nothing there means that nothing came.
        let _ = rustix::io::read(&self.receiver_fd, &mut bytes);
        let mut stopped = None;
        for (signal, receiver) in &self.pending {
            if !matches!(rustix::io::read(receiver, &mut bytes), Ok(count) if count > 0) {
                continue;
            }
            match *signal {
                SIGINT => stopped = Some(Stopped::Interrupted),
                SIGTERM => stopped = stopped.or(Some(Stopped::Terminated)),
                SIGHUP => log::reopen(),
                SIGTTIN => log::change_level(1),
                SIGTTOU => log::change_level(-1),
                other => log::notice(&format!("signal {other} has no meaning here, ignored")),
            }
        }
        stopped
    }
}

struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> Result<PidFile, Error> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .map_err(|source| Error::Serve { what: "the pid file", source })?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}
