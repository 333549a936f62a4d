//! The local runtime: processes of this machine, which outlive control.
//!
//! ```text
//!   start ─▶ record.json ─▶ fork, with the lock as standard input ─▶ redis-server | redis-sentinel | shoal proxy
//!                                         │                                    │
//!   open (after a crash) ─▶ records ──────┴── who holds which lock? (/proc) ◀──┘
//!     │
//!     └─▶ tend: what ended is noted, what was asked to end is ended, logs are rotated
//! ```
//!
//! A node is an address of the loopback network. Processes have sessions of their own, so that a terminal's end is none of
//! theirs; they have no environment of control's, and no secret in their arguments.
//!
//! Which process is an instance's is said by the kernel, not by a file: see `process`. So control may be killed at any
//! instant of a start: either nobody holds the lock and nothing runs, or somebody does and is found.

mod exits;
mod layout;
mod log_files;
mod look;
mod ports;
mod process;
mod programs;
mod record;
mod secrets;
mod start;
mod tell;
mod tend;

pub use log_files::LogBounds;
pub use programs::Programs;
pub use secrets::Credentials;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use layout::{Layout, Place};
use process::Lock;
use record::Record;

use super::private_file;
use crate::runtime::{Change, Logs, Observation, Refused, Runtime, Start, Stop, Target};

/// How long a predecessor's last child may take to let go of the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How often ended processes are looked for while nobody asks, and while some are stopping.
const TEND_EVERY: Duration = Duration::from_secs(1);
const TEND_EVERY_STOPPING: Duration = Duration::from_millis(50);

/// What a local runtime is made with.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The state directory; made, with mode 0700.
    pub dir: PathBuf,
    /// Where the programs are.
    pub programs: Programs,
    /// The ports of each node's address that are given out.
    pub ports: RangeInclusive<u16>,
    /// How much is kept of what processes write.
    pub logs: LogBounds,
}

/// Starts and watches processes of this machine.
#[derive(Debug)]
pub struct LocalRuntime {
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    wake: Option<Sender<()>>,
    tender: Option<JoinHandle<()>>,
}

/// What threads share.
#[derive(Debug)]
struct Shared {
    options: LocalOptions,
    layout: Layout,
    credentials: Credentials,
    state: Mutex<State>,
    _lock: Lock,
}

/// What is known of all instances: what their records say, and what only this process knows.
#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Those that this process started: their exit codes come to it.
    children: BTreeMap<String, Child>,
    /// Those that were sent SIGTERM by this process.
    signalled: BTreeSet<String>,
}

impl LocalRuntime {
    /// Opens a state directory, and takes over what runs there.
    ///
    /// # Errors
    /// [`Refused::Machine`] if the directory cannot be used, or another control uses it; [`Refused::Unknown`] if a record
    /// cannot be read.
    pub fn open(options: LocalOptions) -> Result<Self, Refused> {
        private_file::folder(&options.dir)?;
        // The kernel names files by their true paths.
        let dir = fs::canonicalize(&options.dir);
        let dir =
            dir.map_err(|error| private_file::refused("opening the state directory", &options.dir, &error))?;
        let layout = Layout::new(&dir);
        for folder in [layout.instances(), layout.nodes()] {
            private_file::folder(&folder)?;
        }
        let lock = sole(&layout)?;
        let credentials = Credentials::open(layout.credentials())?;
        let state = Mutex::new(State { records: records(&layout)?, ..State::default() });
        let shared = Arc::new(Shared { options, layout, credentials, state, _lock: lock });
        shared.tend(&mut shared.state());
        let (wake, woken) = mpsc::channel();
        let own = Arc::clone(&shared);
        let tender = std::thread::Builder::new()
            .name("tender".to_owned())
            .spawn(move || own.tend_until_dropped(&woken))
            .map_err(|error| private_file::refused("starting a thread", own_dir(&shared), &error))?;
        Ok(Self { shared, wake: Some(wake), tender: Some(tender) })
    }

    /// The credentials, for those who hand them to tenants and rotate them.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.shared.credentials
    }

    /// Takes a node down as if its power had failed: all its processes are killed, and none can be started there, until it
    /// is [brought back](Self::bring_node_up).
    ///
    /// # Errors
    /// [`Refused::Machine`].
    pub fn take_node_down(&self, node: &str, why: &str) -> Result<(), Refused> {
        start::check_name("node", node)?;
        let mut state = self.shared.state();
        private_file::write(&self.shared.layout.node_down(node), why.as_bytes())?;
        self.shared.kill_node(&mut state, node)
    }

    /// Brings a node back: what ran there has ended, and can be started again.
    ///
    /// # Errors
    /// [`Refused::Machine`].
    pub fn bring_node_up(&self, node: &str) -> Result<(), Refused> {
        start::check_name("node", node)?;
        let path = self.shared.layout.node_down(node);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(private_file::refused(&format!("removing {}", path.display()), &path, &error))
            }
            _ => Ok(()),
        }
    }
}

impl Runtime for LocalRuntime {
    fn observe(&self) -> Result<Observation, Refused> {
        self.shared.observe()
    }

    fn start(&self, start: &Start) -> Result<(), Refused> {
        self.shared.start(start)
    }

    fn stop(&self, name: &str, uid: &str, stop: Stop) -> Result<(), Refused> {
        self.shared.stop(name, uid, stop)?;
        // A thread that has gone is woken in vain: the next observation tends as well.
        let _ = self.wake.as_ref().map(|wake| wake.send(()));
        Ok(())
    }

    fn configure(&self, target: &Target, change: &Change) -> Result<(), Refused> {
        self.shared.configure(target, change)
    }
}

impl Logs for LocalRuntime {
    fn log(&self, name: &str, lines: usize) -> Result<Vec<String>, Refused> {
        if !self.shared.state().records.contains_key(name) {
            return Err(Refused::Gone { name: name.to_owned(), uid: "any".to_owned() });
        }
        log_files::last_lines(&self.shared.layout.place(name).log(), lines, &self.shared.options.logs)
    }
}

impl Drop for LocalRuntime {
    /// The thread ends; the processes do not.
    fn drop(&mut self) {
        self.wake = None;
        if let Some(tender) = self.tender.take() {
            // If it panicked, its message was printed.
            let _ = tender.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked left is no worse than what a killed process leaves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tend_until_dropped(&self, woken: &Receiver<()>) {
        let mut every = TEND_EVERY;
        loop {
            match woken.recv_timeout(every) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            let mut state = self.state();
            self.tend(&mut state);
            let stopping =
                state.records.values().any(|record| record.stopping.is_some() && record.exit.is_none());
            every = if stopping { TEND_EVERY_STOPPING } else { TEND_EVERY };
            let names: Vec<String> = state.records.keys().cloned().collect();
            drop(state);
            for name in names {
                log_files::rotate(&self.layout.place(&name).log(), &self.options.logs);
            }
        }
    }

    /// Why a node is down, if it is, and since when.
    fn node_down(&self, node: &str) -> Result<Option<(String, SystemTime)>, Refused> {
        let path = self.layout.node_down(node);
        let Some(why) = private_file::read(&path)? else { return Ok(None) };
        let since = fs::metadata(&path).and_then(|file| file.modified());
        Ok(Some((why, since.unwrap_or_else(|_| SystemTime::now()))))
    }
}

fn own_dir(shared: &Shared) -> &std::path::Path {
    shared.layout.dir()
}

/// The lock of the directory. A child of a killed control may have it for a moment, between its fork and its exec.
fn sole(layout: &Layout) -> Result<Lock, Refused> {
    let path = layout.runtime_lock();
    let doing = format!("opening {}", layout.dir().display());
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Lock::take(&path) {
            Ok(Some(lock)) => {
                process::sign(&lock).map_err(|error| private_file::refused(&doing, &path, &error))?;
                return Ok(lock);
            }
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                let pid = private_file::read(&path)?.unwrap_or_default().trim().parse().unwrap_or(0);
                let why = format!(
                    "another control uses it already: {}; end that one, or choose another --dir",
                    process::shown(pid)
                );
                return Err(Refused::Machine { doing, why });
            }
            Err(error) => return Err(private_file::refused(&doing, &path, &error)),
        }
    }
}

/// What was noted of all instances. What a crash left half removed is removed.
fn records(layout: &Layout) -> Result<BTreeMap<String, Record>, Refused> {
    let folder = layout.instances();
    let doing = format!("reading {}", folder.display());
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(|error| private_file::refused(&doing, &folder, &error))? {
        let entry = entry.map_err(|error| private_file::refused(&doing, &folder, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            private_file::remove_folder(&entry.path())?;
            continue;
        }
        let place = layout.place(&name);
        match Record::read(&place)? {
            Some(record) => drop(records.insert(name, record)),
            // Without a record nothing was started there: control died while it made the folder.
            None => remove_unstarted(&place)?,
        }
    }
    Ok(records)
}

/// Removes a folder in which nothing was started, if nobody holds its lock all the same.
fn remove_unstarted(place: &Place) -> Result<(), Refused> {
    let path = place.lock();
    let taken = Lock::take(&path);
    let lock =
        taken.map_err(|error| private_file::refused("looking into an unfinished folder", &path, &error))?;
    match lock {
        Some(_lock) => private_file::remove_folder(&place.dir),
        None => Ok(()),
    }
}
